package manifest

import (
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/sops"
)

// Decryption opens what Git holds encrypted with SOPS. Decrypted values live as long as the rendering of one build; what is kept of them
// are keyed digests. nil opens nothing: then such values are explained by shape.
type Decryption struct {
	keys   *sops.Keys
	sealer *account.Sealer
}

// NewDecryption makes a Decryption of keys. One process makes one: seals of different ones do not compare.
func NewDecryption(keys *sops.Keys) *Decryption { return &Decryption{keys, account.NewSealer()} }

// open opens a file, or gives its shape where no key fits; known tells which.
func (d *Decryption) open(data []byte, as sops.Format) (f *sops.File, known bool, err error) {
	err = sops.ErrNoKey
	if d != nil {
		f, err = d.keys.Open(data, as)
	}
	if errors.Is(err, sops.ErrNoKey) {
		f, err = sops.Shape(data, as)
		return f, false, err
	}
	return f, err == nil, err
}

// decryptsWith is the provider that Flux knows.
const decryptsWith = "sops"

// isEncrypted tells whether Flux decrypts an object: by the metadata that SOPS writes into it.
func isEncrypted(content compact.Object) bool {
	mac := content.At("sops", "mac")
	return mac != nil && mac != "" && !decryptionDisabled(content)
}

func decryptionDisabled(content compact.Object) bool {
	return strings.EqualFold(content.Text("metadata", "annotations", agent.FluxKustomizeGroup+"/decrypt"), "disabled")
}

// takeOpaque takes the bookkeeping of SOPS out of an object and returns the paths of the values that it holds encrypted; nil if it is
// not encrypted.
func (o *Object) takeOpaque() []string {
	if !isEncrypted(o.Content) {
		return nil
	}
	content := o.Content.Map()
	delete(content, "sops")
	o.Content = compact.Of(content)
	var paths []string
	walkTexts(content, nil, func(at []string, s string) {
		if sops.IsValue(s) {
			paths = append(paths, fieldPath(at))
		}
	})
	slices.Sort(paths)
	return slices.Compact(paths)
}

// walkTexts visits every text.
func walkTexts(v any, at []string, visit func(at []string, s string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, below := range v {
			walkTexts(below, append(at[:len(at):len(at)], k), visit)
		}
	case []any:
		for i, below := range v {
			walkTexts(below, append(at[:len(at):len(at)], strconv.Itoa(i)), visit)
		}
	case string:
		visit(at, v)
	}
}

// unseal opens the files that encrypted documents of a build come from, and seals their values into the documents. vars are what Flux
// substitutes in decrypted values, nil if nothing. Documents change in copies.
func (r *renderer) unseal(b *Build, vars *variables) error {
	if r.ahead.looking {
		return errAhead // nothing that follows may be done ahead
	}
	values, err := r.openDocuments(b)
	if err != nil {
		return err
	}
	substituted, err := r.substituteValues(b, values, vars)
	var refused *refusedFile
	if errors.Is(err, errSubstitution) || errors.As(err, &refused) {
		r.problem(Source{Repository: b.Repository, Path: b.Path}, "%v", errSubstitution)
		return errReported
	}
	if err != nil {
		return err
	}
	for i, doc := range b.documents {
		if !isEncrypted(doc.content) {
			if b.documents[i], err = r.unsealedData(b, doc); err != nil {
				return err
			}
			continue
		}
		seals := map[string]account.Seal{}
		walkTexts(doc.content.Map(), nil, func(at []string, s string) {
			v, ok := substituted[s]
			if substitutionDisabled(doc.content) {
				v = values[s]
			}
			if ok {
				r.seal(b, seals, doc.content, at, s, v)
			}
		})
		if len(seals) > 0 {
			made := *doc
			made.sealed = doc.sealed.With(r.in.Decryption.sealer.Sealed(seals))
			b.documents[i] = &made
		}
	}
	return nil
}

// openDocuments is what the encrypted values of a build's documents decrypt to, by the text that stands for each.
func (r *renderer) openDocuments(b *Build) (map[string]any, error) {
	values := map[string]any{}
	if r.in.Decryption == nil {
		return values, nil
	}
	opened := map[git.Path]bool{}
	failed := false
	for _, doc := range b.documents {
		if !isEncrypted(doc.content) {
			continue
		}
		for _, p := range append(slices.Clone(doc.inputs), doc.path) {
			if opened[p] {
				continue
			}
			opened[p] = true
			in, err := r.openFile(file{b.Repository, p})
			switch {
			case errors.Is(err, errReported):
				failed = true // go on: all problems at once
			case err != nil:
				return nil, err
			}
			maps.Copy(values, in)
		}
	}
	if failed {
		return nil, errReported
	}
	return values, nil
}

