package track

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
)

const (
	// retryAfter is the least time between two tries to publish the same commits: what did not render will not by being asked again, unless
	// it was a limit of time or memory or a full disk.
	retryAfter = 15 * time.Second
	// maxWhy bounds what status, log and records are told of one failure, in bytes.
	maxWhy = 8 << 10
)

// failure remembers commits that could not be published.
type failure struct {
	commits string
	at      time.Time
}

// publish makes the truth of what is verified. An error is our own failure; what is wrong with a revision becomes a Refusal.
func (t *Tracker) publish(ctx context.Context) error {
	var moved []*repository
	for _, r := range t.repos {
		if r.verified.IsZero() || r.high != "" {
			if r.published == "" {
				return nil // it is not known yet what this repository declares
			}
			continue
		}
		if r.verified.Commit().ID != r.published {
			moved = append(moved, r)
		}
	}
	if len(moved) == 0 {
		return t.retype(ctx)
	}
	wanted := commits(moved)
	if t.failed.commits == wanted && t.cfg.Now().Sub(t.failed.at) < retryAfter {
		return nil
	}
	t.failed = failure{}
	for _, r := range moved {
		t.passThrough(ctx, r)
	}
	// Usually one repository moved. If several did and one of them is bad, the others need not wait for it.
	err := t.tryAll(ctx, moved)
	if err != nil && len(moved) > 1 && t.current != nil {
		err = nil
		for _, r := range moved {
			err = errors.Join(err, t.tryAll(ctx, []*repository{r}))
		}
	}
	if err != nil {
		t.failed = failure{wanted, t.cfg.Now()}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
}

// passThrough makes each of the last commits that came at once the truth for a moment, as if they had come one by one: an agent may have looked
// at the branch between two of them, and what it applies is then acceptable for the window, as it is to a replica that looked more often. What is wrong
// with one of them is no matter, since another followed.
func (t *Tracker) passThrough(ctx context.Context, r *repository) {
	if t.current == nil || r.published == "" || t.cfg.Gate.Window.Duration == 0 || !r.lineage.holds(r.published) {
		return
	}
	for _, v := range r.lately {
		if r.lineage.index[v.Commit().ID] <= r.lineage.index[r.published] {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		next, err := t.builder.build(ctx, t.current, t.sources([]*repository{r}, v), t.cfg.Now())
		if err == nil {
			err = t.observe(ctx, r, v, next)
		}
		if err != nil {
			t.cfg.Log.Info("a commit that another followed at once is not the truth", "repository", r.name, "commit", v.Commit().ID, "err", bound(err.Error()))
			continue
		}
		r.mark, r.marked, r.published = v.Commit().ID, v, v.Commit().ID
		t.swap(next)
	}
}

// sources are the repositories as what is to be the truth: those that moved at a commit, or as far as they are verified if it is zero; the others as they are.
func (t *Tracker) sources(moved []*repository, at signing.Verified) map[string]*source {
	sources := make(map[string]*source, len(t.repos))
	for _, r := range t.repos {
		s := r.source()
		switch {
		case !slices.Contains(moved, r):
			s.verified = r.marked // what of it is the truth
		case !at.IsZero():
			s.verified = at
		}
		sources[r.name] = s
	}
	return sources
}

// retype makes the truth anew of the same commits if the CRDs of the cluster changed: nothing is published by that, but fields compare otherwise.
func (t *Tracker) retype(ctx context.Context) error {
	if t.current == nil || reflect.DeepEqual(t.builder.defined(), t.current.defined) {
		return nil
	}
	sources := make(map[string]*source, len(t.repos))
	for _, r := range t.repos {
		s := r.source()
		s.verified = r.marked
		sources[r.name] = s
	}
	next, err := t.builder.build(ctx, t.current, sources, t.cfg.Now())
	if err != nil {
		return err
	}
	t.swap(next)
	return nil
}

func commits(repos []*repository) string {
	var ids []string
	for _, r := range repos {
		ids = append(ids, r.name+"@"+string(r.verified.Commit().ID))
	}
	return strings.Join(ids, " ")
}

// tryAll publishes the verified commits of these repositories beside the published ones of the others, and notes why if it cannot.
func (t *Tracker) tryAll(ctx context.Context, moved []*repository) error {
	began := t.cfg.Now()
	err := t.try(ctx, moved)
	if ctx.Err() != nil {
		return ctx.Err() // it was not looked at to the end
	}
	for _, r := range moved {
		r.unpublished = nil
		if err == nil {
			continue
		}
		stage, cause := StagePublish, err
		var s *stageError
		if errors.As(err, &s) {
			stage, cause = s.stage, s.err
		}
		r.unpublished = r.refusal(r.verified.Commit().ID, stage, bound(cause.Error()))
	}
	if err == nil {
		t.metrics.publish.Observe(t.cfg.Now().Sub(began).Seconds())
	}
	return err
}

// bound keeps the first lines of a long text.
func bound(why string) string {
	if len(why) <= maxWhy {
		return why
	}
	cut := strings.ToValidUTF8(why[:maxWhy], "")
	if i := strings.LastIndexByte(cut, '\n'); i > 0 {
		cut = cut[:i]
	}
	return cut + "\n… and more"
}

// try builds the snapshot, records it and makes it the truth.
func (t *Tracker) try(ctx context.Context, moved []*repository) (err error) {
	ctx, span := t.cfg.Tracer.Start(ctx, "publish")
	defer func() { span.End(err) }()
	next, err := t.builder.build(ctx, t.current, t.sources(moved, signing.Verified{}), t.cfg.Now())
	if err != nil {
		return err
	}
	// The fact is recorded first, then remembered, then it becomes the truth. A crash after the record leaves the old mark: the restart publishes, and
	// records, once more.
	for _, r := range moved {
		if err := t.observe(ctx, r, r.verified, next); err != nil {
			return &stageError{StagePublish, fmt.Errorf("the publication could not be recorded: %w", err)}
		}
	}
	marks := make(map[string]git.ID, len(moved))
	for _, r := range moved {
		marks[r.name] = r.verified.Commit().ID
	}
	if err := t.save(marks); err != nil {
		return &stageError{StagePublish, err}
	}
	for _, r := range moved {
		r.mark, r.marked = r.verified.Commit().ID, r.verified
		r.published = r.mark
	}
	t.swap(next)
	for _, r := range moved {
		t.cfg.Log.Info("a revision is the truth", "repository", r.name, "commit", r.published, "objects", next.Len(), "put", next.put, "gone", next.gone)
		for _, u := range next.unfollowed(r.name) {
			t.cfg.Log.Warn("not followed, so what it brings is refused", "repository", r.name, "what", u)
		}
	}
	return nil
}

func (t *Tracker) observe(ctx context.Context, r *repository, v signing.Verified, next *built) error {
	if t.cfg.Observer == nil {
		return nil
	}
	p := r.publication(v, next)
	if err := t.cfg.Observer.Published(ctx, p); err != nil {
		return err
	}
	r.handedOver(p)
	return nil
}

// publication tells of a verified commit that becomes the truth.
func (r *repository) publication(v signing.Verified, next *built) Publication {
	l, id := r.lineage, v.Commit().ID
	p := Publication{
		Repository: r.name, Branch: r.spec.Branch, Commit: v.Commit(), Signatures: v.Signatures(), From: r.mark,
		Objects: next.Len(), Put: next.put, Gone: next.gone,
		Judged: l.commits[l.index[id]].list, Merged: l.commits[l.index[id]].merged, Next: l.listAfter(id), Trust: r.authority.Trust(), Policies: next.Policies,
	}
	from, to := l.index[r.mark], l.index[id] // of a mark that is not on the line any more: from the anchor
	for _, s := range l.lists {
		if s.at > from && s.at <= to {
			p.Relisted = append(p.Relisted, s)
		}
		if s.Content != nil {
			p.Lists = append(p.Lists, s)
		}
	}
	for _, s := range l.aside {
		if s.Content != nil {
			p.Lists = append(p.Lists, s)
		}
	}
	return p
}

// handedOver lets go of what the observer has.
func (r *repository) handedOver(p Publication) {
	for _, s := range p.Lists {
		s.Content = nil
	}
}

// swap makes a snapshot the truth; the one before stays acceptable for the window.
func (t *Tracker) swap(next *built) {
	truth := &snapshot.Truth{Current: next.Snapshot, Recent: t.Truth().Recent}
	if old := t.current; old != nil && next.put+next.gone > 0 {
		truth.Recent = append([]*snapshot.Snapshot{old.Snapshot.Superseded()}, truth.Recent...)
	}
	truth.Recent = t.within(truth)
	t.warn(next)
	t.current = next
	t.truth.Store(truth)
	for _, r := range t.repos {
		t.tidy(r.changed)
	}
	t.tidy(t.kept)
}

// tidy writes a cache anew if that is worth it. nil is none.
func (t *Tracker) tidy(k *keptFile) {
	if k == nil {
		return
	}
	if err := k.tidy(); err != nil {
		t.cfg.Log.Warn("a cache could not be written anew", "what", k.what.String(), "err", err)
	}
}

// warn tells once what a revision asks for and what is not followed (what it brings is not declared), or will be applied by nobody whom the gate knows.
func (t *Tracker) warn(next *built) {
	var before []manifest.Problem
	if t.current != nil {
		before = t.current.set.Unfollowed
	}
	for _, p := range next.set.Unfollowed {
		if !slices.Contains(before, p) {
			t.cfg.Log.Warn("Git asks for something that is not followed", "repository", p.Repository, "path", p.Path, "line", p.Line, "why", p.What)
		}
	}
	var listed []string
	if t.current != nil {
		listed = t.current.set.UnlistedUsers()
	}
	for _, u := range next.set.UnlistedUsers() {
		if !slices.Contains(listed, u) {
			t.cfg.Log.Warn("an agent acts as a user whom the configuration does not list", "what", u)
		}
	}
}

// within are the superseded snapshots that are still inside the accepted window.
func (t *Tracker) within(truth *snapshot.Truth) []*snapshot.Snapshot {
	superseded := truth.Current.Published
	for i, s := range truth.Recent {
		if i >= maxRecent || t.cfg.Now().Sub(superseded) > t.cfg.Gate.Window.Duration {
			return slices.Clone(truth.Recent[:i])
		}
		superseded = s.Published
	}
	return truth.Recent
}

// refresh tells the truth when the repositories were last heard of and what of them is not believed, and lets go of what left the window.
func (t *Tracker) refresh() {
	truth := t.Truth()
	if truth.Current == nil {
		return
	}
	revisions := maps.Clone(truth.Current.Revisions)
	heard := false
	for _, r := range t.repos {
		rev, unbelieved := revisions[r.name], r.unbelieved()
		if rev != nil && (!rev.Fetched.Equal(r.heard) || !reflect.DeepEqual(rev.Unbelieved, unbelieved)) {
			again := *rev
			again.Fetched, again.Unbelieved = r.heard, unbelieved
			revisions[r.name], heard = &again, true
		}
	}
	recent := t.within(truth)
	if !heard && len(recent) == len(truth.Recent) {
		return
	}
	current := *t.current
	current.Snapshot = truth.Current.Heard(revisions)
	t.current = &current
	t.truth.Store(&snapshot.Truth{Current: current.Snapshot, Recent: recent})
}

// unbelieved is what the branch holds beyond the truth and why that is not it; nil if there is nothing.
func (r *repository) unbelieved() *snapshot.Unbelieved {
	x := r.refused
	if x == nil {
		x = r.unpublished
	}
	if x == nil {
		return nil
	}
	why, _, _ := strings.Cut(x.Why, "\n")
	return &snapshot.Unbelieved{Commit: x.Commit, Why: why}
}

// source is the repository as it is verified now.
func (r *repository) source() *source {
	h := r.mirror.Repository()
	return &source{verified: r.verified, fetched: r.heard, lineage: r.lineage, history: h, ancestor: r.ancestor(h)}
}
