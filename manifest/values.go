package manifest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// entry is one entry of a ConfigMap or Secret, for whoever takes values from it.
type entry struct {
	text   string // "" where it is hidden and not known
	hidden bool   // Git holds it encrypted, or a chart makes it up
	known  bool   // it was decrypted
}

// met is what discovering a build has found.
type met struct {
	turn  int              // builds that are met later have a higher one
	gone  map[*Object]bool // that the build had in the set before, and has no more
	added []*Object        // that it had not
}

// noteValues remembers the ConfigMaps and Secrets of a build, for those who take values from them.
func (r *renderer) noteValues(b *Build) {
	for _, o := range r.met[b.id].added { // a chart that is rendered again
		if r.fresh[o.Key] == o {
			delete(r.fresh, o.Key)
		}
	}
	r.turn++
	m := met{turn: r.turn}
	switch was := r.previous[b.id]; was {
	case b:
	case nil:
		m.added = b.Objects
	default:
		m.gone, m.added = exchanged(was.Objects, b.Objects)
	}
	r.met[b.id] = m
	for _, o := range m.added {
		if o.holdsValues() {
			r.fresh[o.Key] = o
		}
	}
}

// value is the ConfigMap or Secret of a key, for those who take values from it; nil if none is found (yet). Of several that of the build that was met last.
func (r *renderer) value(k Key) *Object {
	found, turn := r.fresh[k], 0
	if found != nil && found.by != nil {
		turn = r.met[*found.by].turn
	}
	if r.in.Previous == nil {
		return found
	}
	for _, o := range withKey(r.in.Previous.merged, k) {
		if m, ok := r.met[*o.by]; ok && !m.gone[o] && m.turn > turn && o.holdsValues() {
			found, turn = o, m.turn
		}
	}
	return found
}

// holdsValues: others may take values from it.
func (o *Object) holdsValues() bool {
	return o.Group == "" && (o.Kind == "ConfigMap" || o.Kind == "Secret")
}

// noteOpened remembers what an entry of a ConfigMap or Secret decrypts to, by the text that stands for it, while this rendering lasts.
func (r *renderer) noteOpened(b *Build, standsFor, plain string) {
	if r.opened[b.id] == nil {
		r.opened[b.id] = map[string]string{}
	}
	r.opened[b.id][standsFor] = plain
}

// entries is the data of a ConfigMap or Secret, as the API server holds it.
func (r *renderer) entries(o *Object) (map[string]entry, error) {
	out := map[string]entry{}
	for _, field := range []string{"data", "stringData"} {
		if field == "stringData" && o.Kind != "Secret" {
			continue
		}
		for k, v := range o.Content.Child(field) {
			s, _ := v.(string)
			if anyPath(o.Opaque, []string{field, k}) {
				plain, known, err := r.openedText(o, s)
				if err != nil {
					return nil, err
				}
				out[k] = entry{plain, true, known}
				continue
			}
			if o.Kind == "Secret" && field == "data" {
				plain, err := base64.StdEncoding.DecodeString(s)
				if err != nil {
					continue // the API server refuses it
				}
				s = string(plain)
			}
			out[k] = entry{text: s}
		}
	}
	return out, nil
}

// openedText is what a text in an object decrypts to. What made the object is read again where that was left as it was in the revision before.
func (r *renderer) openedText(o *Object, standsFor string) (plain string, known bool, err error) {
	if !o.Sealed.Covers(standsFor) {
		return "", false, nil
	}
	var id unitID // that of the configuration
	if o.by != nil {
		id = *o.by
	}
	if plain, known = r.opened[id][standsFor]; known || r.reopened[id] {
		return plain, known, nil
	}
	if r.ahead.looking {
		return "", false, errAhead
	}
	r.reopened[id] = true
	if err := r.reopen(id); err != nil {
		return "", false, err
	}
	plain, known = r.opened[id][standsFor]
	return plain, known, nil
}

// reopen reads again what a build is made of, for what it decrypts alone. It was found without fault before.
func (r *renderer) reopen(id unitID) error {
	u := r.known[id]
	if u == nil {
		return nil // it stands in the configuration
	}
	problems, opening := len(r.problems), r.reopening
	r.reopening = true
	defer func() { r.reopening = opening }()
	if err := u.read(r, newBuild(r, u)); err != nil {
		return fmt.Errorf("open what %s decrypts: %w", u.about().name(), err)
	}
	r.problems = r.problems[:problems] // as before
	return nil
}

// digestEntries writes what a ConfigMap or Secret holds, as far as others take it, into a digest of this process.
func digestEntries(w io.Writer, o *Object) {
	sealed := o.Sealed.Digest()
	fmt.Fprintf(w, "%s %x\n", specText([]any{o.Content.At("data"), o.Content.At("stringData"), o.Content.At("binaryData"), o.Opaque}), sealed)
}

// valuesMark is a digest of what stands in Git of hidden values: the encrypted texts, or the marks in their place. Others are no part of it: it comes out.
func valuesMark(from []*Object) string {
	digest := sha256.New()
	for _, o := range from {
		fmt.Fprintf(digest, "%s\n", o.Key)
		for _, field := range []string{"data", "stringData"} {
			entries := o.Content.Child(field)
			for _, k := range slices.Sorted(maps.Keys(entries)) {
				if anyPath(o.Opaque, []string{field, k}) {
					fmt.Fprintf(digest, "%q %q\n", k, entries[k])
				}
			}
		}
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// variables are what is substituted after a build.
type variables struct {
	plain  map[string]string
	names  []string // of those that are hidden
	hidden []hidden // by name
	mark   string
}

// with are the variables with values for the hidden ones.
func (v *variables) with(values []any) map[string]string {
	if len(v.names) == 0 {
		return v.plain
	}
	out := maps.Clone(v.plain)
	for i, name := range v.names {
		out[name], _ = values[i].(string)
	}
	return out
}

// real are the variables as far as they are known; the others have stand-ins.
func (v *variables) real() map[string]string {
	p := probing{values: v.hidden}
	return v.with(p.given(nil))
}

// within are the variables with those of the hidden ones that a text may hold. The others are stood in for: nothing comes of them.
func (v *variables) within(text string) *variables {
	some := &variables{plain: maps.Clone(v.plain), mark: v.mark}
	for i, name := range v.names {
		if strings.Contains(text, name) {
			some.names, some.hidden = append(some.names, name), append(some.hidden, v.hidden[i])
		} else {
			some.plain[name] = stranger
		}
	}
	return some
}

// unknown tells whether some are not known.
func (v *variables) unknown() bool {
	return slices.ContainsFunc(v.hidden, func(h hidden) bool { return !h.known })
}

func (v *variables) none() bool { return v == nil || len(v.plain)+len(v.names) == 0 }
