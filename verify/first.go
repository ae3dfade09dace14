package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/signing"
)

// found is one key that a history is signed with.
type found struct {
	identity signing.Identity
	commits  int
	last     git.ID         // one that it signed, of the newest that were met
	names    map[string]int // committers' e-mail addresses, as the commits say
}

// FirstList writes a signer list from what a history is signed with, for a person to prune: a commit's names are free text, and so nobody
// in it is trusted before somebody has checked. keys are OpenPGP public keys (gpg --export), without which only their fingerprints are known.
func FirstList(ctx context.Context, where, branch string, keys []byte) (string, error) {
	repo, done, err := Open(ctx, where, cmp.Or(branch, "main"))
	if err != nil {
		return "", err
	}
	defer done()
	id, err := tip(ctx, repo, Options{Branch: branch})
	if err != nil {
		return "", err
	}
	s := survey{keys: map[string]*found{}, causes: map[string]int{}}
	if err := s.walk(ctx, repo, id); err != nil {
		return "", err
	}
	var public []signing.OpenPGPKey
	if keys != nil {
		if public, err = signing.OpenPGPSigners(keys); err != nil {
			return "", fmt.Errorf("%w: %w", ErrRequest, err)
		}
	}
	return s.list(id, public)
}

// survey is what all commits of a history are signed with.
type survey struct {
	commits int
	keys    map[string]*found // by kind and key
	causes  map[string]int    // why others tell nothing
}

func (s *survey) walk(ctx context.Context, repo *mirror.Repository, id git.ID) error {
	seen := map[git.ID]bool{id: true}
	for queue := []git.ID{id}; len(queue) > 0; queue = queue[1:] {
		raw, err := repo.Commit(ctx, queue[0])
		if errors.Is(err, fs.ErrNotExist) && queue[0] != id {
			continue // a shallow clone ends here
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		_, parents, err := git.Links(raw)
		if err != nil {
			return fmt.Errorf("commit %s: %w", queue[0], err)
		}
		s.count(queue[0], raw)
		for _, p := range parents {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return nil
}

func (s *survey) count(id git.ID, raw []byte) {
	s.commits++
	c, err := git.ParseCommit(id, raw)
	if err != nil {
		s.causes["malformed"]++
		return
	}
	identity, err := signing.Identify(c)
	if err != nil {
		s.causes[err.Error()]++
		return
	}
	key := string(identity.Kind) + " " + identity.Key
	if identity.Kind == signing.KindGitsign {
		key = string(identity.Kind) + " " + identity.Name + " " + identity.Issuer // each signature has a certificate of its own
	}
	f := s.keys[key]
	if f == nil {
		f = &found{identity: identity, last: id, names: map[string]int{}}
		s.keys[key] = f
	}
	f.commits++
	f.names[c.Committer.Email]++
}

// principal is the name that the commits suggest: the most frequent committer.
func (f *found) principal() string {
	if f.identity.Name != "" {
		return f.identity.Name
	}
	names := slices.SortedFunc(maps.Keys(f.names), func(a, b string) int { return cmp.Or(cmp.Compare(f.names[b], f.names[a]), cmp.Compare(a, b)) })
	return clean(names[0])
}

// forges are the names under which forges commit, by e-mail address.
func isForge(principal string) bool {
	return principal == "noreply@github.com" || strings.HasPrefix(principal, "noreply@gitlab.") || strings.HasPrefix(principal, "noreply@gitea.")
}

func (s *survey) list(tip git.ID, public []signing.OpenPGPKey) (string, error) {
	ordered := slices.SortedFunc(maps.Values(s.keys), func(a, b *found) int {
		return cmp.Or(cmp.Compare(b.commits, a.commits), cmp.Compare(a.identity.Key, b.identity.Key))
	})
	var signers []v1alpha1.Signer
	notes := map[string][]string{}
	var unknown []string
	for _, f := range ordered {
		p := f.principal()
		note := fmt.Sprintf("%s key %s: %d commits, such as %s", f.identity.Kind, f.identity.Key, f.commits, f.last.Short())
		if others := len(f.names) - 1; others > 0 {
			note += fmt.Sprintf("; under %d more names", others)
		}
		i := slices.IndexFunc(signers, func(s v1alpha1.Signer) bool { return s.Principal == p })
		signer := v1alpha1.Signer{Principal: p, Forge: isForge(p)}
		if i >= 0 {
			signer = signers[i]
		}
		switch ok := f.fill(&signer, public); {
		case !ok:
			unknown = append(unknown, note+", as "+p)
			continue
		case i < 0:
			signers = append(signers, signer)
		default:
			signers[i] = signer
		}
		notes[p] = append(notes[p], note)
	}
	return s.text(tip, signers, notes, unknown)
}

// fill gives a signer the key that was found, if all of it is known.
func (f *found) fill(s *v1alpha1.Signer, public []signing.OpenPGPKey) bool {
	switch f.identity.Kind {
	case signing.KindSSH:
		s.SSH = append(s.SSH, f.identity.Public)
	case signing.KindGitsign:
		s.Gitsign = append(s.Gitsign, v1alpha1.GitsignIdentity{Issuer: f.identity.Issuer, Identity: f.identity.Name})
	case signing.KindX509:
		s.X509 = append(s.X509, f.identity.Key)
	case signing.KindOpenPGP:
		i := slices.IndexFunc(public, func(k signing.OpenPGPKey) bool {
			return k.Unfit == nil && slices.Contains(k.Fingerprints, f.identity.Key)
		})
		if i < 0 {
			return false
		}
		if !strings.Contains(s.OpenPGP, public[i].Armoured) { // two of its subkeys may have signed
			s.OpenPGP += public[i].Armoured
		}
	}
	return true
}

func (s *survey) text(tip git.ID, signers []v1alpha1.Signer, notes map[string][]string, unknown []string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Who signed the %d commits up to %s. Prune it: the names are what the commits say, and prove nothing.\n", s.commits, tip.Short())
	fmt.Fprintf(&b, "# Check each key with its owner. X.509 certificates need x509Roots, too.\n")
	for _, why := range slices.Sorted(maps.Keys(s.causes)) {
		fmt.Fprintf(&b, "# %d commits: %s\n", s.causes[why], clean(why))
	}
	for _, u := range unknown {
		fmt.Fprintf(&b, "# %s: not known here; gpg --export it and give the file with --openpgp-keys\n", clean(u))
	}
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nsigners:\n", v1alpha1.APIVersion, v1alpha1.KindSignerList)
	for _, signer := range signers {
		for _, n := range notes[signer.Principal] {
			fmt.Fprintf(&b, "# %s\n", clean(n))
		}
		item, err := yaml.Marshal([]v1alpha1.Signer{signer})
		if err != nil {
			return "", err
		}
		b.Write(item)
	}
	if len(signers) == 0 {
		return strings.TrimSuffix(b.String(), "\n") + " []\n", nil
	}
	return b.String(), nil
}
