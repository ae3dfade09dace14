package track

import (
	"context"
	"fmt"
	"iter"
	"maps"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
)

// Version is a declared object as one commit of the verified line left it.
type Version struct {
	Commit     *git.Commit
	Signatures []signing.Signature
	// Anchor: the commit is the trust anchor, which stands for everything before it.
	Anchor bool
	Object *manifest.Object
}

// Versions yields what a declared object was, newest first: the version of each commit that touched what it is rendered from, back to the commit
// that first declared it or to the anchor. Only the object's own repository goes back in time; what it draws from others is as it is now.
// A commit that did not render was never the truth, and counts as one with the next that did.
func (p *Past) Versions(ctx context.Context, e *snapshot.Entry) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		l := p.locals[e.Source.Repository]
		set, object := p.now.set, &e.Object
		at := int32(len(l.past)) - 1
		if pinned := e.Source.Commit; pinned != "" {
			at = l.lineage.index[pinned]
		}
		for {
			at = l.lineage.lastIndex(at, &object.Source)
			v := Version{Commit: l.past[at].Commit(), Signatures: l.past[at].Signatures(), Anchor: at == 0, Object: object}
			if !yield(v, nil) || at == 0 || e.Source.Commit != "" { // a named commit is what it is, wherever the branch stood
				return
			}
			var err error
			if at, set, err = p.before(ctx, e.Source.Repository, at, set); err != nil {
				yield(Version{}, err)
				return
			}
			if set == nil {
				return
			}
			if object = find(set, e.Key); object == nil || object.Source.Repository != e.Source.Repository {
				return
			}
		}
	}
}

// before renders the newest commit before one that renders; the set is nil if none does.
func (p *Past) before(ctx context.Context, repository string, at int32, previous *manifest.Set) (int32, *manifest.Set, error) {
	l := p.locals[repository]
	verified := make(map[string]signing.Verified, len(p.locals))
	for name, other := range p.locals {
		verified[name] = other.verified
	}
	for at--; at >= 0; at-- {
		verified[repository] = l.past[at]
		set, err := manifest.Render(ctx, manifest.Input{
			Gate: p.cfg.Gate, Repositories: p.cfg.Repositories, Verified: maps.Clone(verified), Previous: previous, Decryption: p.cfg.Decryption,
			Pinned: func(_ context.Context, name string, commit git.ID) (signing.Verified, error) {
				return p.locals[name].kept(commit)
			},
			Engine: p.cfg.Engine, Charts: chartsOf(p.cfg.Gate),
		})
		if err == nil {
			return at, set, nil
		}
		if ctx.Err() != nil {
			return at, nil, ctx.Err()
		}
	}
	return at, nil, nil
}

// kept is a commit of the line, by its id.
func (l *local) kept(id git.ID) (signing.Verified, error) {
	at, ok := l.lineage.index[id]
	if !ok {
		return signing.Verified{}, fmt.Errorf("commit %s %w", id.Short(), signing.ErrNotOnLine)
	}
	return l.past[at], nil
}

func find(set *manifest.Set, k manifest.Key) *manifest.Object {
	for _, o := range set.Objects {
		if o.Key == k {
			return o
		}
	}
	return nil
}
