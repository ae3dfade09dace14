package signing

import (
	"context"
	"io/fs"
	"sync"

	"github.com/commitgate/commitgate/git"
)

// lazyTree opens the tree of a verified commit when it is first asked for: of a long history, nobody asks for most.
type lazyTree struct {
	history History
	id      git.ID

	once sync.Once
	tree Tree
	err  error
}

func (t *lazyTree) open() (Tree, error) {
	t.once.Do(func() { t.tree, t.err = t.history.Tree(context.Background(), t.id) })
	return t.tree, t.err
}

func (t *lazyTree) ID(p git.Path) (git.ID, error) {
	tree, err := t.open()
	if err != nil {
		return "", err
	}
	return tree.ID(p)
}

func (t *lazyTree) Open(name string) (fs.File, error) {
	tree, err := t.open()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return tree.Open(name)
}

func (t *lazyTree) ReadFile(name string) ([]byte, error) {
	tree, err := t.open()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fs.ReadFile(tree, name)
}

func (t *lazyTree) ReadDir(name string) ([]fs.DirEntry, error) {
	tree, err := t.open()
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fs.ReadDir(tree, name)
}

func (t *lazyTree) Stat(name string) (fs.FileInfo, error) {
	tree, err := t.open()
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return fs.Stat(tree, name)
}
