package signing_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/test/forge"
)

// TestWhatGitShowsInsteadOfACommit: replace refs and grafts make git show another commit than the one that is there. Here, only objects
// count.
func TestWhatGitShowsInsteadOfACommit(t *testing.T) {
	t.Parallel()
	nobody := forge.WithoutKey("nobody", "nobody@example.org")
	t.Run("a signed commit as a replacement of an unsigned one", func(t *testing.T) {
		s := newScene(t)
		good := s.commit(s.ada, map[string]string{"apps/cart.yaml": "v1"})
		s.git("reset", "--quiet", "--hard", "HEAD~1")
		bad := s.commit(nobody, map[string]string{"apps/cart.yaml": "evil"})
		s.git("replace", string(bad), string(good))
		if out := s.git("log", "-1", "--format=%ae"); !strings.Contains(out, "ada@") {
			t.Fatalf("git shows %s: the replacement does not work", out)
		}
		s.refuses(bad, signing.CauseUnsigned)
	})
	t.Run("a graft that leaves an unsigned commit out", func(t *testing.T) {
		s := newScene(t)
		anchor := must(s.repo.Head(t.Context()))(t)
		bad := s.commit(nobody, nil)
		head := s.commit(s.ada, nil)
		grafts := filepath.Join(s.repo.Work(), ".git", "info", "grafts")
		if err := os.WriteFile(grafts, []byte(string(head)+" "+string(anchor)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.refuses(bad, signing.CauseUnsigned)
	})
	t.Run("a signed tag on an unsigned commit", func(t *testing.T) {
		s := newScene(t)
		bad := s.commit(nobody, nil)
		must(s.repo.As(t.Context(), s.ada, "tag", "--sign", "--message=approved", "v1"))(t)
		s.refuses(bad, signing.CauseUnsigned)
	})
	t.Run("a merge of a signed tag, with the tag's signature inside", func(t *testing.T) {
		s := newScene(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"side.yaml": "1"})
		must(s.repo.As(t.Context(), s.ada, "tag", "--sign", "--message=approved", "v1"))(t)
		bad := s.merge(nobody, "v1")
		if !strings.Contains(s.raw(bad), "mergetag") {
			t.Fatal("git has made no mergetag header")
		}
		s.refuses(bad, signing.CauseUnsigned)
	})
}

// TestReplay: a signature is over a commit, and a commit names what it descends from; it is worth nothing anywhere else.
func TestReplay(t *testing.T) {
	t.Parallel()
	t.Run("a signed commit of another repository", func(t *testing.T) {
		s, other := newScene(t), newScene(t)
		other.git("checkout", "--quiet", "--orphan", "elsewhere") // both roots could be the same commit, made in the same second
		other.commit(other.ada, map[string]string{"elsewhere.yaml": "1"})
		s.spec.Signers = append(s.spec.Signers, other.ada.Signer())
		s.spec.Signers[2].Principal = "ada too"
		stranger := other.commit(other.ada, nil)
		s.accepts()
		s.git("fetch", "--quiet", other.repo.Work(), string(stranger))
		if _, _, err := s.authority().Advance(t.Context(), s.open(), s.from, stranger); !errors.Is(err, signing.ErrNotDescendant) {
			t.Errorf("Advance: %v", err)
		}
	})
	t.Run("a signed commit of another branch, brought back by cherry-pick", func(t *testing.T) {
		s := newScene(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"apps/cart.yaml": "old"})
		s.git("checkout", "--quiet", forge.Branch)
		s.commit(s.ada, map[string]string{"other.yaml": "1"})
		must(s.repo.As(t.Context(), forge.WithoutKey("ada", "ada@example.org"), "cherry-pick", "side"))(t)
		s.refuses(must(s.repo.Head(t.Context()))(t), signing.CauseUnsigned)
	})
	t.Run("a verified commit of one authority for another", func(t *testing.T) {
		s := newScene(t)
		s.accepts()
		elsewhere := must(signing.NewAuthority("elsewhere", s.spec))(t)
		if _, _, err := elsewhere.Advance(t.Context(), s.open(), s.from, s.commit(s.ada, nil)); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("no commit at all", func(t *testing.T) {
		s := newScene(t)
		if _, _, err := s.authority().Advance(t.Context(), s.open(), signing.Verified{}, s.commit(s.ada, nil)); err == nil {
			t.Error("accepted")
		}
	})
}

// TestSHA256Repository: signatures live in another header there.
func TestSHA256Repository(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	dir := t.TempDir()
	run := func(args ...string) git.ID {
		t.Helper()
		config := []string{"-C", dir, "-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "gpg.format=ssh", "-c", "user.signingkey=" + s.ada.KeyFile()}
		cmd := exec.Command("git", append(config, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v: %s", args[0], err, out)
		}
		return git.ID(strings.TrimSpace(string(out)))
	}
	run("init", "--quiet", "--object-format=sha256", "--initial-branch="+forge.Branch)
	run("commit", "--quiet", "--allow-empty", "--message=root")
	s.spec.Anchor.Commit = string(run("rev-parse", "HEAD"))
	run("commit", "--quiet", "--allow-empty", "--gpg-sign", "--message=signed")
	good := run("rev-parse", "HEAD")
	run("commit", "--quiet", "--allow-empty", "--message=not signed")
	bad := run("rev-parse", "HEAD")
	r := must(mirror.OpenRepository(t.Context(), dir))(t)
	defer r.Close()
	a := s.authority()
	accepted, refused, err := a.Advance(t.Context(), r, must(a.Anchor(t.Context(), r))(t), bad)
	if err != nil || len(accepted) != 1 || accepted[0].Commit().ID != good || len(good) != 64 || refused == nil || refused.Commit != bad || refused.Cause != signing.CauseUnsigned {
		t.Errorf("accepted %d, refused %v, %v", len(accepted), refused, err)
	}
}

// TestShallow: a shallow history is as good as a whole one from its anchor on. Where it is cut off it is no answer, never a yes.
func TestShallow(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	clone := func(depth string) *mirror.Repository {
		t.Helper()
		if err := s.repo.Push(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		s.git("clone", "--quiet", "--depth="+depth, s.repo.URL(), dir)
		r := must(mirror.OpenRepository(t.Context(), dir))(t)
		t.Cleanup(func() { r.Close() })
		return r
	}
	s.commit(s.ada, nil)
	s.spec.Anchor.Commit = string(s.commit(s.ada, nil))
	s.commit(s.ada, nil)
	head := s.commit(s.ada, nil)
	a := s.authority()
	r := clone("3")
	if _, refused, err := a.Advance(t.Context(), r, must(a.Anchor(t.Context(), r))(t), head); err != nil || refused != nil {
		t.Errorf("with the anchor inside: %v, %v", refused, err)
	}
	from := must(a.Anchor(t.Context(), s.open()))(t)
	if accepted, refused, err := a.Advance(t.Context(), clone("2"), from, head); err == nil || refused != nil || accepted != nil || errors.Is(err, signing.ErrNotDescendant) {
		t.Errorf("with the anchor outside: accepted %d, refused %v, %v", len(accepted), refused, err)
	}
}

// TestManyBadCommits: whatever cores do first, the first bad commit of the line is the one that is named, and all before it are accepted.
func TestManyBadCommits(t *testing.T) {
	t.Parallel()
	p := newPacked(t, 400)
	spec := v1alpha1.TrustedRepositorySpec{Branch: "main", Anchor: v1alpha1.Anchor{Commit: string(p.ids[0])}, Rules: []v1alpha1.Rule{{Paths: []string{"f[0-4]*.yaml"}}}}
	spec.AllowedSigners = p.allowed()
	for range 20 {
		a := must(signing.NewAuthority("shop", spec))(t)
		r := must(mirror.OpenRepository(context.Background(), p.dir))(t)
		accepted, refused, err := a.Advance(t.Context(), r, must(a.Anchor(t.Context(), r))(t), p.ids[len(p.ids)-1])
		// Commit n changes file n modulo 100: the fiftieth is the first that nobody may make.
		if err != nil || len(accepted) != 49 || refused == nil || refused.Commit != p.ids[50] || refused.Cause != signing.CauseNotAllowed {
			t.Fatalf("accepted %d, refused %v, %v", len(accepted), refused, err)
		}
		for i, v := range accepted {
			if v.Commit().ID != p.ids[i+1] {
				t.Fatalf("accepted %s as number %d, want %s", v.Commit().ID, i, p.ids[i+1])
			}
		}
		r.Close()
	}
}
