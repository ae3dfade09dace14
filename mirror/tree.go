package mirror

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror/objects"
	"github.com/commitgate/commitgate/signing"
)

var (
	// ErrSymlink is wrapped by the error of opening a symbolic link: links are never followed.
	ErrSymlink = errors.New("is a symbolic link, which is not followed")
	// ErrSubmodule is wrapped by the error of opening a submodule: it lives in another repository.
	ErrSubmodule = errors.New("is a submodule, which is not followed")
)

// treeCacheBound is how many tree entries are kept parsed: some 100 bytes each.
const treeCacheBound = 200_000

// treeCache keeps parsed trees by id. Trees never change, so nothing in it can be stale; it is emptied when it is full, which is
// crude and cheap: a push touches few trees.
type treeCache struct {
	mu      sync.RWMutex
	entries map[git.ID][]objects.TreeEntry
	held    int
}

func newTreeCache() *treeCache { return &treeCache{entries: make(map[git.ID][]objects.TreeEntry)} }

// tree returns the entries of a tree in git's order. They are shared and must not be changed.
func (r *Repository) tree(id git.ID) ([]objects.TreeEntry, error) {
	c := r.trees
	c.mu.RLock()
	entries, ok := c.entries[id]
	c.mu.RUnlock()
	if ok {
		return entries, nil
	}
	kind, content, err := r.store.Read(id)
	if err != nil {
		return nil, err
	}
	if kind != objects.Tree {
		return nil, fmt.Errorf("object %s is a %s, not a tree", id, kind)
	}
	if entries, err = objects.ParseTree(content, r.store.Format()); err != nil {
		return nil, fmt.Errorf("object %s: %w", id, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held += len(entries); c.held > treeCacheBound {
		clear(c.entries)
		c.held = len(entries)
	}
	c.entries[id] = entries
	return entries, nil
}

// Tree opens the tree with this id. It reads objects as they are asked for.
func (r *Repository) Tree(_ context.Context, id git.ID) (signing.Tree, error) {
	if _, err := r.tree(id); err != nil {
		return nil, err
	}
	return &tree{r, id}, nil
}

// tree is a tree as a file system.
type tree struct {
	r    *Repository
	root git.ID
}

var (
	_ fs.ReadDirFS  = (*tree)(nil)
	_ fs.ReadFileFS = (*tree)(nil)
	_ fs.StatFS     = (*tree)(nil)
)

// entry is an entry of a tree, or the root, which is in none.
type entry struct {
	objects.TreeEntry
	id git.ID
}

// lookup finds the entry at a path.
func (t *tree) lookup(op, name string) (entry, error) {
	fail := func(err error) (entry, error) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if !fs.ValidPath(name) {
		return fail(fs.ErrInvalid)
	}
	at := entry{objects.TreeEntry{Name: ".", Mode: objects.ModeFolder}, t.root}
	for part := range segments(name) {
		switch at.Mode {
		case objects.ModeFolder:
		case objects.ModeSymlink:
			return fail(fmt.Errorf("%s %w", at.Name, ErrSymlink))
		case objects.ModeSubmodule:
			return fail(fmt.Errorf("%s %w", at.Name, ErrSubmodule))
		default:
			return fail(fs.ErrNotExist)
		}
		entries, err := t.r.tree(at.id)
		if err != nil {
			return fail(err)
		}
		i := find(entries, part)
		if i < 0 {
			return fail(fs.ErrNotExist)
		}
		at = entry{entries[i], entries[i].ID()}
	}
	return at, nil
}

// segments are the names on the way down to a valid path; none for the root.
func segments(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for name != "" && name != "." {
			i := 0
			for i < len(name) && name[i] != '/' {
				i++
			}
			if !yield(name[:i]) {
				return
			}
			name = name[min(i+1, len(name)):]
		}
	}
}

// find looks for a name, of a file or a folder, among entries in git's order.
func find(entries []objects.TreeEntry, name string) int {
	for _, mode := range []objects.Mode{objects.ModeFile, objects.ModeFolder} {
		key := objects.TreeEntry{Name: name, Mode: mode}
		i := sort.Search(len(entries), func(i int) bool { return entries[i].Compare(&key) >= 0 })
		if i < len(entries) && entries[i].Compare(&key) == 0 {
			return i
		}
	}
	return -1
}

// ID is the object id of the file or folder at a path, "" if there is none.
func (t *tree) ID(p git.Path) (git.ID, error) {
	e, err := t.lookup("stat", string(p))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return e.id, err
}

func (t *tree) Open(name string) (fs.File, error) {
	e, err := t.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if e.Mode == objects.ModeFolder {
		entries, err := t.ReadDir(name)
		return &folder{info: info{e.TreeEntry, 0}, entries: entries}, err
	}
	content, err := t.content("open", name, e)
	if err != nil {
		return nil, err
	}
	return &file{Reader: bytes.NewReader(content), info: info{e.TreeEntry, int64(len(content))}}, nil
}

func (t *tree) ReadFile(name string) ([]byte, error) {
	e, err := t.lookup("open", name)
	if err != nil {
		return nil, err
	}
	content, err := t.content("open", name, e)
	return slices.Clone(content), err
}

func (t *tree) content(op, name string, e entry) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, &fs.PathError{Op: op, Path: name, Err: err} }
	switch e.Mode {
	case objects.ModeSymlink:
		return fail(ErrSymlink)
	case objects.ModeSubmodule:
		return fail(ErrSubmodule)
	case objects.ModeFolder:
		return fail(errors.New("is a folder"))
	}
	kind, content, err := t.r.store.Read(e.id)
	if err == nil && kind != objects.Blob {
		err = fmt.Errorf("object %s is a %s, not a blob", e.id, kind)
	}
	if err != nil {
		return fail(err)
	}
	return content, nil
}

