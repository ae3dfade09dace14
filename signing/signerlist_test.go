package signing_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/test/forge"
)

const listFile = "signers.yaml"

// withList is a scene whose repository keeps its own signer list: ada and bob at first.
func withList(t *testing.T) *scene {
	s := newScene(t)
	s.spec.SignerList, s.spec.Signers = listFile, nil
	s.anchor(map[string]string{listFile: s.list(s.ada, s.bob)})
	return s
}

func (s *scene) list(people ...*forge.Person) string {
	s.Helper()
	l := v1alpha1.SignerList{}
	l.APIVersion, l.Kind = v1alpha1.APIVersion, v1alpha1.KindSignerList
	for _, p := range people {
		l.Signers = append(l.Signers, p.Signer())
	}
	return string(must(yaml.Marshal(l))(s))
}

// relist changes the list by a branch that one makes and another merges.
func (s *scene) relist(author, approver *forge.Person, list string) git.ID {
	s.Helper()
	s.branch("relist"+string(must(s.repo.Head(s.Context()))(s))[:8], "HEAD")
	s.commit(author, map[string]string{listFile: list})
	side := s.git("rev-parse", "--abbrev-ref", "HEAD")
	return s.merge(approver, side)
}

func TestSignerListInGit(t *testing.T) {
	t.Parallel()
	t.Run("a new signer signs from the next commit on", func(t *testing.T) {
		s := withList(t)
		s.relist(s.ada, s.bob, s.list(s.ada, s.bob, s.eve))
		s.commit(s.eve, nil)
		s.accepts()
	})
	t.Run("a new signer does not sign the commit that adds her", func(t *testing.T) {
		s := withList(t)
		s.refuses(s.relist(s.ada, s.eve, s.list(s.ada, s.bob, s.eve)), signing.CauseUnknownKey)
	})
	t.Run("a removed key is refused from that commit on, and what it signed before stays", func(t *testing.T) {
		s := withList(t)
		before := s.commit(s.bob, map[string]string{"apps/cart.yaml": "v1"})
		s.relist(s.bob, s.ada, s.list(s.ada))
		last := s.commit(s.ada, nil)
		s.refuses(s.commit(s.bob, nil), signing.CauseUnknownKey, "signer list does not hold")
		if s.from.Commit().ID != last {
			t.Errorf("verified up to %s, want %s (and %s before it)", s.from.Commit().ID.Short(), last.Short(), before.Short())
		}
	})
	t.Run("a key rotates: one person, another key", func(t *testing.T) {
		s := withList(t)
		newKey := s.person("ada")
		s.relist(s.ada, s.bob, s.list(newKey, s.bob))
		s.commit(newKey, nil)
		s.accepts()
		s.refuses(s.commit(s.ada, nil), signing.CauseUnknownKey)
	})
	t.Run("one of two people cannot change the list alone", func(t *testing.T) {
		s := withList(t)
		s.refuses(s.commit(s.ada, map[string]string{listFile: s.list(s.ada, s.eve)}), signing.CauseTooFew, listFile, "takes 2 people")
	})
	t.Run("a person with two keys is one person", func(t *testing.T) {
		s := withList(t)
		ada := s.ada.Signer()
		second := must(s.forge.WithOpenPGPKey(t.Context(), "ada", "ada@example.org"))(t)
		ada.OpenPGP = second.Signer().OpenPGP
		l := v1alpha1.SignerList{Signers: []v1alpha1.Signer{ada, s.bob.Signer()}}
		l.APIVersion, l.Kind = v1alpha1.APIVersion, v1alpha1.KindSignerList
		s.anchor(map[string]string{listFile: string(must(yaml.Marshal(l))(t))})
		l.Signers = append(l.Signers, s.eve.Signer())
		s.refuses(s.relist(s.ada, second, string(must(yaml.Marshal(l))(t))), signing.CauseTooFew, "only ada@example.org")
	})
	t.Run("whoever is alone can", func(t *testing.T) {
		s := withList(t)
		s.anchor(map[string]string{listFile: s.list(s.ada)})
		s.commit(s.ada, map[string]string{listFile: s.list(s.ada, s.eve)})
		s.commit(s.eve, nil)
		s.accepts()
	})
	t.Run("a rule that names the file is all there is", func(t *testing.T) {
		s := withList(t)
		s.spec.Rules = []v1alpha1.Rule{{Paths: []string{listFile}, Principals: []string{"ada@example.org"}}, {}}
		s.commit(s.ada, map[string]string{listFile: s.list(s.ada, s.eve)})
		s.accepts()
		s.refuses(s.commit(s.eve, map[string]string{listFile: s.list(s.eve)}), signing.CauseNotAllowed, "eve@example.org may not change "+listFile)
	})
	for name, list := range map[string]string{
		"that cannot be read":       "signers: [",
		"with an unknown field":     "apiVersion: commitgate.dev/v1alpha1\nkind: SignerList\nsinger: []\n",
		"that leaves nobody":        "apiVersion: commitgate.dev/v1alpha1\nkind: SignerList\n",
		"of two documents":          "---\n---\n",
		"with a key that is no key": "apiVersion: commitgate.dev/v1alpha1\nkind: SignerList\nsigners: [{principal: a, ssh: [ssh-ed25519 AAAA]}]\n",
		"that is gone":              "",
	} {
		t.Run("two people cannot leave a list "+name, func(t *testing.T) {
			s := withList(t)
			s.spec.Signers = []v1alpha1.Signer{s.ada.Signer(), s.bob.Signer()} // so that it is not for want of a key
			s.refuses(s.relist(s.ada, s.bob, list), signing.CauseSignerList, "signer list")
		})
	}
	t.Run("a list that becomes a link is no list", func(t *testing.T) {
		s := withList(t)
		s.branch("link", "HEAD")
		s.commit(s.ada, map[string]string{"other.yaml": s.list(s.ada, s.bob, s.eve)})
		s.git("rm", "--quiet", "--cached", listFile)
		blob := s.git("hash-object", "-w", "other.yaml")
		s.git("update-index", "--add", "--cacheinfo", "120000,"+blob+","+listFile)
		must(s.repo.As(t.Context(), s.ada, "commit", "--quiet", "--message=link"))(t)
		s.git("reset", "--quiet", "--hard")
		s.refuses(s.merge(s.bob, "link"), signing.CauseSignerList, "symbolic link")
	})
	t.Run("the configuration's revoked keys are refused whoever lists them", func(t *testing.T) {
		s := withList(t)
		s.spec.Revoked = []string{"SHA256:" + fingerprint(t, s.ada)}
		s.refuses(s.commit(s.ada, nil), signing.CauseRevoked)
	})
	t.Run("OpenSSH's own format", func(t *testing.T) {
		s := newScene(t)
		s.spec.SignerList, s.spec.Signers = ".allowed_signers", nil
		s.anchor(map[string]string{".allowed_signers": "# our people\nada@example.org namespaces=\"git\" " + s.ada.Signer().SSH[0] + "\n"})
		s.commit(s.ada, nil)
		s.accepts()
	})
	t.Run("the list in Git takes over from the configuration", func(t *testing.T) {
		s := newScene(t)
		s.spec.SignerList = listFile
		s.relist(s.ada, s.bob, s.list(s.bob, s.eve))
		s.commit(s.eve, nil)
		s.accepts()
		s.refuses(s.commit(s.ada, nil), signing.CauseUnknownKey)
	})
}

