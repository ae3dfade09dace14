package mirror

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror/objects"
)

// maxBundleHeader bounds the lines before a bundle's pack.
const maxBundleHeader = 16 << 20

// bundleHeader is what a bundle says before its pack (gitformat-bundle(5), versions 2 and 3).
type bundleHeader struct {
	format        objects.Format
	prerequisites []git.ID
	refs          mapRefs
}

// readBundleHeader leaves r at the beginning of the pack.
func readBundleHeader(r *bufio.Reader) (*bundleHeader, error) {
	h := &bundleHeader{format: objects.SHA1, refs: make(mapRefs)}
	total := 0
	line := func() (string, error) {
		s, err := r.ReadSlice('\n')
		if total += len(s); err == nil && total > maxBundleHeader {
			err = objects.ErrTooLarge
		}
		if err != nil {
			return "", fmt.Errorf("bundle header: %w", err)
		}
		return strings.TrimSuffix(string(s), "\n"), nil
	}
	signature, err := line()
	if err != nil {
		return nil, err
	}
	if signature != "# v2 git bundle" && signature != "# v3 git bundle" {
		return nil, errors.New("not a bundle: its first line is not a bundle's")
	}
	for {
		l, err := line()
		if err != nil {
			return nil, err
		}
		if l == "" {
			return h, nil
		}
		if err := h.take(l); err != nil {
			return nil, err
		}
	}
}

func (h *bundleHeader) take(line string) error {
	if capability, ok := strings.CutPrefix(line, "@"); ok {
		switch {
		case capability == "object-format=sha256":
			h.format = objects.SHA256
		case capability != "object-format=sha1": // a filter leaves objects out
			return fmt.Errorf("bundle with the capability %q is not supported", capability)
		}
		return nil
	}
	before, prerequisite := strings.CutPrefix(line, "-")
	digits, name, _ := strings.Cut(before, " ")
	id, err := git.ParseID(digits)
	if err != nil {
		return fmt.Errorf("bundle header: %w", err)
	}
	if prerequisite {
		h.prerequisites = append(h.prerequisites, id)
	} else {
		h.refs[name] = id
	}
	return nil
}

// openBundle unpacks a bundle into a temporary folder, which Close removes.
func openBundle(ctx context.Context, path string) (_ *Repository, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	h, err := readBundleHeader(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	dir, err := os.MkdirTemp("", "commitgate-bundle-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	store, err := objects.OpenWritable(filepath.Join(dir, "objects"), h.format, objects.Limits{})
	if err != nil {
		return nil, err
	}
	in, err := store.Receive(ctx, r, objects.Receipt{MaxBytes: defaultMaxPack, Partial: true})
	if err == nil {
		err = in.Keep()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), store.Close())
	}
	return newRepository(store, h.refs, func() error { return errors.Join(store.Close(), os.RemoveAll(dir)) }), nil
}

// bundleSource is a bundle that a mirror fetches from.
type bundleSource struct {
	file *os.File
	pack *bufio.Reader
	h    *bundleHeader
	at   git.ID
}

func openBundleSource(path, branch string) (source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(f, 1<<16)
	h, err := readBundleHeader(r)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	at, err := h.refs.ref("refs/heads/" + branch)
	if err != nil {
		return nil, errors.Join(noBranch(branch), f.Close())
	}
	return &bundleSource{f, r, h, at}, nil
}

func (b *bundleSource) Tip() git.ID            { return b.at }
func (b *bundleSource) Format() objects.Format { return b.h.format }
func (b *bundleSource) Close() error           { return b.file.Close() }

// Fetch returns the whole pack of the bundle; have is of no use to a file.
func (b *bundleSource) Fetch(context.Context, []git.ID) (io.ReadCloser, error) {
	return io.NopCloser(b.pack), nil
}
