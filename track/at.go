package track

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
)

// AtConfig says which revisions of which repositories on this machine At is to make the truth of.
type AtConfig struct {
	Gate         v1alpha1.GateSpec
	Repositories []v1alpha1.TrustedRepository
	// Paths are work trees, bare repositories or bundles, by repository. One that is left out is read at its URL, if that is a path.
	Paths map[string]string
	// Revisions by repository, as gitrevisions(7); the protected branch where there is none.
	Revisions map[string]string
	Now       time.Time // when it is; the machine's time if it is zero
	// Vouch: the revisions are vouched for, whoever signed them. For what shows what a revision says, not for what acts on it.
	Vouch bool
	// Decryption opens what Git holds encrypted; nil opens nothing.
	Decryption *manifest.Decryption
	// CRDs are CustomResourceDefinitions that Git does not declare: they say how the fields of their kinds compare.
	CRDs []map[string]any
	// Partial leaves out an agent's object that does not render (manifest.Input) instead of refusing the revision, as a running gate does.
	Partial bool
	// Engine runs what the trees have rendered (manifest.Input).
	Engine manifest.Engine
}

// At makes the truth of revisions in local repositories, with the code of the loop: verified from the anchor to the revision, rendered, compiled.
// Nothing is fetched and nothing is kept. With the anchor at the revision itself, nothing needs a signature. A revision that
// a running gate would refuse is a *Refusal; any other error says that it could not be told.
func At(ctx context.Context, cfg AtConfig) (*snapshot.Truth, error) {
	p, err := OpenPast(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer p.Close() // for reading: there is nothing to lose
	return p.Truth(), nil
}

// Past is the truth of revisions in local repositories, with the history that led there. It is not safe for concurrent use.
type Past struct {
	cfg    AtConfig
	locals map[string]*local
	now    *built
}

// OpenPast makes the truth as At does, and keeps the repositories open. The caller must Close it.
func OpenPast(ctx context.Context, cfg AtConfig) (*Past, error) {
	if cfg.Now.IsZero() {
		cfg.Now = time.Now()
	}
	p := &Past{cfg: cfg, locals: make(map[string]*local, len(cfg.Repositories))}
	if err := p.open(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Past) open(ctx context.Context) error {
	sources := make(map[string]*source, len(p.cfg.Repositories))
	var errs []error
	for _, r := range p.cfg.Repositories {
		l, err := openLocal(ctx, p.cfg, r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.locals[r.Name] = l
		sources[r.Name] = l.source(p.cfg.Now)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b := &builder{gate: p.cfg.Gate, repositories: p.cfg.Repositories, definitions: func() map[string]map[string]any { return byName(p.cfg.CRDs) }, engine: p.cfg.Engine, decryption: p.cfg.Decryption, partial: p.cfg.Partial}
	var err error
	p.now, err = b.build(ctx, nil, sources, p.cfg.Now)
	var s *stageError
	if errors.As(err, &s) && ctx.Err() == nil {
		return refusedBuild(p.cfg.Repositories, sources, s)
	}
	return err
}

// Truth is the truth of the revisions.
func (p *Past) Truth() *snapshot.Truth { return &snapshot.Truth{Current: p.now.Snapshot} }

// Close lets go of the repositories.
func (p *Past) Close() error {
	var errs []error
	for _, l := range p.locals {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// refusedBuild says which revision does not render; of several repositories the text of the error says which.
func refusedBuild(repositories []v1alpha1.TrustedRepository, sources map[string]*source, s *stageError) *Refusal {
	r := repositories[0]
	return &Refusal{Repository: r.Name, Branch: r.Spec.Branch, Commit: sources[r.Name].verified.Commit().ID, Stage: s.stage, Why: s.err.Error(), cause: s.err}
}

// local is a repository on this machine, verified up to a revision.
type local struct {
	*mirror.Repository
	line
	policies []git.Path
	vouched  *signing.Authority // of the anchor that was left for the revision itself; nil if it was not
}

// source is the repository for the builder. Where the revision is vouched for, so is what leads there from the anchor.
func (l *local) source(now time.Time) *source {
	s := &source{verified: l.verified, fetched: now, lineage: l.lineage, history: l.Repository, ancestor: l.ancestor(l.Repository)}
	if l.vouched != nil {
		from := l.verified
		s.vouched = true
		s.ancestor = func(ctx context.Context, id git.ID) (signing.Verified, error) {
			return l.vouched.Ancestor(ctx, l.Repository, from, id)
		}
	}
	return s
}

func openLocal(ctx context.Context, cfg AtConfig, r v1alpha1.TrustedRepository) (*local, error) {
	path := cfg.Paths[r.Name]
	if path == "" && filepath.IsAbs(r.Spec.URL) {
		path = r.Spec.URL
	}
	if path == "" {
		return nil, fmt.Errorf("repository %s: no copy of it on this machine is named", r.Name)
	}
	repo, err := mirror.OpenRepository(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", r.Name, err)
	}
	l := &local{Repository: repo, line: line{keep: true}, policies: PolicyFolders(cfg.Gate, r.Name)}
	if err := l.reach(ctx, r, cfg.Revisions[r.Name], cfg.Vouch); err != nil {
		return nil, errors.Join(err, repo.Close())
	}
	return l, nil
}

// reach verifies up to a revision, all or nothing.
func (l *local) reach(ctx context.Context, r v1alpha1.TrustedRepository, revision string, vouch bool) error {
	tip, err := l.find(ctx, r.Spec.Branch, revision)
	if err != nil {
		return fmt.Errorf("repository %s: %w", r.Name, err)
	}
	if vouch {
		if l.vouched, err = signing.NewAuthority(r.Name, r.Spec, l.policies...); err != nil {
			return fmt.Errorf("repository %s: %w", r.Name, err)
		}
		r.Spec.Anchor.Commit, r.Spec.SignerList = string(tip), ""
	}
	if l.authority, err = signing.NewAuthority(r.Name, r.Spec, l.policies...); err != nil {
		return fmt.Errorf("repository %s: %w", r.Name, err)
	}
	if err := l.begin(ctx, l.Repository); err != nil {
		return fmt.Errorf("repository %s: %w", r.Name, err)
	}
	refusal := func(commit git.ID, stage Stage, why string) error {
		return &Refusal{Repository: r.Name, Branch: r.Spec.Branch, Commit: commit, Stage: stage, Why: why}
	}
	_, refused, err := l.climb(ctx, l.Repository, tip)
	if errors.Is(err, signing.ErrNotDescendant) {
		return refusal(tip, StageFetch, fmt.Sprintf("%s does not descend from the trust anchor %s", tip.Short(), l.verified.Commit().ID.Short()))
	}
	if err != nil {
		return fmt.Errorf("repository %s: %w", r.Name, err)
	}
	if refused != nil {
		return refusal(refused.Commit, StageVerify, refused.Why)
	}
	return nil
}

// find is the commit that is meant: a revision, else the protected branch as it is here, else as the work tree's origin had it.
func (l *local) find(ctx context.Context, branch, revision string) (git.ID, error) {
	if revision != "" {
		return l.Resolve(ctx, revision)
	}
	id, err := l.Branch(branch)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = l.Resolve(ctx, "refs/remotes/origin/"+branch)
	}
	if err != nil {
		return "", fmt.Errorf("branch %s: %w", branch, err)
	}
	return id, nil
}

func byName(crds []map[string]any) map[string]map[string]any {
	out := make(map[string]map[string]any, len(crds))
	for _, crd := range crds {
		metadata, _ := crd["metadata"].(map[string]any)
		name, _ := metadata["name"].(string)
		out[name] = crd
	}
	return out
}