// TestMergesJoinTheIntersection: what one parent's list does not allow, a merge of it does not allow either, so that nobody gets a key
// back, or a new one in, by way of a branch.
func TestMergesJoinTheIntersection(t *testing.T) {
	t.Parallel()
	t.Run("a branch from before a signer was added is not hers to merge", func(t *testing.T) {
		s := withList(t)
		s.branch("old", "HEAD")
		s.commit(s.ada, map[string]string{"apps/old.yaml": "1"})
		s.git("checkout", "--quiet", forge.Branch)
		s.relist(s.ada, s.bob, s.list(s.ada, s.bob, s.eve))
		s.refuses(s.merge(s.eve, "old"), signing.CauseUnknownKey, "one of its parents", "up to date")
	})
	t.Run("a removed key merges nothing, from however old a branch", func(t *testing.T) {
		s := withList(t)
		s.branch("old", "HEAD")
		s.commit(s.bob, map[string]string{"apps/old.yaml": "1"})
		s.git("checkout", "--quiet", forge.Branch)
		s.relist(s.bob, s.ada, s.list(s.ada, s.eve))
		s.refuses(s.merge(s.bob, "old"), signing.CauseUnknownKey)
	})
	t.Run("a removed key on an old branch does not count as the author", func(t *testing.T) {
		s := withList(t)
		s.spec.Rules = []v1alpha1.Rule{{Paths: []string{"apps/**"}, Threshold: 2}, {}}
		s.branch("old", "HEAD")
		s.commit(s.bob, map[string]string{"apps/old.yaml": "1"})
		s.git("checkout", "--quiet", forge.Branch)
		s.relist(s.bob, s.ada, s.list(s.ada, s.eve))
		s.refuses(s.merge(s.ada, "old"), signing.CauseTooFew, "only ada@example.org")
	})
}