// openFile is what the encrypted values of a file decrypt to; nil if it is not encrypted, or no key opens it.
func (r *renderer) openFile(f file) (map[string]any, error) {
	as := sops.FormatOf(string(f.path))
	if as != sops.YAML && as != sops.JSON {
		return nil, nil
	}
	data, err := r.readIfThere(f)
	if err != nil || !holdsEncrypted(f.path, data) {
		return nil, err
	}
	in, err := r.in.Decryption.keys.Open(data, as)
	switch {
	case errors.Is(err, sops.ErrNoKey):
		return nil, nil
	case err != nil:
		r.brokenFile(f, err)
		return nil, errReported
	}
	return in.Values, nil
}

// holdsEncrypted tells whether a file holds an encrypted object, by what Flux tells one by: however the file spells it.
func holdsEncrypted(p git.Path, data []byte) bool {
	docs, err := parse(p, data, dialectKustomize)
	return err == nil && slices.ContainsFunc(docs, func(doc *document) bool { return doc.content.At("sops", "mac") != nil })
}

// brokenFile notes what is wrong with an encrypted file.
func (r *renderer) brokenFile(f file, err error) {
	at := Source{Repository: f.repository, Path: f.path}
	var broken *sops.Error
	if errors.As(err, &broken) {
		at.Line, err = broken.Line, broken.What
	}
	r.problem(at, "%v", err)
}

// unsealedData looks for encrypted files in the data of a Secret, which Flux decrypts too: a generator put them there.
func (r *renderer) unsealedData(b *Build, doc *document) (*document, error) {
	if gk, _ := kindOf(doc.content); gk != (groupKind{"", "Secret"}) || decryptionDisabled(doc.content) {
		return doc, nil
	}
	made := doc
	seals := map[string]account.Seal{}
	data := doc.content.Child("data")
	for _, key := range slices.Sorted(maps.Keys(data)) {
		encoded, _ := data[key].(string)
		plain, err := base64.StdEncoding.DecodeString(encoded)
		as, ok := markedAs(plain)
		if err != nil || !ok {
			continue
		}
		f, known, err := r.in.Decryption.open(plain, as)
		var out []byte
		if err == nil && known {
			out, err = f.Emit(sops.FormatOf(key))
		}
		if err != nil {
			r.problem(Source{Repository: b.Repository, Path: doc.path, Line: doc.line}, "data[%s]: %v", key, err)
			return nil, errReported
		}
		if made == doc {
			copied := *doc
			made, made.opaque = &copied, slices.Clone(doc.opaque)
		}
		made.opaque = append(made.opaque, fieldPath([]string{"data", key}))
		if known {
			seals[encoded] = r.in.Decryption.sealer.Bytes(out)
			r.noteOpened(b, encoded, string(out))
		}
	}
	if len(seals) > 0 {
		made.sealed = doc.sealed.With(r.in.Decryption.sealer.Sealed(seals))
	}
	return made, nil
}

func markedAs(data []byte) (sops.Format, bool) {
	for _, as := range []sops.Format{sops.YAML, sops.JSON, sops.Dotenv, sops.INI} {
		if sops.Marked(data, as) {
			return as, true
		}
	}
	return 0, false
}

// seal notes what a text of an object stands for, and remembers the entries of Secrets and ConfigMaps for those who take values from them.
func (r *renderer) seal(b *Build, seals map[string]account.Seal, content compact.Object, at []string, standsFor string, v any) {
	if t, ok := v.(time.Time); ok {
		v = t.Format(time.RFC3339Nano)
	}
	sealer := r.in.Decryption.sealer
	gk, _ := kindOf(content)
	s, ok := v.(string)
	switch {
	case ok && gk == (groupKind{"", "Secret"}) && at[0] == "stringData":
		seals[standsFor] = sealer.Bytes([]byte(s))
		r.noteOpened(b, standsFor, s)
	case ok && gk == (groupKind{"", "Secret"}) && at[0] == "data":
		if plain, err := base64.StdEncoding.DecodeString(s); err == nil { // otherwise the API server refuses it
			seals[standsFor] = sealer.Bytes(plain)
			r.noteOpened(b, standsFor, string(plain))
		}
	case ok && gk == (groupKind{"", "ConfigMap"}) && at[0] == "data":
		r.noteOpened(b, standsFor, s)
		fallthrough
	default:
		seals[standsFor] = sealer.Seal(v)
	}
}
