package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/api/resource"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// pinnedName is the name by which a rendering knows a trusted repository at one commit of its verified line.
func pinnedName(repository string, commit git.ID) string { return repository + "@" + string(commit) }

// splitPinned takes such a name apart; commit is "" for a repository at its newest verified commit.
func splitPinned(name string) (repository string, commit git.ID) {
	repository, id, _ := strings.Cut(name, "@")
	return repository, git.ID(id)
}

// pin makes a commit of a trusted repository readable under its pinned name. It must have been verified; why says that it was not.
func (r *renderer) pin(t *v1alpha1.TrustedRepository, commit git.ID) (name, why string) {
	name = pinnedName(t.Name, commit)
	tip, ok := r.revisions[t.Name]
	switch {
	case r.revisions[name].tree != nil:
		return name, ""
	case ok && tip.commit == commit:
		r.revisions[name] = tip
		return name, ""
	case !ok || r.in.Pinned == nil:
		return "", fmt.Sprintf("commit %s of repository %s is not verified", commit.Short(), t.Name)
	}
	v, err := r.in.Pinned(r.ctx, t.Name, commit)
	switch {
	case errors.Is(err, signing.ErrNotOnLine):
		return "", fmt.Sprintf("repository %s: %v", t.Name, err)
	case err != nil:
		r.broken = errors.Join(r.broken, fmt.Errorf("repository %s: %w", t.Name, err))
		return "", "it cannot be read now"
	}
	r.revisions[name] = revision{v.Commit().ID, v.Tree()}
	return name, ""
}

// remotes is where the trees of other repositories are mounted, and what stands in the place of the files that name them.
type remotes struct {
	mounts map[string]fs.FS  // pinned names to trees
	files  map[string][]byte // by path in the mounted tree
}

// mountPoint is a folder that no tree of Git can have.
const mountPoint = ".git"

// remoteFields are those of a kustomization that may name remote bases.
func remoteFields() []string { return []string{"resources", "bases", "components"} }

// remotesOf finds the remote bases of a kustomization and of those below it, and mounts them; nil if there are none. over are files in the place of those
// in the tree.
func (r *renderer) remotesOf(at file, over map[string][]byte) (*remotes, error) {
	m := &remotes{mounts: map[string]fs.FS{}, files: map[string][]byte{}}
	failed, err := r.mount(m, at, "", over, map[file]bool{})
	switch {
	case err != nil:
		return nil, err
	case failed:
		return nil, errReported
	case len(m.mounts) == 0:
		return nil, nil
	}
	return m, nil
}

// mount looks through a folder with a kustomization; prefix is where its repository is mounted.
func (r *renderer) mount(m *remotes, at file, prefix string, over map[string][]byte, seen map[file]bool) (failed bool, err error) {
	if seen[at] {
		return false, nil
	}
	seen[at] = true
	for _, name := range kustomizationNames {
		f := file{at.repository, join(at.path, name)}
		data, ok := over[string(f.path)]
		if !ok || prefix != "" {
			if data, err = r.readIfThere(f); err != nil {
				return false, err
			}
		}
		docs, syntax := parse(f.path, data, dialectKubernetes)
		if syntax != nil || len(docs) != 1 {
			continue // kustomize says what is wrong with it
		}
		rewritten := data
		for _, entry := range namedIn(docs[0].content.Map()) {
			base := resourceOrigin(entry)
			if base.Repo == "" {
				below, err := git.ParsePath(path.Join(string(at.path), entry))
				if err != nil {
					continue // out of the tree
				}
				no, err := r.mount(m, file{at.repository, below}, prefix, over, seen)
				if err != nil {
					return false, err
				}
				failed = failed || no
				continue
			}
			to, err := r.mountBase(m, f, data, entry, base, seen)
			if errors.Is(err, errReported) {
				failed = true
				continue
			}
			if err != nil {
				return false, err
			}
			local := relative(path.Join(prefix, string(at.path)), to)
			rewritten = bytes.ReplaceAll(rewritten, []byte(entry), []byte(local))
			m.files[path.Join(prefix, string(f.path))] = rewritten
		}
	}
	return failed, nil
}

// namedIn are the folders, files and remote bases that a kustomization names, the longest first.
func namedIn(content map[string]any) []string {
	var names []string
	for _, field := range remoteFields() {
		for _, item := range listOf(content[field]) {
			if s, _ := item.(string); s != "" && !isRawFile(s) {
				names = append(names, s)
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) }) // one may begin with another: the longer is rewritten first
	return names
}

// isRawFile tells a single file to be fetched, which no commit vouches for, from a base: kustomize tries the one and then the other.
func isRawFile(s string) bool {
	bare, _, _ := strings.Cut(s, "?")
	return isURL(s) && slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(bare))
}

func resourceOrigin(entry string) *resource.Origin { return (&resource.Origin{}).Append(entry) }

// mountBase mounts what a remote base names, and returns its path there.
func (r *renderer) mountBase(m *remotes, by file, data []byte, entry string, base *resource.Origin, seen map[file]bool) (string, error) {
	line := 0
	if i := bytes.Index(data, []byte(entry)); i >= 0 {
		line = 1 + bytes.Count(data[:i], []byte("\n"))
	}
	refuse := func(format string, args ...any) (string, error) {
		r.problem(Source{Repository: by.repository, Path: by.path, Line: line}, "%s: %s", entry, fmt.Sprintf(format, args...))
		return "", errReported
	}
	t := r.repositoryOf(base.Repo)
	if t == nil {
		return refuse("%s is not the URL or an alias of a trusted repository, and nothing is fetched from elsewhere: trust it, or copy the base here", base.Repo)
	}
	commit, err := git.ParseID(base.Ref)
	if err != nil {
		return refuse("%q can move: pin the base to a commit of repository %s, as ?ref= and its full hash", base.Ref, t.Name)
	}
	name, why := r.pin(t, commit)
	if why != "" {
		return refuse("%s", why)
	}
	p := base.Path
	if p == "notCloned" {
		p = "." // kustomize's word for the root of a repository that it has not cloned
	}
	below, err := git.ParsePath(p)
	if err != nil {
		return refuse("%v", err)
	}
	m.mounts[name] = r.revisions[name].tree
	prefix := path.Join(mountPoint, name)
	if failed, err := r.mount(m, file{name, below}, prefix, nil, seen); err != nil || failed {
		return "", errors.Join(err, errIf(failed))
	}
	return path.Join(prefix, string(below)), nil
}

