package manifest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
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
func isEncrypted(content map[string]any) bool {
	mac := childMap(content, "sops")["mac"]
	return mac != nil && mac != "" && !decryptionDisabled(content)
}

func decryptionDisabled(content map[string]any) bool {
	return strings.EqualFold(text(childMap(content, "metadata", "annotations"), agent.FluxKustomizeGroup+"/decrypt"), "disabled")
}

// takeOpaque takes the bookkeeping of SOPS out of an object and returns the paths of the values that it holds encrypted; nil if it is
// not encrypted.
func (o *Object) takeOpaque() []string {
	if !isEncrypted(o.Content) {
		return nil
	}
	o.Content = maps.Clone(o.Content)
	delete(o.Content, "sops")
	var paths []string
	walkTexts(o.Content, nil, func(at []string, s string) {
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
func (r *renderer) unseal(b *Build, vars map[string]string) error {
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
		walkTexts(doc.content, nil, func(at []string, s string) {
			v, ok := substituted[s]
			if substitutionDisabled(doc.content) {
				v = values[s]
			}
			if ok {
				r.in.Decryption.seal(seals, doc.content, at, s, v)
			}
		})
		if len(seals) > 0 {
			made := *doc
			made.sealed = r.in.Decryption.sealer.Sealed(seals)
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
	return err == nil && slices.ContainsFunc(docs, func(doc *document) bool { return childMap(doc.content, "sops")["mac"] != nil })
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
	data := childMap(doc.content, "data")
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
		}
	}
	if len(seals) > 0 {
		made.sealed = r.in.Decryption.sealer.Sealed(seals)
	}
	return made, nil
}

func markedAs(data []byte) (sops.Format, bool) {
	for _, as := range []sops.Format{sops.YAML, sops.JSON, sops.Dotenv} {
		if sops.Marked(data, as) {
			return as, true
		}
	}
	return 0, false
}

// seal notes what a text of an object stands for.
func (d *Decryption) seal(seals map[string]account.Seal, content map[string]any, at []string, standsFor string, v any) {
	if t, ok := v.(time.Time); ok {
		v = t.Format(time.RFC3339Nano)
	}
	if gk, _ := kindOf(content); gk == (groupKind{"", "Secret"}) {
		s, ok := v.(string)
		switch {
		case ok && at[0] == "stringData":
			seals[standsFor] = d.sealer.Bytes([]byte(s))
			return
		case ok && at[0] == "data":
			if plain, err := base64.StdEncoding.DecodeString(s); err == nil {
				seals[standsFor] = d.sealer.Bytes(plain)
			}
			return // otherwise the API server refuses it
		}
	}
	seals[standsFor] = d.sealer.Seal(v)
}

// encryptedSources are the files that a kustomization takes in as they are and that Flux decrypts before the build.
type encryptedSources struct {
	// decrypted and decoys are the files by their paths: with their values, and with others in their place.
	decrypted, decoys map[string][]byte
	closed            bool      // no key opens one of them: decrypted holds the encrypted values
	mark              hash.Hash // over what stands in Git of them
}

// encryptedSources finds the encrypted sources of a kustomization and of those below it, as Flux does; nil if there are none. over are files in the
// place of those in the tree.
func (r *renderer) encryptedSources(b *Build, at file, over map[string][]byte) (*encryptedSources, error) {
	if !b.decrypts {
		return nil, nil
	}
	named := map[git.Path]sops.Format{}
	if err := r.sourcesOf(at, over, map[git.Path]bool{}, named); err != nil {
		return nil, err
	}
	s := &encryptedSources{decrypted: map[string][]byte{}, decoys: map[string][]byte{}, mark: sha256.New()}
	for _, p := range slices.Sorted(maps.Keys(named)) {
		if err := r.openSource(s, file{at.repository, p}, named[p]); err != nil {
			return nil, err
		}
	}
	if len(s.decrypted) == 0 {
		return nil, nil
	}
	return s, nil
}

func (r *renderer) openSource(s *encryptedSources, f file, as sops.Format) error {
	data, err := r.readIfThere(f)
	if err != nil || !sops.Marked(data, as) {
		return err
	}
	opened, known, err := r.in.Decryption.open(data, as)
	if err == nil {
		s.decrypted[string(f.path)], err = opened.Emit(as)
	}
	if err == nil {
		s.decoys[string(f.path)], err = opened.Decoy().Emit(as)
	}
	if err != nil {
		r.brokenFile(f, err)
		return errReported
	}
	s.closed = s.closed || !known
	fmt.Fprintf(s.mark, "%s %d\n", f.path, len(data))
	s.mark.Write(data)
	return nil
}

// readIfThere is a file, nil if there is none or it is no file.
func (r *renderer) readIfThere(f file) ([]byte, error) {
	tree, err := r.tree(f.repository)
	if err != nil {
		return nil, err
	}
	if info, err := fs.Stat(tree, string(f.path)); err != nil || !info.Mode().IsRegular() {
		return nil, nil // kustomize says what it makes of that
	}
	return r.readBytes(f)
}

// sourcesOf collects the files that a kustomization takes in, and those of the kustomizations that it names.
func (r *renderer) sourcesOf(at file, over map[string][]byte, seen map[git.Path]bool, named map[git.Path]sops.Format) error {
	if seen[at.path] {
		return nil
	}
	seen[at.path] = true
	for _, name := range kustomizationNames {
		p := join(at.path, name)
		data, ok := over[string(p)]
		if !ok {
			var err error
			if data, err = r.readIfThere(file{at.repository, p}); err != nil {
				return err
			}
		}
		docs, err := parse(p, data, dialectKubernetes)
		if err != nil || len(docs) == 0 {
			continue // kustomize says what is wrong with it
		}
		sourcesIn(docs[0].content, string(at.path), named)
		for _, item := range append(listOf(docs[0].content["resources"]), listOf(docs[0].content["components"])...) {
			name, _ := item.(string)
			if below, err := git.ParsePath(path.Join(string(at.path), name)); err == nil && !remoteBase(name) {
				if err := r.sourcesOf(file{at.repository, below}, over, seen, named); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// sourcesIn are the files that one kustomization names, with the format in which Flux takes each to be.
func sourcesIn(content map[string]any, dir string, into map[git.Path]sops.Format) {
	add := func(name string, as sops.Format) {
		if p, err := git.ParsePath(path.Join(dir, name)); err == nil {
			if _, ok := into[p]; !ok {
				into[p] = as
			}
		}
	}
	for _, item := range listOf(content["secretGenerator"]) {
		generator, _ := item.(map[string]any)
		for _, f := range listOf(generator["files"]) {
			key, _ := f.(string)
			name := key
			if k, n, ok := strings.Cut(key, "="); ok {
				key, name = k, n
			}
			add(name, sops.FormatOf(key))
		}
		for _, f := range append(listOf(generator["envs"]), generator["env"]) {
			if name, _ := f.(string); name != "" {
				as := sops.FormatOf(name)
				if as == sops.Binary {
					as = sops.Dotenv
				}
				add(name, as)
			}
		}
	}
	for _, item := range listOf(content["patches"]) {
		patch, _ := item.(map[string]any)
		if name := text(patch, "path"); name != "" {
			add(name, sops.FormatOf(name))
		}
	}
}

// kustomizeSealed builds a folder with its encrypted sources decrypted, and takes out of what is made all that holds something of their values:
// what differs where it is built with decoys. That goes first: what is wrong with it can be told.
func (r *renderer) kustomizeSealed(tree fs.FS, at file, sources *encryptedSources, made *rendered) ([]*document, []git.Path, error) {
	decoys, err := r.kustomizeTree(overlay{tree, sources.decoys}, at)
	if err != nil {
		return nil, nil, err
	}
	place := Source{Repository: at.repository, Path: r.kustomizationFile(at)}
	a, err := r.do(overlay{tree, sources.decrypted}, at.path, job{Kustomize: &kustomizeJob{at.path, r.limits}})
	var refused *refusedFile
	if errors.As(err, &refused) { // its text could quote a value
		err = &refusedFile{err: errors.New("kustomize cannot build it with the values that are decrypted for it")}
	}
	if err != nil {
		return nil, nil, r.refuse(place, err)
	}
	docs := a.documents(a.Inputs)
	unknown, err := r.in.Decryption.sealDifferences(docs, decoys.documents(nil), hex.EncodeToString(sources.mark.Sum(nil))[:16], !sources.closed)
	if err != nil {
		r.problem(place, "%v", err)
		return nil, nil, errReported
	}
	var kept []*document
	for i, doc := range docs {
		if !slices.Contains(unknown, i) {
			kept = append(kept, doc)
			continue
		}
		made.unfollows = append(made.unfollows, Problem{at.repository, doc.path, doc.line, fmt.Sprintf(
			"the name of Secret %s is a hash of what is encrypted, and no key is at hand that opens it (spec.decryption of the Gate): it is not declared",
			text(childMap(doc.content, "metadata"), "name"))})
	}
	return kept, a.Inputs, nil
}

// errDepends is returned when what is built depends on an encrypted value in more than single values.
var errDepends = errors.New("what is built depends on encrypted values in more than single values: its structure differs with them")

// sealing compares what was built with the values and with decoys in their place.
type sealing struct {
	d       *Decryption
	known   bool // the values are the real ones
	mark    string
	renamed *strings.Replacer // names that hold a hash of a decoy, to those that were built
	opaque  []string
	seals   map[string]account.Seal
	content map[string]any
	count   int
}

// sealDifferences puts marks in the place of all values that hold something of an encrypted one: those that differ where a decoy stood. The mark
// tells the encrypted files of one revision from those of another. nameless are the places in built whose names nobody knows: no key opened what
// they are a hash of.
func (d *Decryption) sealDifferences(built, decoys []*document, mark string, known bool) (nameless []int, err error) {
	if len(built) != len(decoys) {
		return nil, errDepends
	}
	var names []string
	for i := range built {
		now, then := text(childMap(built[i].content, "metadata"), "name"), text(childMap(decoys[i].content, "metadata"), "name")
		if now != then {
			names = append(names, then, now)
			if !known {
				nameless = append(nameless, i)
			}
		}
	}
	renamed := strings.NewReplacer(names...)
	for i, doc := range built {
		s := &sealing{d: d, known: known, mark: fmt.Sprintf("%s/%d", mark, i), renamed: renamed, seals: map[string]account.Seal{}, content: doc.content}
		content, err := s.value(doc.content, decoys[i].content, nil)
		if err != nil {
			return nil, err
		}
		doc.content, _ = content.(map[string]any)
		slices.Sort(s.opaque)
		doc.opaque = slices.Compact(append(doc.opaque, s.opaque...))
		if len(s.seals) > 0 {
			doc.sealed = d.sealer.Sealed(s.seals)
		}
	}
	return nameless, nil
}

func (s *sealing) value(v, decoy any, at []string) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		other, ok := decoy.(map[string]any)
		if !ok || len(other) != len(v) {
			return nil, errDepends
		}
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			with, ok := other[k]
			if !ok {
				return nil, errDepends
			}
			made, err := s.value(v[k], with, append(at[:len(at):len(at)], k))
			if err != nil {
				return nil, err
			}
			out[k] = made
		}
		return out, nil
	case []any:
		other, ok := decoy.([]any)
		if !ok || len(other) != len(v) {
			return nil, errDepends
		}
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = s.value(v[i], other[i], append(at[:len(at):len(at)], strconv.Itoa(i))); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	if v == decoy {
		return v, nil
	}
	if with, ok := decoy.(string); ok && v == s.renamed.Replace(with) {
		return v, nil
	}
	switch decoy.(type) {
	case map[string]any, []any:
		return nil, errDepends
	}
	if at[0] == "apiVersion" || at[0] == "kind" || at[0] == "metadata" && len(at) == 2 {
		return nil, errDepends // what an object is called cannot be kept secret
	}
	s.count++
	mark := fmt.Sprintf("ENC[git,%s/%d]", s.mark, s.count)
	if s.known {
		s.d.seal(s.seals, s.content, at, mark, v)
	}
	s.opaque = append(s.opaque, fieldPath(at))
	return mark, nil
}
