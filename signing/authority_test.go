package signing_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/test/forge"
)

// scene is a repository with people who may sign, and what was verified of it.
type scene struct {
	policies []git.Path
	*testing.T
	forge *forge.Forge
	repo  *forge.Repository
	ada   *forge.Person // signs with SSH
	bob   *forge.Person // signs with SSH
	eve   *forge.Person // signs with SSH, and nobody lists her
	spec  v1alpha1.TrustedRepositorySpec
	from  signing.Verified
	now   time.Time
}

func newScene(t *testing.T) *scene {
	t.Helper()
	f, err := forge.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s := &scene{T: t, forge: f, now: time.Now()}
	s.repo = must(f.Create(t.Context(), "shop"))(t)
	s.ada, s.bob, s.eve = s.person("ada"), s.person("bob"), s.person("eve")
	s.spec = v1alpha1.TrustedRepositorySpec{URL: s.repo.URL(), Branch: forge.Branch, Signers: []v1alpha1.Signer{s.ada.Signer(), s.bob.Signer()}}
	s.anchor(map[string]string{"apps/cart.yaml": "v0"})
	return s
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (s *scene) person(name string) *forge.Person {
	s.Helper()
	return must(s.forge.WithSSHKey(s.Context(), name, name+"@example.org"))(s)
}

// anchor commits files and makes that the trust anchor; nobody needs to sign it.
func (s *scene) anchor(files map[string]string) {
	s.Helper()
	s.spec.Anchor.Commit = string(s.commit(forge.WithoutKey("nobody", "nobody@example.org"), files))
	s.from = signing.Verified{}
}

// commit writes files (none is an empty commit) and commits them as somebody.
func (s *scene) commit(who *forge.Person, files map[string]string) git.ID {
	s.Helper()
	for path, content := range files {
		err := s.repo.Write(path, content)
		if content == "" {
			err = s.repo.Remove(path)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	return must(s.repo.Commit(s.Context(), who, "change"))(s)
}

func (s *scene) git(args ...string) string {
	s.Helper()
	return must(s.repo.Git(s.Context(), args...))(s)
}

// branch leaves the main branch for a new one, which begins at a revision.
func (s *scene) branch(name, at string) {
	s.Helper()
	s.git("checkout", "--quiet", "-b", name, at)
}

func (s *scene) merge(who *forge.Person, branch string) git.ID {
	s.Helper()
	s.git("checkout", "--quiet", forge.Branch)
	return must(s.repo.Merge(s.Context(), who, branch, "merge"))(s)
}

func (s *scene) open() *mirror.Repository {
	s.Helper()
	r := must(mirror.OpenRepository(s.Context(), s.repo.Work()))(s)
	s.Cleanup(func() { r.Close() })
	return r
}

func (s *scene) authority() *signing.Authority {
	s.Helper()
	a := must(signing.NewAuthority("shop", s.spec, s.policies...))(s)
	a.Clock = func() time.Time { return s.now }
	return a
}

// advance verifies from what was verified last (at first, the anchor) to the head.
func (s *scene) advance() ([]signing.Verified, *signing.Refused) {
	s.Helper()
	r, a := s.open(), s.authority()
	if s.from.IsZero() {
		s.from = must(a.Anchor(s.Context(), r))(s)
	}
	head := must(s.repo.Head(s.Context()))(s)
	accepted, refused, err := a.Advance(s.Context(), r, s.from, head)
	if err != nil {
		s.Fatalf("Advance: %v", err)
	}
	if len(accepted) > 0 {
		s.from = accepted[len(accepted)-1]
	}
	if refused == nil && s.from.Commit().ID != head {
		s.Fatalf("nothing refused, but verified only up to %s of %s", s.from.Commit().ID.Short(), head.Short())
	}
	return accepted, refused
}

// accepts says that everything up to the head is accepted, and returns the signatures of the head.
func (s *scene) accepts() []signing.Signature {
	s.Helper()
	if _, refused := s.advance(); refused != nil {
		s.Fatalf("refused: %v", refused)
	}
	return s.from.Signatures()
}

// refuses says that a commit is refused, for a cause, in words that hold some text.
func (s *scene) refuses(id git.ID, cause signing.Cause, text ...string) {
	s.Helper()
	_, refused := s.advance()
	if refused == nil {
		s.Fatalf("accepted; want %s refused as %s", id.Short(), cause)
	}
	if refused.Commit != id || refused.Cause != cause {
		s.Fatalf("refused: %v; want %s refused as %s", refused, id.Short(), cause)
	}
	for _, t := range text {
		if !strings.Contains(refused.Why, t) {
			s.Errorf("refused: %q, which does not say %q", refused.Why, t)
		}
	}
}

func TestSignedLine(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	pgp := must(s.forge.WithOpenPGPKey(t.Context(), "Pia", "pia@example.org"))(t)
	s.spec.Signers = append(s.spec.Signers, pgp.Signer())
	s.commit(s.ada, map[string]string{"apps/cart.yaml": "v1"})
	second := s.commit(pgp, map[string]string{"apps/cart.yaml": "v2"})
	accepted, refused := s.advance()
	if refused != nil || len(accepted) != 2 {
		t.Fatalf("%d accepted, refused %v", len(accepted), refused)
	}
	sig := s.from.Signatures()
	if len(sig) != 1 || sig[0].Principal != "pia@example.org" || sig[0].Kind != signing.KindOpenPGP || len(sig[0].Key) != 40 {
		t.Errorf("signatures %+v", sig)
	}
	if v := s.from; v.Commit().ID != second || v.Repository() != "shop" || v.Branch() != forge.Branch {
		t.Errorf("verified %s of %s, %s", v.Commit().ID, v.Repository(), v.Branch())
	}
	f := must(s.from.Tree().Open("apps/cart.yaml"))(t)
	defer f.Close()
	if st := must(f.Stat())(t); st.Size() != 2 {
		t.Errorf("the verified tree has %d bytes, want v2", st.Size())
	}
}

func TestAnchorIsVouchedForByConfiguration(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	sig := s.accepts()
	if len(sig) != 1 || sig[0].Kind != signing.KindAnchor || sig[0].Principal != "" {
		t.Errorf("signatures %+v", sig)
	}
}

func TestRefusedCommits(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		commit func(s *scene) git.ID
		cause  signing.Cause
		text   string
	}{
		"not signed": {func(s *scene) git.ID { return s.commit(forge.WithoutKey("ada", "ada@example.org"), nil) },
			signing.CauseUnsigned, "not signed"},
		"signed by a stranger who says that she is ada": {func(s *scene) git.ID {
			s.eve.Name, s.eve.Email = s.ada.Name, s.ada.Email
			return s.commit(s.eve, nil)
		}, signing.CauseUnknownKey, "SHA256:"},
		"signed with a revoked key": {func(s *scene) git.ID {
			s.spec.Revoked = s.ada.Signer().SSH
			return s.commit(s.ada, nil)
		}, signing.CauseRevoked, "SHA256:"},
		"signed by somebody whose time is over, with an older date": {func(s *scene) git.ID {
			s.spec.Signers[0].Expires = ends(s.now.Add(-time.Hour))
			must(s.repo.As(s.Context(), s.ada, "commit", "--quiet", "--allow-empty", "--message=old", "--date=2001-01-01T00:00:00Z"))(s)
			id := must(s.repo.Head(s.Context()))(s)
			return id
		}, signing.CauseExpired, "ada@example.org"},
		"another message under ada's signature": {func(s *scene) git.ID { return s.tamper(s.commit(s.ada, nil), "change", "chance") },
			signing.CauseBadSignature, "does not fit"},
		"signed for another namespace": {func(s *scene) git.ID { return s.resign(s.commit(s.ada, nil), s.ada, "file") },
			signing.CauseBadSignature, `"file"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			good := s.commit(s.bob, nil)
			bad := tt.commit(s)
			s.commit(s.bob, nil) // a good commit on top heals nothing
			s.refuses(bad, tt.cause, tt.text)
			if s.from.Commit().ID != good {
				t.Errorf("verified up to %s, want the last good commit %s", s.from.Commit().ID.Short(), good.Short())
			}
		})
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	t.Run("a rewind", func(t *testing.T) {
		s := newScene(t)
		first := s.commit(s.ada, nil)
		s.commit(s.ada, nil)
		s.accepts()
		s.git("reset", "--quiet", "--hard", string(first))
		a := s.authority()
		if _, _, err := a.Advance(t.Context(), s.open(), s.from, first); !errors.Is(err, signing.ErrNotDescendant) {
			t.Errorf("Advance: %v", err)
		}
	})
	t.Run("main merged into a branch, and pushed as main: the line would be the branch's", func(t *testing.T) {
		s := newScene(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"side.yaml": "1"})
		s.git("checkout", "--quiet", forge.Branch)
		s.commit(s.ada, map[string]string{"main.yaml": "1"})
		s.accepts()
		s.git("checkout", "--quiet", "side")
		foxtrot := must(s.repo.Merge(t.Context(), s.bob, forge.Branch, "merge main"))(t)
		s.refuses(foxtrot, signing.CauseLine, "the other way round")
	})
	t.Run("an earlier commit is on the line, what was merged in or came before the anchor is not", func(t *testing.T) {
		s := newScene(t)
		first := s.commit(s.ada, map[string]string{"a.yaml": "1"})
		s.branch("side", "HEAD")
		side := s.commit(s.ada, map[string]string{"side.yaml": "1"})
		s.git("checkout", "--quiet", forge.Branch)
		must(s.repo.Merge(t.Context(), s.bob, "side", "merge side"))(t)
		s.accepts()
		a := s.authority()
		v, err := a.Ancestor(t.Context(), s.open(), s.from, first)
		if err != nil || v.Commit().ID != first || v.Repository() != s.from.Repository() {
			t.Errorf("%v, %v", v, err)
		}
		if data, err := fs.ReadFile(v.Tree(), "a.yaml"); err != nil || string(data) != "1" {
			t.Errorf("a.yaml is %q, %v", data, err)
		}
		for what, id := range map[string]git.ID{"what was merged in": side, "a commit that was not verified": s.commit(s.ada, nil), "none": "0000000000000000000000000000000000000001"} {
			if v, err := a.Ancestor(t.Context(), s.open(), s.from, id); !errors.Is(err, signing.ErrNotOnLine) || !v.IsZero() {
				t.Errorf("%s: %v, %v", what, v, err)
			}
		}
	})
	t.Run("a context that is over", func(t *testing.T) {
		s := newScene(t)
		s.accepts()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.authority().Advance(ctx, s.open(), s.from, s.commit(s.ada, nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("Advance: %v", err)
		}
	})
}

func TestRulesByPath(t *testing.T) {
	t.Parallel()
	newRules := func(t *testing.T) *scene {
		s := newScene(t)
		s.spec.Rules = []v1alpha1.Rule{
			{Paths: []string{"apps/*/image.yaml"}, Principals: []string{"ada@example.org", "bob@example.org"}},
			{Paths: []string{"secure/**"}, Threshold: 2},
			{Paths: []string{"apps/**"}, Principals: []string{"ada@*"}},
		}
		return s
	}
	t.Run("a bot may change images and nothing else", func(t *testing.T) {
		s := newRules(t)
		s.commit(s.bob, map[string]string{"apps/cart/image.yaml": "1"})
		s.accepts()
		bad := s.commit(s.bob, map[string]string{"apps/cart/image.yaml": "2", "apps/cart/deployment.yaml": "1"})
		s.refuses(bad, signing.CauseNotAllowed, "bob@example.org may not change apps/cart/deployment.yaml", "rule 3", "ada@*")
	})
	t.Run("a bot may not merge what somebody else may change", func(t *testing.T) {
		s := newRules(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"apps/cart/deployment.yaml": "1"})
		s.refuses(s.merge(s.bob, "side"), signing.CauseNotAllowed, "bob@example.org may not change apps/cart/deployment.yaml")
	})
	t.Run("a path that no rule has may be changed by nobody", func(t *testing.T) {
		s := newRules(t)
		s.refuses(s.commit(s.ada, map[string]string{"README": "1"}), signing.CauseNotAllowed, "no rule lets anybody change README")
	})
	t.Run("two people: one is not enough", func(t *testing.T) {
		s := newRules(t)
		s.refuses(s.commit(s.ada, map[string]string{"secure/a.yaml": "1"}), signing.CauseTooFew, "takes 2 people", "ada@example.org")
	})
	t.Run("two people: one who merges her own branch is one", func(t *testing.T) {
		s := newRules(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"secure/a.yaml": "1"})
		s.refuses(s.merge(s.ada, "side"), signing.CauseTooFew, "only ada@example.org")
	})
	t.Run("two people: author and approver", func(t *testing.T) {
		s := newRules(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"secure/a.yaml": "1"})
		s.merge(s.bob, "side")
		sig := s.accepts()
		if len(sig) != 2 || sig[0].Principal != "bob@example.org" || sig[1].Principal != "ada@example.org" {
			t.Errorf("signatures %+v", sig)
		}
		if who := signing.Approvers(git.Person{Email: "ada@example.org"}, sig); len(who) != 1 || who[0] != "bob@example.org" {
			t.Errorf("approvers %v", who)
		}
	})
	t.Run("two people: an author who never saw what the other put on top", func(t *testing.T) {
		s := newRules(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"secure/a.yaml": "1"})
		s.commit(s.bob, map[string]string{"secure/a.yaml": "hostNetwork: true"})
		s.refuses(s.merge(s.bob, "side"), signing.CauseTooFew, "only bob@example.org")
	})
	t.Run("two people: an author who never saw what the merge itself changed", func(t *testing.T) {
		s := newRules(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"secure/a.yaml": "1"})
		s.git("checkout", "--quiet", forge.Branch)
		must(s.repo.As(t.Context(), s.bob, "merge", "--quiet", "--no-ff", "--no-commit", "side"))(t)
		s.refuses(s.commit(s.bob, map[string]string{"secure/a.yaml": "evil"}), signing.CauseTooFew, "only bob@example.org")
	})
	t.Run("two people: a stranger's signature on the branch is nobody's", func(t *testing.T) {
		s := newRules(t)
		s.branch("side", "HEAD")
		s.commit(s.eve, map[string]string{"secure/a.yaml": "1"})
		s.refuses(s.merge(s.bob, "side"), signing.CauseTooFew, "only bob@example.org")
	})
}