func errIf(failed bool) error {
	if failed {
		return errReported
	}
	return nil
}

// relative is the path from one folder of a tree to another.
func relative(from, to string) string {
	up := ""
	if from = path.Clean(from); from != "." {
		up = strings.Repeat("../", 1+strings.Count(from, "/"))
	}
	return up + to
}

// mounted tells whether a path lies in another repository.
func (m *remotes) mounted(p git.Path) bool { return strings.HasPrefix(string(p), mountPoint+"/") }

// home is a mounted path in its own repository.
func (m *remotes) home(p git.Path) file {
	name, below, _ := strings.Cut(strings.TrimPrefix(string(p), mountPoint+"/"), "/")
	if below == "" {
		below = "."
	}
	return file{name, git.Path(below)}
}

// kustomizeRemote builds a folder with its remote bases mounted. inputs are those of its own repository: the others are named with their commits.
func (r *renderer) kustomizeRemote(b *Build, tree fs.FS, at file, m *remotes, sources *encryptedSources, made *rendered, vars *variables) (inputs []git.Path, err error) {
	tree = overlay{mountedTree{tree, m.mounts}, m.files}
	if sources != nil {
		made.docs, inputs, err = r.kustomizeSealed(b, tree, at, sources, made, vars)
	} else {
		var a *answer
		if a, err = r.kustomizeTree(r.do, tree, at); err == nil {
			made.docs, inputs = a.documents(a.Inputs), a.Inputs
		}
	}
	if err != nil {
		return nil, err
	}
	r.placeBases(at, made.docs, m)
	return slices.DeleteFunc(slices.Clone(inputs), m.mounted), nil
}

// placeBases says of documents that come from remote bases where a person here finds them: in the kustomization that brings them. What changes them
// here are its inputs, and the commit that it names.
func (r *renderer) placeBases(at file, docs []*document, m *remotes) {
	for _, doc := range docs {
		doc.inputs = slices.DeleteFunc(slices.Clone(doc.inputs), m.mounted)
		if !m.mounted(doc.path) {
			continue
		}
		f := m.home(doc.path)
		repository, commit := splitPinned(f.repository)
		doc.base = Base{repository, f.path, doc.line, commit}
		doc.path, doc.line = r.kustomizationFile(at), 0
	}
}

// mountedTree is a tree with others mounted in it.
type mountedTree struct {
	fs.FS
	mounts map[string]fs.FS
}

var (
	_ fs.ReadDirFS  = mountedTree{}
	_ fs.ReadFileFS = mountedTree{}
	_ fs.StatFS     = mountedTree{}
)

// within is the tree that a path lies in, and its path there; nil for the folder of the mounts itself.
func (t mountedTree) within(name string) (fs.FS, string, error) {
	if name == mountPoint {
		return nil, "", nil
	}
	rest, ok := strings.CutPrefix(name, mountPoint+"/")
	if !ok {
		return t.FS, name, nil
	}
	mount, below, _ := strings.Cut(rest, "/")
	if t.mounts[mount] == nil {
		return nil, "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	if below == "" {
		below = "."
	}
	return t.mounts[mount], below, nil
}

func (t mountedTree) Open(name string) (fs.File, error) {
	in, below, err := t.within(name)
	if err != nil {
		return nil, err
	}
	if in == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is a folder")}
	}
	return in.Open(below)
}

func (t mountedTree) ReadFile(name string) ([]byte, error) {
	in, below, err := t.within(name)
	if err != nil {
		return nil, err
	}
	if in == nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a folder")}
	}
	return fs.ReadFile(in, below)
}

func (t mountedTree) Stat(name string) (fs.FileInfo, error) {
	in, below, err := t.within(name)
	if err != nil {
		return nil, err
	}
	if in == nil {
		return mountedFolder{name}, nil
	}
	info, err := fs.Stat(in, below)
	if err == nil && below == "." {
		return mountedFolder{path.Base(name)}, nil
	}
	return info, err
}

func (t mountedTree) ReadDir(name string) ([]fs.DirEntry, error) {
	in, below, err := t.within(name)
	if err != nil {
		return nil, err
	}
	if in == nil {
		var entries []fs.DirEntry
		for mount := range t.mounts {
			entries = append(entries, fs.FileInfoToDirEntry(mountedFolder{mount}))
		}
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		return entries, nil
	}
	entries, err := fs.ReadDir(in, below)
	if name == "." && err == nil {
		entries = append([]fs.DirEntry{fs.FileInfoToDirEntry(mountedFolder{mountPoint})}, entries...)
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return entries, err
}

// mountedFolder is a folder that stands in no tree.
type mountedFolder struct{ name string }

func (f mountedFolder) Name() string       { return path.Base(f.name) }
func (f mountedFolder) Size() int64        { return 0 }
func (f mountedFolder) Mode() fs.FileMode  { return fs.ModeDir | 0o755 }
func (f mountedFolder) IsDir() bool        { return true }
func (f mountedFolder) ModTime() time.Time { return time.Time{} }
func (f mountedFolder) Sys() any           { return nil }
