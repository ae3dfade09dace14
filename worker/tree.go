package worker

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// What comes with a folder, so that its files need not be asked for one by one.
const (
	sentFile   = 64 << 10 // bytes of one file
	sentFolder = 1 << 20  // of all of them
)

// serve answers what a child asks of a tree.
func serve(from fs.FS, m message) message {
	if m.Kind == file {
		data, err := fs.ReadFile(from, m.Name)
		return message{Kind: file, Data: data, Fault: faultOf(err)}
	}
	list, err := fs.ReadDir(from, m.Name)
	if err != nil {
		return message{Kind: folder, Fault: faultOf(err)}
	}
	left := sentFolder
	entries := make([]entry, len(list))
	for i, e := range list {
		if entries[i], err = serveEntry(from, path.Join(m.Name, e.Name()), e, min(left, sentFile)); err != nil {
			return message{Kind: folder, Fault: faultOf(err)}
		}
		left -= len(entries[i].Data)
	}
	return message{Kind: folder, Entries: entries}
}

// serveEntry is one entry of a folder, with its content if that has no more bytes than most. A file is opened once: in a tree of Git's to know its size is to
// read it.
func serveEntry(from fs.FS, name string, e fs.DirEntry, most int) (entry, error) {
	if !e.Type().IsRegular() {
		info, err := e.Info()
		if err != nil {
			return entry{}, err
		}
		return entry{Name: e.Name(), Mode: info.Mode(), Size: info.Size()}, nil
	}
	f, err := from.Open(name)
	if err != nil {
		return entry{}, err
	}
	defer f.Close() // of what is only read there is nothing to lose
	info, err := f.Stat()
	if err != nil {
		return entry{}, err
	}
	out := entry{Name: e.Name(), Mode: info.Mode(), Size: info.Size()}
	if info.Size() > int64(most) {
		return out, nil
	}
	out.Data, err = io.ReadAll(f)
	out.Sent = true
	return out, err
}

// tree is what a child sees of the parent's tree. It is asked for folder by folder, each once, and not for those above the ones that matter: they may be long.
type tree struct {
	ask     func(message) message
	folders map[string]*listing
}

type listing struct {
	entries []entry // by name
	err     error
}

var (
	_ fs.ReadDirFS  = (*tree)(nil)
	_ fs.ReadFileFS = (*tree)(nil)
	_ fs.StatFS     = (*tree)(nil)
)

func (t *tree) folder(name string) ([]entry, error) {
	l, ok := t.folders[name]
	if !ok {
		m := t.ask(message{Kind: folder, Name: name})
		l = &listing{entries: m.Entries}
		if m.Fault != nil {
			l.err = m.Fault
		}
		slices.SortFunc(l.entries, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
		if t.folders == nil {
			t.folders = map[string]*listing{}
		}
		t.folders[name] = l
	}
	return l.entries, l.err
}

// find is the entry of a path; that of the root is a folder.
func (t *tree) find(op, name string) (*entry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return &entry{Name: ".", Mode: fs.ModeDir | 0o755}, nil
	}
	dir, base := path.Split(name)
	if dir = path.Clean(dir); t.folders[dir] == nil {
		if _, err := t.folder(name); err == nil {
			return &entry{Name: base, Mode: fs.ModeDir | 0o755}, nil
		}
	}
	entries, err := t.folder(dir)
	if err != nil { // what stands in the way of it, a level above?
		parent, err := t.find(op, dir)
		if err != nil {
			return nil, err
		}
		if parent.Mode.IsRegular() {
			return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		_, err = t.folder(dir)
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(entries, base, func(e entry, name string) int { return strings.Compare(e.Name, name) })
	if !ok {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return &entries[i], nil
}

func (t *tree) Stat(name string) (fs.FileInfo, error) {
	e, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return info{e}, nil
}

func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if e.Mode.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is not a folder")}
	}
	entries, err := t.folder(name)
	list := make([]fs.DirEntry, len(entries))
	for i := range entries {
		list[i] = fs.FileInfoToDirEntry(info{&entries[i]})
	}
	return list, err
}

func (t *tree) ReadFile(name string) ([]byte, error) {
	e, err := t.find("open", name)
	switch {
	case err != nil:
		return nil, err
	case e.Mode.IsDir():
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("is a folder")}
	case !e.Sent:
		m := t.ask(message{Kind: file, Name: name})
		if m.Fault != nil {
			return nil, m.Fault
		}
		e.Data, e.Sent = m.Data, true
	}
	return slices.Clone(e.Data), nil
}

func (t *tree) Open(name string) (fs.File, error) {
	e, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if e.Mode.IsDir() {
		list, err := t.ReadDir(name)
		return &openFolder{info{e}, list}, err
	}
	data, err := t.ReadFile(name)
	return &openFile{bytes.NewReader(data), info{e}}, err
}

type info struct{ e *entry }

func (i info) Name() string       { return i.e.Name }
func (i info) Size() int64        { return i.e.Size }
func (i info) Mode() fs.FileMode  { return i.e.Mode }
func (i info) ModTime() time.Time { return time.Time{} } // Git keeps none
func (i info) IsDir() bool        { return i.e.Mode.IsDir() }
func (i info) Sys() any           { return nil }

type openFile struct {
	*bytes.Reader
	info info
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openFolder struct {
	info info
	list []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }
func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.Name(), Err: errors.New("is a folder")}
}

// ReadDir gives n more entries, all with n <= 0.
func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		n = len(f.list)
	} else if len(f.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.list))
	given := f.list[:n]
	f.list = f.list[n:]
	return given, nil
}
