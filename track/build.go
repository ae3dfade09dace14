package track

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/trace"
)

// builder makes snapshots of verified commits: for the loop and for the tools alike.
type builder struct {
	gate         v1alpha1.GateSpec
	repositories []v1alpha1.TrustedRepository
	// definitions are CRDs that Git need not declare, by name; those of Git go before them. nil is none. A map that was returned never changes.
	definitions func() map[string]map[string]any
	engine      manifest.Engine
	decryption  *manifest.Decryption
	keep        manifest.Keep // nil keeps nothing
	partial     bool          // what does not render is left out
	tracer      *trace.Tracer // nil is none
}

// defined are the CRDs of the moment.
func (b *builder) defined() map[string]map[string]any {
	if b.definitions == nil {
		return nil
	}
	return b.definitions()
}

// built is a snapshot with what the next one is made from. It is immutable.
type built struct {
	*snapshot.Snapshot
	set       *manifest.Set
	entries   entries
	defined   map[string]map[string]any // the CRDs beside those of Git, by name
	policies  []git.ID                  // the folders of the policies, as the configuration lists them
	put, gone int                       // how many objects are new or differ, and how many are no longer declared
}

// unfollowed names what the rendering does not follow of one repository.
func (b *built) unfollowed(repository string) []string {
	var list []string
	for _, p := range b.set.Unfollowed {
		if p.Repository == repository {
			list = append(list, p.String())
		}
	}
	return list
}

// stageError says at which stage a revision failed. The cause is told to people word for word.
type stageError struct {
	stage Stage
	err   error
}

func (e *stageError) Error() string { return fmt.Sprintf("%s: %v", e.stage, e.err) }
func (e *stageError) Unwrap() error { return e.err }

// chartsOf is the folder of packed charts that a gate names, nil if it names none.
func chartsOf(gate v1alpha1.GateSpec) fs.FS {
	if gate.Charts == "" {
		return nil
	}
	return os.DirFS(gate.Charts)
}

// build renders, compiles and indexes what the sources declare. prev is what was built before, nil at first.
func (b *builder) build(ctx context.Context, prev *built, sources map[string]*source, now time.Time) (*built, error) {
	in := manifest.Input{Gate: b.gate, Repositories: b.repositories, Verified: make(map[string]signing.Verified, len(sources)), Engine: b.engine, Decryption: b.decryption, Keep: b.keep,
		Charts: chartsOf(b.gate), Partial: b.partial}
	a := &assembly{ctx: ctx, sources: sources, defined: b.defined()}
	parts := snapshot.Parts{Revisions: make(map[string]*snapshot.Revision, len(sources)), Published: now}
	in.Pinned = func(ctx context.Context, repository string, commit git.ID) (signing.Verified, error) {
		return sources[repository].pinned(ctx, commit)
	}
	if prev != nil {
		in.Previous, a.old, a.was, a.wasDefined = prev.set, prev.Snapshot, prev.entries, prev.defined
	}
	for name, s := range sources {
		in.Verified[name] = s.verified
		s.revision = &snapshot.Revision{
			Repository: name, Branch: s.verified.Branch(), Commit: s.verified.Commit(), Signatures: s.verified.Signatures(), Fetched: s.fetched,
		}
		s.moved = prev == nil || prev.Revisions[name] == nil || prev.Revisions[name].Commit.ID != s.revision.Commit.ID
		parts.Revisions[name] = s.revision
	}
	rendering, span := b.tracer.Start(ctx, "render")
	set, err := manifest.Render(rendering, in)
	span.End(err)
	if err != nil {
		return nil, &stageError{StageRender, err}
	}
	if err := a.run(set.Objects); err != nil {
		return nil, &stageError{StageRender, err}
	}
	parts.Types, parts.Rendered = a.types, set
	out := &built{set: set, entries: a.now, defined: a.defined, put: len(a.put), gone: len(a.gone)}
	compiling, span := b.tracer.Start(ctx, "compile")
	parts.Policies, out.policies, err = b.compile(compiling, prev, sources)
	span.End(err)
	if err != nil {
		return nil, &stageError{StagePolicy, err}
	}
	if prev == nil {
		out.Snapshot = snapshot.New(parts, a.put)
		return out, nil
	}
	if out.put+out.gone == 0 {
		parts.Published = prev.Published // its objects are the truth since then
	}
	out.Snapshot = prev.Next(parts, a.put, a.gone)
	return out, nil
}

// compile loads the policies, or takes them over if their folders are as they were.
func (b *builder) compile(ctx context.Context, prev *built, sources map[string]*source) (*policy.Set, []git.ID, error) {
	var folders []policy.Source
	var ids []git.ID
	var errs []error
	for _, p := range b.gate.Policies {
		src := sources[p.Repository]
		if src == nil {
			errs = append(errs, fmt.Errorf("policies: repository %s is not configured", p.Repository))
			continue
		}
		path, err := git.ParsePath(p.Path)
		if err != nil {
			errs = append(errs, fmt.Errorf("policies: %w", err))
			continue
		}
		id, err := src.verified.Tree().ID(path)
		if err == nil && id == "" {
			err = errors.New("there is no such folder")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%s: %w", p.Repository, path, err))
			continue
		}
		folders, ids = append(folders, policy.Source{Verified: src.verified, Path: path}), append(ids, id)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	if prev != nil && slices.Equal(prev.policies, ids) {
		return prev.Policies, ids, nil
	}
	set, err := policy.Load(ctx, folders...)
	return set, ids, err
}

// PolicyFolders are the folders of a repository that hold policies, as a gate's configuration names them.
func PolicyFolders(gate v1alpha1.GateSpec, repository string) []git.Path {
	var folders []git.Path
	for _, p := range gate.Policies {
		if path, err := git.ParsePath(p.Path); err == nil && p.Repository == repository {
			folders = append(folders, path)
		}
	}
	return folders
}