// ReadDir lists a folder by name, links and submodules included.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := t.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if e.Mode != objects.ModeFolder {
		_, err := t.content("open", name, e)
		return nil, cmp.Or(err, error(&fs.PathError{Op: "open", Path: name, Err: errors.New("is not a folder")}))
	}
	entries, err := t.r.tree(e.id)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	list := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		list[i] = dirEntry{t, path.Join(name, e.Name), e}
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Stat tells about a file, folder, link or submodule without following it.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	e, err := t.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return dirEntry{t, name, e.TreeEntry}.Info()
}

type dirEntry struct {
	t    *tree
	path string
	e    objects.TreeEntry
}

func (d dirEntry) Name() string      { return d.e.Name }
func (d dirEntry) IsDir() bool       { return d.e.Mode == objects.ModeFolder }
func (d dirEntry) Type() fs.FileMode { return info{TreeEntry: d.e}.Mode().Type() }

// Info reads the file, because only then its size is known.
func (d dirEntry) Info() (fs.FileInfo, error) {
	if d.e.Mode != objects.ModeFile && d.e.Mode != objects.ModeExecutable {
		return info{TreeEntry: d.e}, nil
	}
	content, err := d.t.content("stat", d.path, entry{d.e, d.e.ID()})
	return info{d.e, int64(len(content))}, err
}

type info struct {
	objects.TreeEntry
	size int64
}

func (i info) Name() string       { return i.TreeEntry.Name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} } // Git keeps none
func (i info) IsDir() bool        { return i.TreeEntry.Mode == objects.ModeFolder }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	switch i.TreeEntry.Mode {
	case objects.ModeFolder:
		return fs.ModeDir | 0o755
	case objects.ModeExecutable:
		return 0o755
	case objects.ModeSymlink:
		return fs.ModeSymlink | 0o777
	case objects.ModeSubmodule:
		return fs.ModeIrregular
	}
	return 0o644
}

type file struct {
	*bytes.Reader
	info info
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

type folder struct {
	info    info
	entries []fs.DirEntry
}

func (f *folder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *folder) Close() error               { return nil }
func (f *folder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.Name(), Err: errors.New("is a folder")}
}

func (f *folder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(f.entries) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.entries) {
		n = len(f.entries)
	}
	list := f.entries[:n]
	f.entries = f.entries[n:]
	return list, nil
}