func TestFullHistory(t *testing.T) {
	t.Parallel()
	t.Run("every merged-in commit must be signed", func(t *testing.T) {
		s := newScene(t)
		s.spec.History = v1alpha1.HistoryFull
		s.branch("side", "HEAD")
		bad := s.commit(forge.WithoutKey("bob", "bob@example.org"), map[string]string{"side.yaml": "1"})
		s.commit(s.bob, map[string]string{"side.yaml": "2"})
		s.refuses(s.merge(s.ada, "side"), signing.CauseUnsigned, "it merges commit "+bad.Short())
	})
	t.Run("and then all is well, also for what was merged into the branch before", func(t *testing.T) {
		s := newScene(t)
		s.spec.History = v1alpha1.HistoryFull
		s.branch("side", "HEAD")
		s.commit(s.bob, map[string]string{"side.yaml": "1"})
		s.git("checkout", "--quiet", forge.Branch)
		s.commit(s.ada, map[string]string{"main.yaml": "1"})
		s.git("checkout", "--quiet", "side")
		must(s.repo.Merge(t.Context(), s.bob, forge.Branch, "update"))(t)
		s.commit(s.bob, map[string]string{"side.yaml": "2"})
		s.merge(s.ada, "side")
		s.accepts()
	})
	t.Run("with the first parent's line only, what is merged in need not be", func(t *testing.T) {
		s := newScene(t)
		s.branch("side", "HEAD")
		s.commit(forge.WithoutKey("bob", "bob@example.org"), map[string]string{"side.yaml": "1"})
		s.merge(s.ada, "side")
		if sig := s.accepts(); len(sig) != 1 || sig[0].Principal != "ada@example.org" {
			t.Errorf("signatures %+v", sig)
		}
	})
	t.Run("a branch that was verified before is not asked again", func(t *testing.T) {
		s := newScene(t)
		s.branch("side", "HEAD")
		s.commit(forge.WithoutKey("bob", "bob@example.org"), map[string]string{"side.yaml": "1"})
		s.merge(s.ada, "side")
		s.accepts()
		s.spec.History = v1alpha1.HistoryFull // from here on
		s.git("checkout", "--quiet", "side")
		s.commit(s.bob, map[string]string{"side.yaml": "2"})
		s.merge(s.ada, "side")
		s.accepts()
	})
}

// TestForge: GitHub and others sign the merges that they make. Such a signature says who made the commit, not who asked for it.
func TestForge(t *testing.T) {
	t.Parallel()
	withForge := func(t *testing.T, rules ...v1alpha1.Rule) (*scene, *forge.Person) {
		s := newScene(t)
		web := must(s.forge.WithOpenPGPKey(t.Context(), "GitHub", "noreply@forge.example"))(t)
		signer := web.Signer()
		signer.Forge = true
		s.spec.Signers = append(s.spec.Signers, signer)
		s.spec.Rules = rules
		return s, web
	}
	t.Run("it counts for nothing by itself", func(t *testing.T) {
		s, web := withForge(t)
		s.refuses(s.commit(web, map[string]string{"apps/cart.yaml": "1"}), signing.CauseNotAllowed, "noreply@forge.example may not change apps/cart.yaml")
	})
	t.Run("a pattern does not name it", func(t *testing.T) {
		s, web := withForge(t, v1alpha1.Rule{Principals: []string{"*"}})
		s.refuses(s.commit(web, map[string]string{"apps/cart.yaml": "1"}), signing.CauseNotAllowed)
	})
	t.Run("a rule that names it lets it", func(t *testing.T) {
		s, web := withForge(t, v1alpha1.Rule{Paths: []string{"apps/**"}, Principals: []string{"noreply@forge.example"}})
		s.commit(web, map[string]string{"apps/cart.yaml": "1"})
		s.accepts()
		s.refuses(s.commit(web, map[string]string{"infra/a.yaml": "1"}), signing.CauseNotAllowed)
	})
	t.Run("it may not merge what somebody signed and put away", func(t *testing.T) {
		s, web := withForge(t)
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"apps/cart.yaml": "1"})
		s.refuses(s.merge(web, "side"), signing.CauseNotAllowed, "noreply@forge.example may not change apps/cart.yaml")
	})
	t.Run("as one of two: an author must have signed what it merges", func(t *testing.T) {
		s, web := withForge(t, v1alpha1.Rule{Principals: []string{"*@example.org", "noreply@forge.example"}, Threshold: 2})
		s.branch("side", "HEAD")
		s.commit(s.ada, map[string]string{"apps/cart.yaml": "1"})
		s.merge(web, "side")
		if sig := s.accepts(); len(sig) != 2 || sig[1].Principal != "ada@example.org" {
			t.Errorf("signatures %+v", sig)
		}
		s.branch("stranger", "HEAD")
		s.commit(s.eve, map[string]string{"apps/cart.yaml": "2"})
		s.refuses(s.merge(web, "stranger"), signing.CauseTooFew, "only noreply@forge.example")
	})
}

