package check_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/check"
	"github.com/commitgate/commitgate/mirror"
)

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// The commit holds what the work tree holds: new files, changed ones, removed ones, and not what is ignored. The repository itself, its index and its
// refs, stay byte for byte as they were.
func TestCommit(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, content string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			git(t, dir, "init", "--quiet", "-b", "main", "--object-format="+format)
			write("kept", "kept")
			write("changed", "before")
			write("gone", "gone")
			write(".gitignore", "ignored\n")
			git(t, dir, "add", "--all")
			git(t, dir, "commit", "--quiet", "-m", "first")
			write("changed", "after")
			write("new", "new")
			write("ignored", "ignored")
			if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
				t.Fatal(err)
			}
			before := git(t, dir, "for-each-ref") + git(t, dir, "status", "--porcelain") + git(t, dir, "count-objects", "-v")

			u, err := check.Commit(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if after := git(t, dir, "for-each-ref") + git(t, dir, "status", "--porcelain") + git(t, dir, "count-objects", "-v"); after != before {
				t.Errorf("the repository was %q and is %q", before, after)
			}
			r, err := mirror.OpenRepository(t.Context(), u.Path)
			if err != nil {
				t.Fatal(err)
			}
			if id, err := r.Resolve(t.Context(), string(u.Commit)); err != nil || id != u.Commit {
				t.Errorf("the commit is %s (%v)", id, err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if got, want := git(t, u.Path, "ls-tree", "--name-only", string(u.Commit)), ".gitignore\nchanged\nkept\nnew"; got != want {
				t.Errorf("it holds %q, want %q", got, want)
			}
			if got := git(t, u.Path, "show", string(u.Commit)+":changed"); got != "after" {
				t.Errorf("changed is %q", got)
			}
			if err := u.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(u.Path); !os.IsNotExist(err) {
				t.Errorf("the folder is still there: %v", err)
			}
		})
	}
	if _, err := check.Commit(t.Context(), t.TempDir()); err == nil {
		t.Error("a folder that is no repository has a commit")
	}
}
