package manifest

import (
	"bytes"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// overlay is a tree with files that an agent would write into it before it renders (a generated kustomization), and without those that they
// replace. Below it nothing changes.
type overlay struct {
	fs.FS
	files map[string][]byte // nil: taken away
}

var (
	_ fs.ReadDirFS  = overlay{}
	_ fs.ReadFileFS = overlay{}
	_ fs.StatFS     = overlay{}
)

func (o overlay) Open(name string) (fs.File, error) {
	data, ok := o.files[name]
	switch {
	case !ok:
		return o.FS.Open(name)
	case data == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &overlaid{bytes.NewReader(data), overlaidInfo{path.Base(name), len(data)}}, nil
}

func (o overlay) ReadFile(name string) ([]byte, error) {
	data, ok := o.files[name]
	switch {
	case !ok:
		return fs.ReadFile(o.FS, name)
	case data == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return slices.Clone(data), nil
}

func (o overlay) Stat(name string) (fs.FileInfo, error) {
	data, ok := o.files[name]
	switch {
	case !ok:
		return fs.Stat(o.FS, name)
	case data == nil:
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return overlaidInfo{path.Base(name), len(data)}, nil
}

func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(o.FS, name)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		_, ok := o.files[path.Join(name, e.Name())]
		return ok
	})
	for file, data := range o.files {
		if data != nil && path.Dir(file) == path.Clean(name) {
			entries = append(entries, fs.FileInfoToDirEntry(overlaidInfo{path.Base(file), len(data)}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

type overlaid struct {
	*bytes.Reader
	info overlaidInfo
}

func (f *overlaid) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *overlaid) Close() error               { return nil }

type overlaidInfo struct {
	name string
	size int
}

func (i overlaidInfo) Name() string       { return i.name }
func (i overlaidInfo) Size() int64        { return int64(i.size) }
func (i overlaidInfo) Mode() fs.FileMode  { return 0o644 }
func (i overlaidInfo) ModTime() time.Time { return time.Time{} }
func (i overlaidInfo) IsDir() bool        { return false }
func (i overlaidInfo) Sys() any           { return nil }
