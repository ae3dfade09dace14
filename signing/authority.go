package signing

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// maxList bounds a signer list in Git, in bytes.
const maxList = 4 << 20

// Authority judges the commits of one trusted repository. It is safe for concurrent use; one Advance runs at a time.
type Authority struct {
	repository string
	branch     string
	anchor     git.ID
	full       bool     // merged-in commits must be signed too
	listPath   git.Path // "" if the list is in the configuration only
	policies   []git.Path
	rules      []rule
	base       *list // the configuration's signers
	revoked    revocations
	keyless    *keyless          // nil if there is no trusted root
	trust      []byte            // what the configuration says, as JSON
	digest     [sha256.Size]byte // of the rules
	cache      *cache            // nil without one

	// Clock tells when a commit is first seen, which is what keys' ends are judged by; time.Now if it is nil. It must be set before
	// the first use.
	Clock func() time.Time

	advancing sync.Mutex // held by Advance; guards known
	known     ancestry

	mu    sync.Mutex // guards lists
	lists map[git.ID]*list
}

// NewAuthority works out what a configuration says of signers and rules. The error lists all that is wrong with it, by field.
//
// policies are the folders of the repository that hold policies: like the signer list, they take two people unless a rule is about them.
func NewAuthority(repository string, spec v1alpha1.TrustedRepositorySpec, policies ...git.Path) (*Authority, error) {
	a := &Authority{repository: repository, branch: spec.Branch, full: spec.History == v1alpha1.HistoryFull, lists: map[git.ID]*list{}}
	var problems, errs []error
	var err error
	if a.anchor, err = git.ParseID(spec.Anchor.Commit); err != nil {
		problems = append(problems, fmt.Errorf("anchor.commit: %w", err))
	}
	if spec.SignerList != "" {
		if a.listPath, err = git.ParsePath(spec.SignerList); err != nil || a.listPath == "." {
			problems = append(problems, fmt.Errorf("signerList: %q is not the path of a file", spec.SignerList))
		}
	}
	if a.rules, errs = newRules(spec.Rules); len(errs) > 0 {
		problems = append(problems, errs...)
	}
	if a.revoked, errs = newRevocations(spec.Revoked, spec.SSHRevocationList); len(errs) > 0 {
		problems = append(problems, errs...)
	}
	var trustedRoot []byte
	if spec.SigstoreTrustedRoot != "" {
		if trustedRoot, err = os.ReadFile(spec.SigstoreTrustedRoot); err == nil {
			a.keyless, err = newKeyless(trustedRoot)
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	a.policies = policies
	if a.trust, err = trustText(spec, trustedRoot, policies); err != nil {
		problems = append(problems, err)
	}
	a.digest = rulesDigest(a.trust)
	if len(spec.Signers) == 0 && spec.AllowedSigners == "" {
		a.base = &list{revoked: a.revoked} // a list in Git is all there is; without one, history ends at the anchor
	} else if a.base, err = newList(document{signers: spec.Signers, allowedSigners: spec.AllowedSigners, x509Roots: spec.X509Roots}, a.revoked, a.keyless); err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("repository %s: %w", repository, err)
	}
	return a, nil
}

func (a *Authority) now() time.Time {
	if a.Clock == nil {
		return time.Now()
	}
	return a.Clock()
}

// Anchor is the trust anchor itself, vouched for by the configuration. The error wraps ErrAnchor if it cannot be one.
func (a *Authority) Anchor(ctx context.Context, h History) (Verified, error) {
	raw, err := h.Commit(ctx, a.anchor)
	if err != nil {
		return Verified{}, fmt.Errorf("read the trust anchor: %w", err)
	}
	c, err := git.ParseCommit(a.anchor, raw)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: %w", ErrAnchor, err)
	}
	l, err := a.listAt(ctx, h, c.Tree)
	var r *refusal
	switch {
	case errors.As(err, &r):
		return Verified{}, fmt.Errorf("%w %s: %w", ErrAnchor, a.anchor.Short(), err)
	case err != nil:
		return Verified{}, err
	case a.listPath != "" && l == a.base && len(l.people) == 0 && len(l.forges) == 0 && !l.open:
		return Verified{}, fmt.Errorf("%w %s: it has no %s, and the configuration names no signer: nobody could sign the next commit", ErrAnchor, a.anchor.Short(), a.listPath)
	}
	return a.verified(h, c, []Signature{{Kind: KindAnchor}}), nil
}

// verified makes the only thing that others load from.
func (a *Authority) verified(h History, c *git.Commit, signatures []Signature) Verified {
	kept := *c
	kept.Payload, kept.Signature = nil, nil // nobody needs them any more, and a history has many
	return Verified{repository: a.repository, branch: a.branch, commit: &kept, signatures: signatures, tree: &lazyTree{history: h, id: c.Tree}}
}

// listAt is the signer list of a tree: that of the configuration if the tree has none. A list that cannot be read is a *refusal.
func (a *Authority) listAt(ctx context.Context, h History, tree git.ID) (*list, error) {
	if a.listPath == "" {
		return a.base, nil
	}
	t, err := h.Tree(ctx, tree)
	if err != nil {
		return nil, err
	}
	id, err := t.ID(a.listPath)
	if err != nil {
		return nil, err
	}
	if id == "" {
		return a.base, nil
	}
	a.mu.Lock()
	l := a.lists[id]
	a.mu.Unlock()
	if l != nil {
		return l, nil
	}
	data, err := readList(t, a.listPath)
	if err != nil {
		return nil, err
	}
	d, err := parseListFile(a.listPath, data)
	if err == nil {
		l, err = newList(d, a.revoked, a.keyless)
	}
	if err != nil {
		return nil, refuse(CauseSignerList, "its signer list %s cannot be used: %v", a.listPath, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.lists) > 1000 { // versions of a list in one history; a bound, for who can push can make many
		clear(a.lists)
	}
	a.lists[id] = l
	return l, nil
}

func readList(t Tree, p git.Path) ([]byte, error) {
	f, err := t.Open(string(p))
	if err != nil {
		return nil, refuse(CauseSignerList, "its signer list cannot be read: %v", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, refuse(CauseSignerList, "its signer list %s is a folder", p)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxList+1))
	if err == nil && len(data) > maxList {
		return nil, refuse(CauseSignerList, "its signer list %s is larger than %d bytes", p, maxList)
	}
	return data, err
}
