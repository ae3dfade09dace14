package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/strvals"

	"github.com/commitgate/commitgate/git"
)

// valuesRef is one place from which a release takes values.
type valuesRef struct {
	from     Key
	entry    string
	target   string // where the whole entry goes, as --set names a place; "": the entry holds values
	literal  bool
	optional bool
}

// releaseValues are the values of a release, some of them hidden.
type releaseValues struct {
	own    map[string]any // those that the release says itself
	layers []valuesLayer  // under them, in their order
	hidden []hidden
	mark   string
}

// valuesLayer is what one place gives: values, or a text for a place in them. Where a slot stands, there belongs a hidden value.
type valuesLayer struct {
	values  map[string]any
	target  string
	text    any // a string or a slot
	literal bool
	secret  bool // of a Secret, hidden or not
}

// slot is the place of a hidden value in the list of them.
type slot int

// errValues says nothing of the values.
var errValues = errors.New("what it holds cannot be merged into the values")

// gather adds what is taken from ConfigMaps and Secrets. What is wrong is noted at the place; unknowable: no key opens what tells which values there are.
func (v *releaseValues) gather(r *renderer, a *about, at Source, refs []valuesRef) error {
	var from []*Object
	for _, ref := range refs {
		o := r.value(ref.from)
		if o == nil {
			continue // optional: see waits
		}
		from = append(from, o)
		entries, err := r.entries(o)
		if err != nil {
			return err
		}
		e, ok := entries[ref.entry]
		switch {
		case !ok && ref.optional:
			continue
		case !ok:
			r.problem(at, "%s takes values from %s, which has no key %s", a.name(), o.Key, ref.entry)
			return errReported
		case e.hidden && !e.known && ref.target == "":
			return &unknowable{fmt.Sprintf("it takes all of its values from %s of %s, which no key at hand opens (spec.decryption of the Gate)", ref.entry, o.Key)}
		}
		layer, err := v.layer(ref, e)
		if err != nil {
			r.problem(o.Source, "%s: %v", o.Key, err)
			return errReported
		}
		v.layers = append(v.layers, layer)
	}
	v.mark = valuesMark(from)
	return nil
}

// layer is what an entry gives. The error quotes nothing of a Secret.
func (v *releaseValues) layer(ref valuesRef, e entry) (valuesLayer, error) {
	l := valuesLayer{target: ref.target, literal: ref.literal, text: e.text, secret: ref.from.Kind == "Secret"}
	if ref.target != "" {
		if e.hidden {
			l.text = v.hide(ref.entry+" of "+ref.from.String(), e.known, e.text)
		}
		return l, nil
	}
	values, err := common.ReadValues([]byte(e.text))
	switch {
	case err != nil && l.secret:
		return l, errors.New("the values are not YAML (the message could quote them, and is left out here)")
	case err != nil:
		return l, fmt.Errorf("the values are not YAML: %w", err)
	}
	l.values = values
	if e.hidden {
		l.values, _ = mapLeaves(map[string]any(values), nil, func(at []string, leaf any) any {
			return v.hide(fieldPath(at)+" in "+ref.entry+" of "+ref.from.String(), true, leaf)
		}).(map[string]any)
	}
	return l, nil
}

func (v *releaseValues) hide(name string, known bool, value any) slot {
	v.hidden = append(v.hidden, hidden{name: name, known: known, value: value})
	return slot(len(v.hidden) - 1)
}

// merged are the values with others in the slots, merged as helm-controller does (fluxcd/pkg/chartutil): a place is filled in what the release says
// itself too, and what the release says lies over all of it again.
func (v *releaseValues) merged(values []any) (map[string]any, error) {
	own, _ := deepClone(v.own).(map[string]any)
	result := map[string]any{}
	for _, l := range v.layers {
		if l.target == "" {
			filled, _ := fillSlots(l.values, values).(map[string]any)
			result = mergeValues(result, filled)
			continue
		}
		text, _ := fillSlots(l.text, values).(string)
		result = mergeValues(result, own)
		if err := replaceValue(result, l.target, text, l.literal); err != nil {
			return nil, err
		}
	}
	return mergeValues(result, own), nil
}