func TestAnchorsThatCannotBe(t *testing.T) {
	t.Parallel()
	t.Run("its signer list cannot be read", func(t *testing.T) {
		s := newScene(t)
		s.spec.SignerList = listFile
		s.anchor(map[string]string{listFile: "nonsense"})
		if _, err := s.authority().Anchor(t.Context(), s.open()); !errors.Is(err, signing.ErrAnchor) {
			t.Errorf("Anchor: %v", err)
		}
	})
	t.Run("no list, and nobody in the configuration", func(t *testing.T) {
		s := newScene(t)
		s.spec.SignerList, s.spec.Signers = listFile, nil
		if _, err := s.authority().Anchor(t.Context(), s.open()); !errors.Is(err, signing.ErrAnchor) {
			t.Errorf("Anchor: %v", err)
		}
	})
	t.Run("it is not there", func(t *testing.T) {
		s := newScene(t)
		s.spec.Anchor.Commit = strings.Repeat("1", 40)
		if _, err := s.authority().Anchor(t.Context(), s.open()); err == nil {
			t.Error("no error")
		}
	})
}

func TestConfigurationErrors(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ada := s.ada.Signer()
	tests := map[string]struct {
		change func(spec *v1alpha1.TrustedRepositorySpec)
		want   []string
	}{
		"all at once": {func(spec *v1alpha1.TrustedRepositorySpec) {
			spec.Anchor.Commit = "HEAD"
			spec.Rules = []v1alpha1.Rule{{Threshold: -1, Paths: []string{"/apps", "a**"}}}
			spec.Signers = append(spec.Signers, v1alpha1.Signer{Principal: "x@y"}, ada)
			spec.Revoked = []string{"1234"}
			spec.AllowedSigners = "x@y ssh-rsa\n\nfoo bogus-option ssh-ed25519 AAAA"
		}, []string{"anchor.commit", "rules[0].threshold", "rules[0].paths[0]", "rules[0].paths[1]", "signers[2].principal: x@y has no key", "signers[3].principal: ada@example.org stands here twice",
			"revoked[0]", "allowed signers, line 1", "allowed signers, line 3"}},
		"one key for two people, who would count as two": {func(spec *v1alpha1.TrustedRepositorySpec) {
			spec.Signers = append(spec.Signers, v1alpha1.Signer{Principal: "mallory@example.org", SSH: ada.SSH})
		}, []string{"one key is one person's"}},
		"a list that leaves the tree": {func(spec *v1alpha1.TrustedRepositorySpec) { spec.SignerList = "../list" }, []string{"signerList"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			spec := s.spec
			spec.Signers = append([]v1alpha1.Signer{}, s.spec.Signers...)
			tt.change(&spec)
			_, err := signing.NewAuthority("shop", spec)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v\nwhich does not say %q", err, want)
				}
			}
		})
	}
}

func TestExpiryIsJudgedByWhenTheGateSawIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.spec.Signers[0].Expires = ends(s.now.Add(time.Hour))
	s.commit(s.ada, nil)
	s.accepts()
	late := s.commit(s.ada, nil)
	s.now = s.now.Add(2 * time.Hour)
	s.refuses(late, signing.CauseExpired, "ada@example.org only until")
}

// Who could change a policy alone could let everything pass.
func TestPoliciesTakeTwoPeople(t *testing.T) {
	t.Parallel()
	const file, rule = "policies/images.rego", "package commitgate"
	t.Run("one of two is not enough", func(t *testing.T) {
		s := newScene(t)
		s.policies = []git.Path{"policies"}
		s.commit(s.ada, map[string]string{"apps/cart.yaml": "v1"})
		s.refuses(s.commit(s.ada, map[string]string{file: rule}), signing.CauseTooFew)
	})
	t.Run("two are", func(t *testing.T) {
		s := newScene(t)
		s.policies = []git.Path{"policies"}
		s.branch("images", "HEAD")
		s.commit(s.ada, map[string]string{file: rule})
		s.merge(s.bob, "images")
		s.accepts()
	})
	t.Run("a rule about them decides", func(t *testing.T) {
		s := newScene(t)
		s.policies = []git.Path{"policies"}
		s.spec.Rules = []v1alpha1.Rule{{Paths: []string{"policies/**"}, Principals: []string{"ada@example.org"}}, {}}
		s.commit(s.ada, map[string]string{file: rule})
		s.accepts()
	})
	t.Run("who is alone may", func(t *testing.T) {
		s := newScene(t)
		s.policies, s.spec.Signers = []git.Path{"policies"}, s.spec.Signers[:1]
		s.commit(s.ada, map[string]string{file: rule})
		s.accepts()
	})
}
