package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror/objects"
	"github.com/commitgate/commitgate/signing"
)

// Repository reads the objects of a repository on this machine. It is safe for concurrent use.
type Repository struct {
	store *objects.Store
	refs  refs
	trees *treeCache
	close func() error
}

var _ signing.History = (*Repository)(nil)

// OpenRepository opens a work tree, a bare repository or a bundle for reading. Nothing in it is trusted: objects are hashed as
// they are read, and hooks, configuration (but for the object format), grafts, replace refs and alternates are not followed. A
// shallow repository can be read as far as it goes.
func OpenRepository(ctx context.Context, path string) (*Repository, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return openBundle(ctx, path)
	}
	dir, common, err := gitFolders(path)
	if err != nil {
		return nil, err
	}
	format, err := readFormat(filepath.Join(common, "config"))
	if err != nil {
		return nil, err
	}
	store, err := objects.Open(filepath.Join(common, "objects"), format, objects.Limits{})
	if err != nil {
		return nil, err
	}
	return newRepository(store, folderRefs{dir, common}, store.Close), nil
}

func newRepository(store *objects.Store, r refs, close func() error) *Repository {
	return &Repository{store: store, refs: r, trees: newTreeCache(), close: close}
}

// Close lets go of the repository. Reads that are under way fail.
func (r *Repository) Close() error { return r.close() }

// gitFolders finds the Git folder of a work tree or bare repository, and the folder that linked work trees share.
func gitFolders(path string) (dir, common string, err error) {
	dir = filepath.Join(path, ".git")
	switch st, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		dir = path
	case err != nil:
		return "", "", err
	case !st.IsDir(): // a linked work tree or a submodule: one line says where
		b, err := os.ReadFile(dir)
		if err != nil {
			return "", "", err
		}
		target, ok := strings.CutPrefix(strings.TrimSpace(string(b)), "gitdir: ")
		if !ok {
			return "", "", fmt.Errorf("%s does not say where the repository is", dir)
		}
		dir = relativeTo(path, target)
	}
	common = dir
	if b, err := os.ReadFile(filepath.Join(dir, "commondir")); err == nil {
		common = relativeTo(dir, strings.TrimSpace(string(b)))
	}
	if _, err := os.Stat(filepath.Join(common, "objects")); err != nil {
		return "", "", fmt.Errorf("%s is not a Git repository", path)
	}
	return dir, common, nil
}

func relativeTo(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// readFormat finds the object format in a repository's configuration, and refuses a storage of refs that is not files.
func readFormat(file string) (objects.Format, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return objects.SHA1, nil
	}
	if err != nil {
		return 0, err
	}
	section := ""
	format := objects.SHA1
	for line := range strings.Lines(string(b)) {
		line = strings.ToLower(strings.TrimSpace(line))
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[] \t")
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if section != "extensions" {
			continue
		}
		switch key, value = strings.TrimSpace(key), strings.Trim(value, " \t\""); {
		case key == "objectformat" && value == "sha256":
			format = objects.SHA256
		case key == "objectformat" && value != "sha1":
			return 0, fmt.Errorf("%s: object format %q is not known", file, value)
		case key == "refstorage" && value != "files":
			return 0, fmt.Errorf("%s: refs are stored as %q, which is not supported: `git refs migrate --ref-format=files`", file, value)
		}
	}
	return format, nil
}

// Format is the hash that names objects: "sha1" or "sha256".
func (r *Repository) Format() string { return r.store.Format().String() }

// Commit returns the raw commit, hashed to be id. The error wraps fs.ErrNotExist if it is not there. The bytes must not be changed.
func (r *Repository) Commit(_ context.Context, id git.ID) ([]byte, error) {
	kind, content, err := r.store.Read(id)
	if err != nil {
		return nil, err
	}
	if kind != objects.Commit {
		return nil, fmt.Errorf("object %s is a %s, not a commit", id, kind)
	}
	return content, nil
}

// links is the tree and the parents of a commit.
func links(s *objects.Store, id git.ID) (objects.Links, error) {
	kind, content, err := s.Read(id)
	if err != nil {
		return objects.Links{}, err
	}
	if kind != objects.Commit {
		return objects.Links{}, fmt.Errorf("object %s is a %s, not a commit", id, kind)
	}
	l, err := objects.ParseLinks(content)
	if err != nil {
		return l, fmt.Errorf("object %s: %w", id, err)
	}
	return l, nil
}

// Descends tells whether a commit is another one or has it among its ancestors. It goes no further than the objects
// that are there (a shallow history has an end).
func (r *Repository) Descends(ctx context.Context, commit, from git.ID) (bool, error) {
	return descends(ctx, r.store, commit, from)
}

func descends(ctx context.Context, s *objects.Store, commit, from git.ID) (bool, error) {
	seen := map[git.ID]bool{commit: true}
	// In breadth: what a push brings is near its tip, so that a fast-forward is recognized after as many commits as it has.
	for queue := []git.ID{commit}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == from {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		l, err := links(s, queue[0])
		if errors.Is(err, fs.ErrNotExist) && queue[0] != commit {
			continue
		}
		if err != nil {
			return false, err
		}
		for _, p := range l.Parents {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return false, nil
}
