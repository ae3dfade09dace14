package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
)

// work is a repository with a work tree, driven by git itself.
type work struct {
	t   testing.TB
	dir string
}

func newWork(t testing.TB, initArgs ...string) *work {
	t.Helper()
	w := &work{t, filepath.Join(t.TempDir(), "work")}
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.git(append([]string{"init", "--quiet", "-b", "main"}, initArgs...)...)
	return w
}

func (w *work) git(args ...string) string {
	w.t.Helper()
	return w.gitIn(nil, args...)
}

func (w *work) gitIn(stdin []byte, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir, cmd.Stdin = w.dir, bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *work) write(files map[string]string) {
	w.t.Helper()
	for name, content := range files {
		path := filepath.Join(w.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *work) commit(message string, files map[string]string) git.ID {
	w.t.Helper()
	w.write(files)
	w.git("add", "-A")
	w.git("commit", "--quiet", "--allow-empty", "-m", message)
	return git.ID(w.git("rev-parse", "HEAD"))
}

func open(t testing.TB, url string) *mirror.Mirror {
	t.Helper()
	m, err := mirror.Open(filepath.Join(t.TempDir(), "mirror"), url, "main", mirror.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func fetch(t testing.TB, m *mirror.Mirror, want git.ID) {
	t.Helper()
	tip, err := m.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if tip != want || m.Candidate() != want {
		t.Fatalf("fetched %s, candidate %s, want %s", tip, m.Candidate(), want)
	}
}

// equal compares every object that is reachable from a commit with what git itself says about it.
func equal(t testing.TB, w *work, r *mirror.Repository, commit git.ID) {
	t.Helper()
	ctx := t.Context()
	for line := range strings.Lines(w.git("rev-list", string(commit))) {
		id := git.ID(strings.TrimSpace(line))
		raw, err := r.Commit(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if want := w.git("cat-file", "commit", string(id)); strings.TrimSpace(string(raw)) != want {
			t.Fatalf("commit %s is %q, want %q", id, raw, want)
		}
	}
	tree, err := r.Tree(ctx, git.ID(w.git("rev-parse", string(commit)+"^{tree}")))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for line := range strings.Lines(w.git("ls-tree", "-r", "--full-tree", string(commit))) {
		head, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		f := strings.Fields(head)
		id, err := tree.ID(git.Path(name))
		if err != nil || string(id) != f[2] {
			t.Fatalf("%s has the id %s (%v), want %s", name, id, err, f[2])
		}
		if f[0] == "100644" || f[0] == "100755" {
			files = append(files, name)
			content, err := fs.ReadFile(tree, name)
			if err != nil {
				t.Fatal(err)
			}
			if want := w.git("cat-file", "blob", f[2]); strings.TrimSpace(string(content)) != want {
				t.Fatalf("%s is %q, want %q", name, content, want)
			}
		}
	}
	if err := fstest.TestFS(tree, files...); err != nil {
		t.Error(err)
	}
}

// The same history, by every way in which it can get here, in both object formats, first whole and then one commit more.
func TestHistoryArrivesWhole(t *testing.T) {
	routes := map[string]func(t *testing.T, w *work) (url string, push func()){
		"from a folder": func(_ *testing.T, w *work) (string, func()) { return w.dir, func() {} },
		"from a file URL": func(_ *testing.T, w *work) (string, func()) {
			return "file://" + w.dir, func() {}
		},
		"from a bundle": func(t *testing.T, w *work) (string, func()) {
			path := filepath.Join(t.TempDir(), "x.bundle")
			push := func() { w.git("bundle", "create", "--quiet", path, "main") }
			push()
			return path, push
		},
		"over HTTP": func(t *testing.T, w *work) (string, func()) {
			return serve(t, w, "version=2")
		},
		"over HTTP from a server of version 0": func(t *testing.T, w *work) (string, func()) {
			return serve(t, w, "")
		},
	}
	for name, route := range routes {
		for _, format := range []string{"sha1", "sha256"} {
			t.Run(name+", "+format, func(t *testing.T) {
				w := newWork(t, "--object-format="+format)
				w.commit("first", map[string]string{"README": "hello\n", "apps/shop/cart.yaml": "a: 1\n", "apps/shop.yaml": "b: 1\n"})
				for i := range 20 { // enough alike to become deltas
					w.commit(fmt.Sprintf("change %d", i), map[string]string{"big.yaml": strings.Repeat("line: one\n", 500) + fmt.Sprint(i)})
				}
				w.git("gc", "--quiet")
				tip := git.ID(w.git("rev-parse", "HEAD"))
				url, push := route(t, w)
				push()
				m := open(t, url)
				fetch(t, m, tip)
				if m.Repository().Format() != format {
					t.Errorf("format %s", m.Repository().Format())
				}
				equal(t, w, m.Repository(), tip)

				tip = w.commit("one more", map[string]string{"apps/shop/cart.yaml": "a: 2\n"})
				push()
				fetch(t, m, tip)
				equal(t, w, m.Repository(), tip)
			})
		}
	}
}

// serve makes a work repository available over HTTP, by git's own server.
func serve(t *testing.T, w *work, protocol string) (url string, push func()) {
	t.Helper()
	f := httpBackend(t, w, protocol)
	return f, func() {}
}

// A rewind, a force-push and another history are not followed, and leave the mirror as it was.
func TestTheFloorNeverMovesBack(t *testing.T) {
	w := newWork(t)
	first := w.commit("first", map[string]string{"a": "1"})
	second := w.commit("second", map[string]string{"a": "2"})
	third := w.commit("third", map[string]string{"a": "3"})
	ctx := t.Context()
	m := open(t, w.dir)
	fetch(t, m, third)
	if err := m.Advance(ctx, second); err != nil {
		t.Fatal(err)
	}
	refuse := func(t *testing.T, tip git.ID) {
		t.Helper()
		for range 2 { // the second time from memory
			_, err := m.Fetch(ctx)
			var refused *mirror.NotFastForwardError
			if !errors.As(err, &refused) || refused.Floor != second || refused.Tip != tip {
				t.Fatalf("fetch of %s: %v", tip, err)
			}
		}
		if m.Floor() != second || m.Candidate() != third {
			t.Fatalf("the mirror is at %s, %s", m.Floor(), m.Candidate())
		}
	}
	t.Run("a rewind below the floor", func(t *testing.T) {
		w.git("reset", "--quiet", "--hard", string(first))
		refuse(t, first)
	})
	t.Run("a force-push of something else", func(t *testing.T) {
		refuse(t, w.commit("other", map[string]string{"a": "other"}))
	})
	t.Run("another history", func(t *testing.T) {
		w.git("checkout", "--quiet", "--orphan", "fresh")
		other := w.commit("unrelated", map[string]string{"b": "1"})
		w.git("branch", "-f", "main", string(other))
		refuse(t, other)
		if _, err := m.Repository().Commit(ctx, other); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what was refused is in the store: %v", err)
		}
	})
	t.Run("a branch that is gone", func(t *testing.T) {
		w.git("branch", "-D", "main")
		if _, err := m.Fetch(ctx); !errors.Is(err, mirror.ErrNoBranch) {
			t.Fatal(err)
		}
	})
	t.Run("the floor does not follow either", func(t *testing.T) {
		var refused *mirror.NotFastForwardError
		if err := m.Advance(ctx, first); !errors.As(err, &refused) {
			t.Fatal(err)
		}
	})
	t.Run("what is above the floor may be taken back", func(t *testing.T) { // a bad commit at the tip is healed by removing it
		w.git("checkout", "--quiet", "-B", "main", string(second))
		healed := w.commit("third, done right", map[string]string{"a": "33"})
		fetch(t, m, healed)
	})
}

func TestAMirrorIsThereAfterARestart(t *testing.T) {
	w := newWork(t)
	first := w.commit("first", map[string]string{"a": "1"})
	second := w.commit("second", map[string]string{"a": "2"})
	dir := filepath.Join(t.TempDir(), "mirror")
	m, err := mirror.Open(dir, w.dir, "main", mirror.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fetch(t, m, second)
	if err := errors.Join(m.Advance(t.Context(), first), m.Close()); err != nil {
		t.Fatal(err)
	}
	// What a crash in the middle of a fetch leaves behind.
	for _, stray := range []string{"objects/incoming-1.pack", "objects/pack/pack-00.pack"} {
		if err := os.WriteFile(filepath.Join(dir, stray), []byte("PACK"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(w.dir); err != nil { // the Git host is gone
		t.Fatal(err)
	}
	m, err = mirror.Open(dir, w.dir, "main", mirror.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Floor() != first || m.Candidate() != second {
		t.Errorf("the mirror is at %s, %s", m.Floor(), m.Candidate())
	}
	if _, err := m.Repository().Commit(t.Context(), second); err != nil {
		t.Error(err)
	}
	if _, err := m.Fetch(t.Context()); err == nil {
		t.Error("a fetch from nowhere succeeds")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "objects", "incoming-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A thousand fetches must not leave a thousand packs, and git itself must still find the mirror in order.
func TestPacksAreMerged(t *testing.T) {
	w := newWork(t)
	m := open(t, w.dir)
	var tip git.ID
	for i := range 70 {
		tip = w.commit(fmt.Sprint(i), map[string]string{"f": strings.Repeat("same\n", 100) + fmt.Sprint(i)})
		fetch(t, m, tip)
	}
	equal(t, w, m.Repository(), tip)
	dir := m.Dir()
	packs, _ := filepath.Glob(filepath.Join(dir, "objects", "pack", "*.pack"))
	if len(packs) > 35 {
		t.Errorf("%d packs", len(packs))
	}
	cmd := exec.Command("git", "-C", dir, "fsck", "--full", "--strict", string(tip))
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("git fsck: %v\n%s", err, out)
	}
}

// Links could point anywhere, submodules are somebody else's: both are named, neither is followed.
func TestLinksAndSubmodulesAreNotFollowed(t *testing.T) {
	w := newWork(t)
	w.write(map[string]string{"real/a.yaml": "a: 1\n"})
	if err := os.Symlink("/etc/passwd", filepath.Join(w.dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(w.dir, "dir")); err != nil {
		t.Fatal(err)
	}
	w.git("add", "-A")
	w.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",module")
	w.git("commit", "--quiet", "-m", "x")
	m := open(t, w.dir)
	fetch(t, m, git.ID(w.git("rev-parse", "HEAD")))
	tree, err := m.Repository().Tree(t.Context(), git.ID(w.git("rev-parse", "HEAD^{tree}")))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"link": mirror.ErrSymlink, "dir": mirror.ErrSymlink, "dir/a.yaml": mirror.ErrSymlink,
		"module": mirror.ErrSubmodule, "module/x": mirror.ErrSubmodule, "none": fs.ErrNotExist, "../x": fs.ErrInvalid} {
		if _, err := fs.ReadFile(tree, name); !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	entries, err := fs.ReadDir(tree, ".")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name()+" "+e.Type().String())
	}
	if want := []string{"dir L---------", "link L---------", "module ?---------", "real d---------"}; !slices.Equal(list, want) {
		t.Errorf("the folder lists %q, want %q", list, want)
	}
}

func TestChangedListsWhatDiffers(t *testing.T) {
	w := newWork(t)
	w.commit("first", map[string]string{"a/x.yaml": "1", "a/y.yaml": "1", "b": "1", "c/d/e": "1", "same/f": "1"})
	before := git.ID(w.git("rev-parse", "HEAD^{tree}"))
	w.git("rm", "-q", "-r", "b", "c")
	w.commit("second", map[string]string{"a/x.yaml": "2", "b/now/a/folder": "1", "c": "now a file", "new": "1"})
	w.git("update-index", "--chmod=+x", "a/y.yaml")
	w.git("commit", "--quiet", "-m", "mode")
	after := git.ID(w.git("rev-parse", "HEAD^{tree}"))
	m := open(t, w.dir)
	fetch(t, m, git.ID(w.git("rev-parse", "HEAD")))
	for name, c := range map[string]struct {
		from, to git.ID
		want     []git.Path
	}{
		"both ways":             {before, after, []git.Path{"a/x.yaml", "a/y.yaml", "b", "b/now/a/folder", "c", "c/d/e", "new"}},
		"backwards":             {after, before, []git.Path{"a/x.yaml", "a/y.yaml", "b", "b/now/a/folder", "c", "c/d/e", "new"}},
		"nothing":               {after, after, nil},
		"from the empty tree":   {"", before, []git.Path{"a/x.yaml", "a/y.yaml", "b", "c/d/e", "same/f"}},
		"down to an empty tree": {before, "", []git.Path{"a/x.yaml", "a/y.yaml", "b", "c/d/e", "same/f"}},
	} {
		got, err := m.Repository().Changed(t.Context(), c.from, c.to)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v %v, want %v", name, got, err, c.want)
		}
	}
}

func TestResolveFindsWhatPeopleMean(t *testing.T) {
	w := newWork(t)
	first := w.commit("first", map[string]string{"a": "1"})
	second := w.commit("second", map[string]string{"a": "2"})
	w.git("checkout", "--quiet", "-b", "side/branch")
	side := w.commit("side", map[string]string{"b": "1"})
	w.git("checkout", "--quiet", "main")
	w.git("merge", "--quiet", "--no-ff", "-m", "merge", "side/branch")
	merge := git.ID(w.git("rev-parse", "HEAD"))
	w.git("tag", "-a", "v1", "-m", "x", string(second))
	w.git("pack-refs", "--all")
	bundle := filepath.Join(t.TempDir(), "b.bundle")
	w.git("bundle", "create", "--quiet", bundle, "--all", "HEAD")
	linked := filepath.Join(t.TempDir(), "linked")
	w.git("worktree", "add", "--quiet", "--detach", linked, string(merge))
	for _, path := range []string{w.dir, filepath.Join(w.dir, ".git"), bundle, linked} {
		r, err := mirror.OpenRepository(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		for rev, want := range map[string]git.ID{
			"HEAD": merge, "main": merge, "refs/heads/main": merge, "side/branch": side, "v1": second, "HEAD^": second, "HEAD^2": side,
			"HEAD~2": first, "main^2~1": second, string(first): first, string(first[:8]): first, "v1^0": second,
		} {
			if got, err := r.Resolve(t.Context(), rev); err != nil || got != want {
				t.Errorf("%s: %s is %s (%v), want %s", path, rev, got, err, want)
			}
		}
		for _, rev := range []string{"", "none", "../HEAD", "HEAD^3", "HEAD~9", "main@{1}", "HEAD^^^^^^", "refs/heads/../../config", "HEAD^{tree}"} {
			if got, err := r.Resolve(t.Context(), rev); err == nil {
				t.Errorf("%s: %q is %s", path, rev, got)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A folder that borrows objects would bring in what somebody else can change.
func TestAlternatesAreRefused(t *testing.T) {
	w := newWork(t)
	w.commit("first", map[string]string{"a": "1"})
	borrowed := filepath.Join(t.TempDir(), "borrowed")
	w.git("clone", "--quiet", "--shared", w.dir, borrowed)
	if _, err := mirror.OpenRepository(t.Context(), borrowed); err == nil || !strings.Contains(err.Error(), "alternates") {
		t.Errorf("a repository with alternates: %v", err)
	}
}

// git replace and grafts show another history to git; not to us.
func TestReplaceRefsAreNotFollowed(t *testing.T) {
	w := newWork(t)
	first := w.commit("first", map[string]string{"a": "1"})
	second := w.commit("second", map[string]string{"a": "2"})
	before := w.git("cat-file", "commit", string(second))
	w.git("replace", string(second), string(first))
	r, err := mirror.OpenRepository(t.Context(), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := r.Commit(context.Background(), second)
	if err != nil || strings.TrimSpace(string(raw)) != before {
		t.Errorf("%s, %v", raw, err)
	}
}
