package manifest

import (
	"crypto/sha256"
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

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/sops"
)

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
