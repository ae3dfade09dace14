package forge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/commitgate/commitgate/git"
)

// Branch is the branch that every repository of a forge starts with.
const Branch = "main"

// Repository is a bare repository on the forge and a working copy of it.
type Repository struct {
	forge *Forge
	name  string
	work  string
}

// Create makes an empty repository.
func (f *Forge) Create(ctx context.Context, name string) (*Repository, error) {
	r := &Repository{forge: f, name: name, work: filepath.Join(f.dir, "work", name)}
	bare := filepath.Join(f.dir, "repositories", name+".git")
	if _, err := output(ctx, f.dir, quiet(), f.git, "init", "--quiet", "--bare", "--initial-branch="+Branch, bare); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.work, 0o700); err != nil {
		return nil, err
	}
	if _, err := r.Git(ctx, "init", "--quiet", "--initial-branch="+Branch); err != nil {
		return nil, err
	}
	_, err := r.Git(ctx, "remote", "add", "origin", bare)
	return r, err
}

// URL is where the repository is fetched from.
func (r *Repository) URL() string { return r.forge.url + "/" + r.name + ".git" }

// Work is the folder of the working copy.
func (r *Repository) Work() string { return r.work }

// Git runs a git command in the working copy.
func (r *Repository) Git(ctx context.Context, args ...string) (string, error) {
	return r.git(ctx, nil, args...)
}

func (r *Repository) git(ctx context.Context, env []string, args ...string) (string, error) {
	env = append(append(quiet(), "GNUPGHOME="+r.forge.gpgHome, "HOME="+r.forge.dir), env...)
	return output(ctx, r.work, env, r.forge.git, args...)
}

// Write puts a file into the working copy; Commit takes it up.
func (r *Repository) Write(path, content string) error {
	file := filepath.Join(r.work, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(content), 0o600)
}

// Read returns a file of the working copy.
func (r *Repository) Read(path string) (string, error) {
	data, err := os.ReadFile(filepath.Join(r.work, filepath.FromSlash(path)))
	return string(data), err
}

// Remove takes a file away from the working copy.
func (r *Repository) Remove(path string) error {
	return os.Remove(filepath.Join(r.work, filepath.FromSlash(path)))
}

// Commit commits everything in the working copy, signed with the author's key if there is one. It does not push.
func (r *Repository) Commit(ctx context.Context, author *Person, message string) (git.ID, error) {
	if _, err := r.Git(ctx, "add", "--all"); err != nil {
		return "", err
	}
	if _, err := r.As(ctx, author, "commit", "--quiet", "--allow-empty", "--message", message); err != nil {
		return "", err
	}
	return r.Head(ctx)
}

// As runs a git command in the working copy as somebody would: whatever it commits (commit, merge, rebase, cherry-pick, revert) is theirs, and
// signed with their key if there is one.
func (r *Repository) As(ctx context.Context, who *Person, args ...string) (string, error) {
	config := []string{"-c", "commit.gpgsign=false"}
	if who.format != "" {
		config = []string{"-c", "gpg.format=" + who.format, "-c", "commit.gpgsign=true", "-c", "user.signingkey=" + who.key}
	}
	env := []string{
		"GIT_AUTHOR_NAME=" + who.Name, "GIT_AUTHOR_EMAIL=" + who.Email,
		"GIT_COMMITTER_NAME=" + who.Name, "GIT_COMMITTER_EMAIL=" + who.Email,
	}
	return r.git(ctx, env, append(config, args...)...)
}

// Merge merges a branch or commit into the working copy's branch, with a merge commit by somebody.
func (r *Repository) Merge(ctx context.Context, who *Person, branch, message string) (git.ID, error) {
	if _, err := r.As(ctx, who, "merge", "--quiet", "--no-ff", "--message", message, branch); err != nil {
		return "", err
	}
	return r.Head(ctx)
}

// Push publishes the working copy's branch. With force it may rewrite what is published.
func (r *Repository) Push(ctx context.Context, force bool) error {
	args := []string{"push", "--quiet", "origin", "HEAD:refs/heads/" + Branch}
	if force {
		args = append(args, "--force")
	}
	_, err := r.Git(ctx, args...)
	return err
}

// Reset takes the working copy back to a commit, as before a force-push.
func (r *Repository) Reset(ctx context.Context, id git.ID) error {
	_, err := r.Git(ctx, "reset", "--quiet", "--hard", string(id))
	return err
}

// Head is the working copy's commit.
func (r *Repository) Head(ctx context.Context) (git.ID, error) {
	id, err := r.Git(ctx, "rev-parse", "HEAD")
	return git.ID(id), err
}

// Publish writes files (an empty content removes one), commits and pushes: what a person does when they change something.
func (r *Repository) Publish(ctx context.Context, author *Person, message string, files map[string]string) (git.ID, error) {
	for path, content := range files {
		change := func() error { return r.Write(path, content) }
		if content == "" {
			change = func() error { return r.Remove(path) }
		}
		if err := change(); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	}
	id, err := r.Commit(ctx, author, message)
	if err != nil {
		return "", err
	}
	return id, r.Push(ctx, false)
}
