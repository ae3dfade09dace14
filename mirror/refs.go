package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror/objects"
)

// refs finds refs by full name. The error wraps fs.ErrNotExist if there is none.
type refs interface {
	ref(name string) (git.ID, error)
}

// folderRefs are the refs of a Git folder: files, and the packed-refs file behind them.
type folderRefs struct{ dir, common string }

func (f folderRefs) ref(name string) (git.ID, error) {
	for range 5 { // symbolic refs point to each other at most that often in git
		if !safeRef(name) {
			return "", fmt.Errorf("%q is not the name of a ref", name)
		}
		dir := f.common
		if !strings.HasPrefix(name, "refs/") {
			dir = f.dir // HEAD belongs to the work tree
		}
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) || err != nil && isFolder(filepath.Join(dir, filepath.FromSlash(name))) {
			return f.packed(name)
		}
		if err != nil {
			return "", err
		}
		line := strings.TrimSpace(string(b))
		target, symbolic := strings.CutPrefix(line, "ref: ")
		if !symbolic {
			return git.ParseID(line)
		}
		name = strings.TrimSpace(target)
	}
	return "", fmt.Errorf("symbolic refs go in a circle at %s", name)
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// safeRef tells whether a name stays inside the Git folder.
func safeRef(name string) bool {
	p, err := git.ParsePath(name)
	return err == nil && string(p) == name && name != "." && !strings.HasPrefix(name, ".git")
}

func (f folderRefs) packed(name string) (git.ID, error) {
	b, err := os.ReadFile(filepath.Join(f.common, "packed-refs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		id, ref, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && ref == name {
			return git.ParseID(id)
		}
	}
	return "", fmt.Errorf("ref %s: %w", name, fs.ErrNotExist)
}

// mapRefs are refs in memory: those of a bundle.
type mapRefs map[string]git.ID

func (m mapRefs) ref(name string) (git.ID, error) {
	if id, ok := m[name]; ok {
		return id, nil
	}
	return "", fmt.Errorf("ref %s: %w", name, fs.ErrNotExist)
}

// writeRef makes a ref durable: after it returns, a crash leaves the new value; inside it, the old or the new one.
func writeRef(dir, name string, id git.ID) error {
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".ref-*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, id)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Branch returns the commit that a branch is at. The error wraps fs.ErrNotExist if there is no such branch.
func (r *Repository) Branch(name string) (git.ID, error) { return r.refs.ref("refs/heads/" + name) }

// Resolve finds the commit that a person means: an object id or the beginning of one, HEAD, a branch, a tag, a full ref name, and any of
// these followed by ~N and ^N (gitrevisions(7)). It is for tools: the gate itself knows only full ids.
func (r *Repository) Resolve(ctx context.Context, rev string) (git.ID, error) {
	base := rev
	if i := strings.IndexAny(rev, "~^"); i >= 0 {
		base = rev[:i]
	}
	id, err := r.named(base)
	if err != nil {
		return "", err
	}
	if id, err = r.peel(id); err != nil {
		return "", fmt.Errorf("%s: %w", rev, err)
	}
	return r.walk(ctx, id, rev, rev[len(base):])
}

func (r *Repository) named(base string) (git.ID, error) {
	if id, err := git.ParseID(base); err == nil && len(base) == 2*int(r.store.Format()) {
		return id, nil
	}
	for _, pattern := range []string{"%s", "refs/%s", "refs/heads/%s", "refs/tags/%s", "refs/remotes/%s", "refs/remotes/%s/HEAD"} {
		name := fmt.Sprintf(pattern, base)
		if pattern == "%s" && base != "HEAD" && !strings.HasPrefix(base, "refs/") || !safeRef(name) {
			continue
		}
		switch id, err := r.refs.ref(name); {
		case err == nil:
			return id, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	ids, err := r.store.Expand(base)
	if err != nil {
		return "", fmt.Errorf("no branch, tag or commit is called %q", base)
	}
	var commits []git.ID
	for _, id := range ids {
		if _, err := r.peel(id); err == nil {
			commits = append(commits, id)
		}
	}
	switch len(commits) {
	case 0:
		return "", fmt.Errorf("no branch, tag or commit is called %q", base)
	case 1:
		return commits[0], nil
	}
	return "", fmt.Errorf("%q could be any of %d commits", base, len(commits))
}

// peel follows annotated tags to a commit.
func (r *Repository) peel(id git.ID) (git.ID, error) {
	for range 10 { // tags of tags are a curiosity
		kind, content, err := r.store.Read(id)
		if err != nil {
			return "", err
		}
		switch kind {
		case objects.Commit:
			return id, nil
		case objects.Tag:
			if id, err = objects.ParseTag(content); err != nil {
				return "", err
			}
		default:
			return "", fmt.Errorf("object %s is a %s, not a commit", id, kind)
		}
	}
	return "", fmt.Errorf("tag %s: too many tags of tags", id)
}

// walk follows ~N (first parents) and ^N (the Nth parent).
func (r *Repository) walk(ctx context.Context, id git.ID, rev, steps string) (git.ID, error) {
	for steps != "" {
		op := steps[0]
		end := 1
		for end < len(steps) && steps[end] >= '0' && steps[end] <= '9' {
			end++
		}
		n := 1
		if end > 1 {
			var err error
			if n, err = strconv.Atoi(steps[1:end]); err != nil {
				return "", fmt.Errorf("%s: %w", rev, err)
			}
		}
		if op != '~' && op != '^' {
			return "", fmt.Errorf("%s: only ~N and ^N may follow a name", rev)
		}
		steps = steps[end:]
		parent, times := n, 1
		if op == '~' {
			parent, times = 1, n
		}
		for range times {
			if err := ctx.Err(); err != nil {
				return "", err
			}
			l, err := links(r.store, id)
			if err != nil {
				return "", fmt.Errorf("%s: %w", rev, err)
			}
			if parent == 0 {
				break
			}
			if parent > len(l.Parents) {
				return "", fmt.Errorf("%s: commit %s has %d parents", rev, id.Short(), len(l.Parents))
			}
			id = l.Parents[parent-1]
		}
	}
	return id, nil
}
