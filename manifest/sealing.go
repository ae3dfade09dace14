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
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/compact"
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
	if r.ahead.looking {
		return errAhead // what is decrypted is built in its turn
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
		sourcesIn(docs[0].content.Map(), string(at.path), named)
		for _, item := range append(listOf(docs[0].content.At("resources")), listOf(docs[0].content.At("components"))...) {
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
func (r *renderer) kustomizeSealed(b *Build, tree fs.FS, at file, sources *encryptedSources, made *rendered, vars *variables) ([]*document, []git.Path, error) {
	decoys, err := r.kustomizeTree(r.do, overlay{tree, sources.decoys}, at)
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
	docs, others := a.documents(a.Inputs), decoys.documents(nil)
	found, hashed, err := compareDocuments(docs, others, true)
	if err != nil {
		r.problem(place, "%v", err)
		return nil, nil, errReported
	}
	if err := r.substituteDecrypted(b, docs, others, found, sources, vars); err != nil {
		return nil, nil, r.refuse(place, err)
	}
	sealed, shapes, unknown := found, differences(nil), []int(nil)
	if sources.closed {
		sealed, shapes, unknown = nil, found, hashed
	}
	for i, doc := range docs {
		if doc.substituted {
			made.with = "" // it hangs on the variables too: nobody takes it over
			continue
		}
		r.mask(b, doc, hex.EncodeToString(sources.mark.Sum(nil)), sealed.of(i), shapes.of(i))
	}
	var kept []*document
	for i, doc := range docs {
		if !slices.Contains(unknown, i) {
			kept = append(kept, doc)
			continue
		}
		made.unfollows = append(made.unfollows, Problem{at.repository, doc.path, doc.line, fmt.Sprintf(
			"the name of Secret %s is a hash of what is encrypted, and no key is at hand that opens it (spec.decryption of the Gate): it is not declared",
			doc.content.Text("metadata", "name"))})
	}
	return kept, a.Inputs, nil
}

// substituteDecrypted replaces Flux's variables in the documents in which a decrypted value holds some, and seals what comes of it.
func (r *renderer) substituteDecrypted(b *Build, docs, others []*document, found differences, sources *encryptedSources, vars *variables) error {
	if vars.none() {
		return nil
	}
	for i, doc := range docs {
		before, err := yaml.Marshal(doc.content)
		if err != nil {
			return err
		}
		if len(found[i]) == 0 || substitutionDisabled(doc.content) || !strings.Contains(string(before), "$") {
			continue
		}
		some := vars.within(string(before))
		file := hidden{name: "what is decrypted for it", known: !sources.closed, value: 0}
		made, err := r.sealTrial(b, append([]hidden{file}, some.hidden...), some.mark+hex.EncodeToString(sources.mark.Sum(nil)), func(values []any) ([]*document, error) {
			content := doc.content
			if values[0] != file.value && values[0] != stranger {
				content = named(others[i].content, doc.content)
			}
			text, err := yaml.Marshal(content)
			if err != nil {
				return nil, err
			}
			return r.substituteDocument(b, doc, string(text), some.with(values[1:]))
		})
		if err != nil {
			var beyond *unknowable
			if errors.As(err, &beyond) {
				err = &refusedFile{path: doc.path, line: doc.line, err: beyond}
			}
			return err
		}
		*doc = *made[0]
		doc.substituted = true
	}
	return nil
}

// named is what was built with other values, with the metadata's name of what was built with the real ones: it may hold a hash of them.
func named(other, built compact.Object) compact.Object {
	out := other.Map()
	childMap(out, "metadata")["name"] = built.At("metadata", "name")
	return compact.Of(out)
}

// errDepends is returned when what is built depends on an encrypted value in more than single values.
var errDepends = errors.New("what is built depends on encrypted values in more than single values: its structure differs with them")

// differences are the field paths of the leaves that differ between two renderings, by document.
type differences []map[string]bool

func (d differences) of(i int) map[string]bool {
	if i < len(d) {
		return d[i]
	}
	return nil
}

func (d *differences) add(more differences) {
	for i, paths := range more {
		if i == len(*d) {
			*d = append(*d, map[string]bool{})
		}
		maps.Copy((*d)[i], paths)
	}
}

// compareDocuments finds the single values that differ between what was built with the values and with others in their place. errDepends: more than
// that differs, or what an object is called. Where kustomize may have put the hash of a Secret into its name, a name may differ in that: hashed
// are the places in built of such objects.
func compareDocuments(built, others []*document, hashes bool) (found differences, hashed []int, err error) {
	if len(built) != len(others) {
		return nil, nil, errDepends
	}
	var names []string
	for i := range built {
		now, then := built[i].content.Text("metadata", "name"), others[i].content.Text("metadata", "name")
		if now != then && hashes && sameButHash(now, then) {
			names = append(names, then, now)
			hashed = append(hashed, i)
		}
	}
	c := comparison{renamed: strings.NewReplacer(names...), strict: !hashes}
	for i, doc := range built {
		c.found = map[string]bool{}
		found = append(found, c.found)
		if doc.nameless && others[i].nameless {
			continue
		}
		if err := c.value(doc.content.Map(), others[i].content.Map(), nil); err != nil {
			return nil, nil, err
		}
	}
	return found, hashed, nil
}

// sameButHash tells whether two names differ in nothing but the hash that kustomize puts at the end.
func sameButHash(a, b string) bool {
	hashed := regexp.MustCompile(`^(.+)-[2456789bcdfghkmt]{10}$`) // sigs.k8s.io/kustomize/api/hasher
	now, then := hashed.FindStringSubmatch(a), hashed.FindStringSubmatch(b)
	return now != nil && then != nil && now[1] == then[1]
}

type comparison struct {
	renamed *strings.Replacer // names that hold a hash of another value, to those that were built
	found   map[string]bool
	strict  bool // what items of lists are called counts as what objects are called
}

// namesItems tells whether a field may tell the items of a list apart, by the keys of the lists of built-in kinds: messages name an item by them.
func namesItems(at []string) bool {
	if len(at) < 2 || !slices.Contains([]string{"name", "containerPort", "port", "protocol", "mountPath", "devicePath", "ip", "topologyKey", "whenUnsatisfiable", "type", "uid"}, at[len(at)-1]) {
		return false
	}
	_, err := strconv.Atoi(at[len(at)-2])
	return err == nil
}

func (c *comparison) value(v, other any, at []string) error {
	switch v := v.(type) {
	case map[string]any:
		other, ok := other.(map[string]any)
		if !ok || len(other) != len(v) {
			return errDepends
		}
		for k, below := range v {
			with, ok := other[k]
			if !ok {
				return errDepends
			}
			if err := c.value(below, with, append(at[:len(at):len(at)], k)); err != nil {
				return err
			}
		}
		return nil
	case []any:
		other, ok := other.([]any)
		if !ok || len(other) != len(v) {
			return errDepends
		}
		for i, below := range v {
			if err := c.value(below, other[i], append(at[:len(at):len(at)], strconv.Itoa(i))); err != nil {
				return err
			}
		}
		return nil
	}
	if v == other {
		return nil
	}
	switch with := other.(type) {
	case string:
		if v == c.renamed.Replace(with) {
			return nil
		}
	case map[string]any, []any:
		return errDepends
	}
	if at[0] == "apiVersion" || at[0] == "kind" || at[0] == "metadata" && len(at) == 2 {
		return errDepends // what an object is called cannot be kept secret
	}
	if c.strict && namesItems(at) {
		return errDepends
	}
	c.found[fieldPath(at)] = true
	return nil
}

// anyPath tells whether one of the patterns names a field.
func anyPath(patterns []string, at []string) bool {
	p := fieldPath(at)
	return slices.ContainsFunc(patterns, func(pattern string) bool { return account.Pattern(pattern).Match(p) })
}

// mapLeaves is a copy with what change makes of each leaf. Keys of maps come in their order.
func mapLeaves(v any, at []string, change func(at []string, v any) any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			out[k] = mapLeaves(v[k], append(at[:len(at):len(at)], k), change)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = mapLeaves(v[i], append(at[:len(at):len(at)], strconv.Itoa(i)), change)
		}
		return out
	}
	return change(at, v)
}
