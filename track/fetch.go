package track

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
)

// restore makes the truth of what was verified and published before a restart, and of what the mirrors hold beyond it: without the network.
// What was published is recorded already, and is not told again.
func (t *Tracker) restore(ctx context.Context) error {
	if t.restored {
		return nil
	}
	t.restored = true
	var g errgroup.Group
	for _, r := range t.repos {
		g.Go(func() error {
			if err := r.recall(ctx); err != nil {
				return fmt.Errorf("repository %s: %w", r.name, err)
			}
			return nil
		})
	}
	err := g.Wait()
	if err == nil {
		err = t.republish(ctx)
	}
	return errors.Join(err, t.advance(ctx))
}

// republish makes the last published revisions the truth again, if the mirrors hold all of them.
func (t *Tracker) republish(ctx context.Context) error {
	sources := make(map[string]*source, len(t.repos))
	for _, r := range t.repos {
		if r.marked.IsZero() {
			return nil
		}
		sources[r.name] = r.source()
		sources[r.name].verified = r.marked
	}
	next, err := t.builder.build(ctx, nil, sources, t.cfg.Now())
	if err != nil {
		return err // another version of the gate may not render what this one does; the newest revision is tried next
	}
	if t.cfg.Observer != nil {
		ps := make([]Publication, len(t.repos))
		for i, r := range t.repos {
			ps[i] = r.publication(r.marked, next)
		}
		if err := t.cfg.Observer.Restored(ctx, ps); err != nil {
			return fmt.Errorf("what judges could not be recorded: %w", err)
		}
		for i, r := range t.repos {
			r.handedOver(ps[i])
		}
	}
	for _, r := range t.repos {
		r.published = r.mark
	}
	t.swap(next)
	return nil
}

// advance judges what the mirrors hold already.
func (t *Tracker) advance(ctx context.Context) error {
	var g errgroup.Group
	for _, r := range t.repos {
		if tip := r.mirror.Candidate(); tip != "" {
			g.Go(func() error { return t.judge(ctx, r, tip) })
		}
	}
	return errors.Join(g.Wait(), t.settle(ctx))
}

// fetch visits the Git host and judges what it says.
func (t *Tracker) fetch(ctx context.Context, r *repository) error {
	began := t.cfg.Now()
	fetching, span := t.cfg.Tracer.Start(ctx, "fetch")
	span.Set("git.repository", r.name)
	tip, err := r.mirror.Fetch(fetching)
	span.End(err)
	t.metrics.fetchTime.WithLabelValues(r.name).Observe(t.cfg.Now().Sub(began).Seconds())
	var rewound *mirror.NotFastForwardError
	if errors.As(err, &rewound) {
		t.metrics.fetches.WithLabelValues(r.name, "refused").Inc()
		r.fetchError = ""
		r.refused, r.judged = r.refusal(rewound.Tip, StageFetch, rewritten(rewound.Tip, rewound.Floor)), rewound.Tip
		return nil
	}
	if err != nil {
		t.metrics.fetches.WithLabelValues(r.name, "failed").Inc()
		r.fetchError = err.Error()
		return fmt.Errorf("repository %s: %w", r.name, err)
	}
	t.metrics.fetches.WithLabelValues(r.name, "ok").Inc()
	r.fetchError = ""
	return errors.Join(r.hear(began), t.judge(ctx, r, tip))
}

// judge verifies up to a commit that the mirror holds and moves the mirror's floor to what was accepted.
func (t *Tracker) judge(ctx context.Context, r *repository, tip git.ID) error {
	verifying, span := t.cfg.Tracer.Start(ctx, "verify")
	span.Set("git.repository", r.name)
	span.Set("git.commit", string(tip))
	accepted, err := r.judge(verifying, tip)
	span.Count("git.commits", accepted)
	span.End(err)
	t.metrics.commits.WithLabelValues(r.name).Add(float64(accepted))
	if err != nil {
		r.fetchError = err.Error()
		return fmt.Errorf("repository %s: %w", r.name, err)
	}
	if accepted > 0 {
		t.cfg.Log.Info("commits are verified", "repository", r.name, "commit", r.verified.Commit().ID, "commits", accepted)
	}
	if r.high != "" {
		return nil // not yet where it was before the restart
	}
	if id := r.verified.Commit().ID; accepted > 0 && !r.seen.holds(id) {
		if err := r.seen.add(id, t.cfg.Now()); err != nil {
			return fmt.Errorf("repository %s: remember when commits were seen: %w", r.name, err)
		}
	}
	return r.raise(ctx)
}

// raise moves the floor of the mirror to the last verified commit. A floor that is ahead of it stays: an anchor was moved back.
func (r *repository) raise(ctx context.Context) error {
	to, floor := r.verified.Commit().ID, r.mirror.Floor()
	if floor == to {
		return nil
	}
	if floor != "" {
		ahead, err := r.mirror.Repository().Descends(ctx, floor, to)
		if err != nil || ahead {
			return err
		}
	}
	return r.mirror.Advance(ctx, to)
}

// save makes the marks durable, with these published commits, if anything moved.
func (t *Tracker) save(published map[string]git.ID) error {
	next := state{Schema: 1, Repositories: maps.Clone(t.state.Repositories)}
	moved := false
	for _, r := range t.repos {
		s, was := r.state(), next.Repositories[r.name]
		if id := published[r.name]; id != "" {
			s.Published = id
		}
		s.At = was.At
		if s != was {
			s.At = t.cfg.Now()
			next.Repositories[r.name], moved = s, true
		}
	}
	if !moved {
		return nil
	}
	if err := writeState(t.cfg.Dir, next); err != nil {
		return fmt.Errorf("remember what was verified: %w", err)
	}
	t.state = next
	return nil
}