func fillSlots(v any, values []any) any {
	return mapLeaves(v, nil, func(_ []string, leaf any) any {
		if i, ok := leaf.(slot); ok {
			return values[i]
		}
		return leaf
	})
}

// replaceValue sets one value: as --set does, as --set-string where it stands in quotes, or as it is.
func replaceValue(values map[string]any, target, text string, literal bool) error {
	quoted := func(quote string) bool { return strings.HasPrefix(text, quote) && strings.HasSuffix(text, quote) }
	switch {
	case literal:
		text = strings.NewReplacer(`\`, `\\`, ",", `\,`, "[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`).Replace(text)
		return strvals.ParseIntoString(target+"="+text, values)
	case quoted("'"), quoted(`"`):
		return strvals.ParseIntoString(target+"="+strings.Trim(text, `'"`), values)
	}
	return strvals.ParseInto(target+"="+text, values)
}

// giveValues gathers the values of a release and puts them into the options of its chart; hidden ones come with the trials. False: it is not followed.
func (r *renderer) giveValues(a *about, b *Build, at Source, v *releaseValues, refs []valuesRef, o *helmOptions) (bool, error) {
	err := v.gather(r, a, at, refs)
	var beyond *unknowable
	switch {
	case errors.As(err, &beyond):
		return false, r.unfollow(a, b, "%v", beyond)
	case err != nil:
		return false, err
	case len(v.hidden) > 0:
		o.hidden = v
		return true, nil
	}
	if o.Values, err = v.merged(nil); err == nil {
		return true, nil
	}
	if slices.ContainsFunc(v.layers, func(l valuesLayer) bool { return l.secret }) {
		err = errValues
	}
	r.problem(at, "%s: valuesFrom: %v", a.name(), err)
	return false, errReported
}

// digestHidden is what shapes a chart with hidden values: a digest of this process, as that of what others declare is.
func digestHidden(b *Build, o helmOptions) string {
	if o.hidden == nil {
		return digestOptions(o)
	}
	sum := sha256.Sum256([]byte(b.spec + "\n" + b.taken))
	return "hidden " + hex.EncodeToString(sum[:]) + " " + digestOptions(o)
}

// renderChart renders a chart, and seals what comes of its hidden values. Of those nothing may be kept.
func (r *renderer) renderChart(b *Build, tree fs.FS, dir git.Path, o helmOptions, made *rendered, refuse func(error) error) (inputs []git.Path, keep *answer, err error) {
	render := func(values map[string]any) (*answer, error) {
		o.Values = values
		return r.do(tree, dir, job{Helm: &helmJob{dir, o}})
	}
	if o.hidden == nil {
		if keep, err = r.doAhead(tree, dir, job{Helm: &helmJob{dir, o}}); err != nil {
			return nil, nil, refuse(err)
		}
		made.docs = keep.documents(keep.Inputs)
		return keep.Inputs, keep, nil
	}
	made.docs, err = r.sealTrial(b, o.hidden.hidden, o.hidden.mark, func(values []any) ([]*document, error) {
		merged, err := o.hidden.merged(values)
		if err != nil {
			return nil, &refusedFile{err: errValues}
		}
		a, err := render(merged)
		if err != nil {
			return nil, err
		}
		inputs = a.Inputs
		return a.documents(a.Inputs), nil
	})
	var beyond *unknowable
	switch {
	case errors.As(err, &beyond):
		return inputs, nil, r.beyond(b, made, beyond)
	case err != nil:
		return nil, nil, refuse(err)
	}
	return inputs, nil, nil
}

// beyond notes that a build is not followed, and why.
func (r *renderer) beyond(b *Build, made *rendered, why *unknowable) error {
	scratch := &Build{}
	err := r.unfollow(r.known[b.id].about(), scratch, "%v", why)
	made.unfollows = append(made.unfollows, scratch.unfollows...)
	return err
}
