package manifest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
	"golang.org/x/tools/txtar"
)

// repo is a real Git repository of a test. Its commits are not verified: how that is done is package signing's business.
type repo struct {
	t    testing.TB
	dir  string
	open *mirror.Repository
}

func newRepo(t testing.TB) *repo {
	r := &repo{t: t, dir: t.TempDir()}
	r.git("init", "--quiet", "--initial-branch=main")
	r.git("config", "gc.auto", "0") // nothing may move objects while they are read
	return r
}

func (r *repo) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@example.com", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes the files of a txtar archive ("" takes a file away) and returns the revision.
func (r *repo) commit(archive string) revision {
	r.t.Helper()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(r.dir, filepath.FromSlash(f.Name))
		if len(f.Data) == 0 {
			check(r.t, os.Remove(path))
			continue
		}
		check(r.t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(r.t, os.WriteFile(path, f.Data, 0o644))
	}
	r.git("add", "--all")
	r.git("commit", "--quiet", "--allow-empty", "--message=change")
	return r.at("HEAD")
}

// at is the revision of a commit.
func (r *repo) at(commit string) revision {
	r.t.Helper()
	if r.open != nil {
		check(r.t, r.open.Close())
	}
	var err error
	r.open, err = mirror.OpenRepository(context.Background(), r.dir)
	check(r.t, err)
	tree, err := r.open.Tree(context.Background(), git.ID(r.git("rev-parse", commit+"^{tree}")))
	check(r.t, err)
	return revision{git.ID(r.git("rev-parse", commit)), tree}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
