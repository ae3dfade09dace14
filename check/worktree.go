package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// Uncommitted is a repository in a temporary folder that holds what a work tree holds now as one commit on top of its HEAD, which nobody signed. It has all
// branches of the original, and its HEAD.
type Uncommitted struct {
	Path   string
	Commit git.ID
	dir    string
}

// Commit makes such a repository with the git on this machine, which knows what a work tree's own rules ignore and convert. The work tree and its
// repository are only read. The caller must Close it.
func Commit(ctx context.Context, workTree string) (*Uncommitted, error) {
	dir, err := os.MkdirTemp("", "commitgate-check-*")
	if err != nil {
		return nil, err
	}
	u := &Uncommitted{Path: filepath.Join(dir, "repository"), dir: dir}
	if err := u.commit(ctx, workTree); err != nil {
		return nil, errors.Join(err, u.Close())
	}
	return u, nil
}

func (u *Uncommitted) commit(ctx context.Context, workTree string) error {
	env := append(os.Environ(), "GIT_INDEX_FILE="+filepath.Join(u.dir, "index"), "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=uncommitted", "GIT_AUTHOR_EMAIL=", "GIT_COMMITTER_NAME=uncommitted", "GIT_COMMITTER_EMAIL=")
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		var errors_ bytes.Buffer
		cmd.Env, cmd.Stderr = env, &errors_
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(errors_.String()))
		}
		return strings.TrimSpace(string(out)), nil
	}
	if _, err := run("clone", "--quiet", "--mirror", "--local", "--", workTree, u.Path); err != nil {
		return err
	}
	here := []string{"--git-dir=" + u.Path, "--work-tree=" + workTree, "-c", "core.bare=false", "-c", "commit.gpgSign=false"}
	in := func(args ...string) (string, error) { return run(append(here[:len(here):len(here)], args...)...) }
	if _, err := in("-C", workTree, "add", "--all"); err != nil {
		return err
	}
	tree, err := in("write-tree")
	if err != nil {
		return err
	}
	id, err := in("commit-tree", tree, "-p", "HEAD", "-m", "not committed yet")
	if err != nil {
		return err
	}
	if u.Commit, err = git.ParseID(id); err != nil {
		return err
	}
	_, err = in("update-ref", "refs/heads/commitgate-check", id)
	return err
}

// Close removes the folder.
func (u *Uncommitted) Close() error { return os.RemoveAll(u.dir) }
