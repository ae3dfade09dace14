package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror/objects"
	"github.com/commitgate/commitgate/mirror/wire"
)

// source is one visit to where a mirror fetches from.
type source interface {
	Tip() git.ID
	Format() objects.Format
	// Fetch returns a pack with the tip and everything that it needs; it may leave out what the given commits need.
	Fetch(ctx context.Context, have []git.ID) (io.ReadCloser, error)
	io.Closer
}

// opener visits the source.
type opener func(ctx context.Context, branch string) (source, error)

func noBranch(branch string) error { return fmt.Errorf("%w: refs/heads/%s", ErrNoBranch, branch) }

// newOpener chooses by the address: a path or file URL is read in place, everything else goes over the wire.
func newOpener(address string, o wire.Options) (opener, error) {
	path := ""
	if filepath.IsAbs(address) {
		path = address
	} else if strings.HasPrefix(address, "file:") {
		u, err := url.Parse(address)
		if err != nil || u.Host != "" || !filepath.IsAbs(u.Path) {
			return nil, errors.New("a file URL is file:///ABSOLUTE/PATH")
		}
		path = u.Path
	}
	if path != "" {
		return func(ctx context.Context, branch string) (source, error) { return openLocal(ctx, path, branch) }, nil
	}
	c, err := wire.New(address, o)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, branch string) (source, error) {
		s, err := c.Open(ctx, branch)
		if err != nil {
			return nil, err
		}
		return s, nil
	}, nil
}

// openLocal visits a repository or bundle on this machine.
func openLocal(ctx context.Context, path, branch string) (source, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return openBundleSource(path, branch)
	}
	r, err := OpenRepository(ctx, path)
	if err != nil {
		return nil, err
	}
	at, err := r.Branch(branch)
	if errors.Is(err, fs.ErrNotExist) {
		err = noBranch(branch)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &folderSource{r, at}, nil
}

// folderSource is a repository on this machine that a mirror fetches from.
type folderSource struct {
	*Repository
	at git.ID
}

func (f *folderSource) Tip() git.ID            { return f.at }
func (f *folderSource) Format() objects.Format { return f.store.Format() }

func (f *folderSource) Fetch(ctx context.Context, have []git.ID) (io.ReadCloser, error) {
	// What the known commits need is known too, and would be walked in vain: mark their trees, folder by folder, and the commits themselves.
	known := make(map[git.ID]bool)
	for _, id := range have {
		if err := f.mark(ctx, id, known); err != nil {
			return nil, err
		}
	}
	r, w := io.Pipe()
	go func() {
		w.CloseWithError(f.store.Export(ctx, w, f.at, func(id git.ID) bool { return known[id] }))
	}()
	return r, nil
}

// mark notes a commit, if it is here, and the objects of its tree.
func (f *folderSource) mark(ctx context.Context, commit git.ID, known map[git.ID]bool) error {
	if !f.store.Has(commit) {
		return nil
	}
	known[commit] = true
	l, err := links(f.store, commit)
	if err != nil {
		return err
	}
	for queue := []git.ID{l.Tree}; len(queue) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		id := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if known[id] {
			continue
		}
		known[id] = true
		entries, err := f.tree(id)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Mode == objects.ModeFolder {
				queue = append(queue, e.ID())
			} else {
				known[e.ID()] = true
			}
		}
	}
	return nil
}
