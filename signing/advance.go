package signing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/git"
)

// Refused is a commit that the rules do not accept: we looked, and the answer is no.
type Refused struct {
	Commit git.ID
	Author git.Person // as the commit names it, as far as it can be read: for people, never believed
	Cause  Cause
	Why    string // one sentence that names key or principal, and what to do
}

func (r *Refused) String() string {
	return fmt.Sprintf("commit %s: %s (%s)", r.Commit.Short(), r.Why, r.Cause)
}

// Advance verifies the first-parent line from a verified commit (exclusive) to a tip (inclusive). accepted are the newly verified commits, oldest first,
// up to the last good one; refused says which commit comes next and why, nil if the tip was reached. err is ErrNotDescendant, or a failure of
// ours: history that cannot be read, the context.
//
// Each commit is judged by the signer list of its parents, so that all can be judged at once, on all cores.
func (a *Authority) Advance(ctx context.Context, h History, from Verified, tip git.ID) (accepted []Verified, refused *Refused, err error) {
	if from.IsZero() || from.repository != a.repository || from.branch != a.branch {
		return nil, nil, fmt.Errorf("the commit to go on from is not one of %s, branch %s", a.repository, a.branch)
	}
	a.advancing.Lock()
	defer a.advancing.Unlock()
	steps, aside, err := line(ctx, h, from.commit.ID, tip)
	if err != nil {
		return nil, nil, err
	}
	if aside {
		return nil, &Refused{Commit: tip, Cause: CauseLine, Why: fmt.Sprintf("the first-parent line of %s does not pass through %s, the last verified commit: "+
			"merge into %s, not the other way round", tip.Short(), from.commit.ID.Short(), a.branch)}, nil
	}
	if err := a.sides(ctx, h, from.commit.ID, steps); err != nil {
		return nil, nil, err
	}
	judgements, err := a.judgeAll(ctx, h, steps, true, nil)
	if err != nil {
		a.known = ancestry{}
		return nil, nil, err
	}
	if a.cache != nil {
		defer func() { err = errors.Join(err, a.cache.flush()) }()
	}
	last := from.commit.ID
	for i, j := range judgements {
		if j.Refused != nil {
			if a.known.set != nil {
				a.known.back(steps[i:], last)
			}
			return accepted, j.Refused, nil
		}
		accepted = append(accepted, a.verified(h, j.Commit, j.Signatures))
		if a.cache != nil && !steps[i].cut { // what is cut off may be judged differently when it is whole
			a.cache.add(steps[i].id, j.Signatures)
		}
		last = steps[i].id
	}
	return accepted, nil, nil
}

// judgeAll judges the commits of a line, all cores at once. With stopAtRefusal, the judgements end with the first refusal. progress, if it is not nil, is
// told how many of how many are done, from any goroutine.
func (a *Authority) judgeAll(ctx context.Context, h History, steps []step, stopAtRefusal bool, progress func(done, total int)) ([]Judgement, error) {
	judgements := make([]Judgement, len(steps))
	var next, stop atomic.Int64 // the next to judge, and where judging ends: behind the first refusal that is known
	var judged atomic.Int64
	stop.Store(int64(len(steps)))
	at := a.now()
	g, ctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for {
				i := next.Add(1) - 1
				if i >= stop.Load() {
					return nil
				}
				j, err := a.judge(ctx, h, &steps[i], at, false)
				if err != nil {
					return fmt.Errorf("verify commit %s: %w", steps[i].id.Short(), err)
				}
				judgements[i] = j
				for stopAtRefusal && j.Refused != nil {
					if old := stop.Load(); i+1 >= old || stop.CompareAndSwap(old, i+1) {
						break
					}
				}
				if progress != nil {
					progress(int(judged.Add(1)), len(steps))
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return judgements[:stop.Load()], nil
}

// judge judges one commit of the line. err is a failure of ours.
func (a *Authority) judge(ctx context.Context, h History, s *step, at time.Time, explain bool) (Judgement, error) {
	if err := ctx.Err(); err != nil {
		return Judgement{}, err
	}
	j := Judgement{ID: s.id, Merged: len(s.side), explain: explain}
	c, err := s.parse(ctx, h)
	if err == nil {
		j.Commit = c
		if known, ok := a.cache.look(s.id); ok && !explain {
			j.Signatures = known
			return j, nil
		}
		if err = a.judgeCommit(ctx, h, c, s, at, &j); err == nil {
			return j, nil
		}
	}
	var r *refusal
	var malformed *git.MalformedError
	switch {
	case errors.As(err, &malformed):
		j.Refused = &Refused{Commit: s.id, Author: malformed.Author, Cause: CauseMalformed, Why: malformed.Why}
		return j, nil
	case errors.As(err, &r):
		j.Refused = &Refused{Commit: s.id, Cause: r.cause, Why: r.why}
		if j.Commit != nil {
			j.Refused.Author = j.Commit.Author
		}
		return j, nil
	}
	return Judgement{}, err
}

// parse reads the commit of a step, once.
func (s *step) parse(ctx context.Context, h History) (*git.Commit, error) {
	if s.raw == nil {
		return parse(ctx, h, s.id)
	}
	raw := s.raw
	s.raw = nil
	return git.ParseCommit(s.id, raw)
}

// parse reads a commit. The error may be a *git.MalformedError.
func parse(ctx context.Context, h History, id git.ID) (*git.Commit, error) {
	raw, err := h.Commit(ctx, id)
	if err != nil {
		return nil, err
	}
	return git.ParseCommit(id, raw)
}

// judgeCommit does it all for one commit of the line, in this order: who signed, by the lists of all parents; whether the next list can be
// read; who signed what it merges; whether all of them are enough for each changed path. What it finds on the way goes into j.
func (a *Authority) judgeCommit(ctx context.Context, h History, c *git.Commit, s *step, at time.Time, j *Judgement) error {
	lists, err := a.parentLists(ctx, h, c, nil)
	if err != nil {
		return err
	}
	own, err := verifyAll(lists, c, at)
	if err != nil {
		return err
	}
	j.Signatures = []Signature{own}
	parent, err := treeOf(ctx, h, c.Parents[0])
	if err != nil {
		return err
	}
	changed, err := h.Changed(ctx, parent, c.Tree)
	if err != nil {
		return err
	}
	if a.listPath != "" {
		if err := a.nextList(ctx, h, c, parent); err != nil {
			return err
		}
	}
	vouch := []vouched{{signature: own}}
	if len(s.side) > 0 || s.cut {
		merged, err := a.judgeSide(ctx, h, c, s, lists[0], changed, at)
		if err != nil {
			return err
		}
		vouch = append(vouch, merged...)
	}
	for _, v := range vouch[1:] {
		if !slices.Contains(j.Signatures, v.signature) {
			j.Signatures = append(j.Signatures, v.signature)
		}
	}
	return a.enough(changed, vouch, lists[0], j)
}

// treeOf is the tree of a commit that need not be in the accepted shape.
func treeOf(ctx context.Context, h History, id git.ID) (git.ID, error) {
	raw, err := h.Commit(ctx, id)
	if err != nil {
		return "", err
	}
	tree, _, err := git.Links(raw)
	if err != nil {
		return "", fmt.Errorf("commit %s: %w", id, err)
	}
	return tree, nil
}

// parentLists are the signer lists by which a commit is judged, the first parent's first, each once: that of the line's verified parent (line; nil for
// a commit of the line itself), and those of all its parents.
func (a *Authority) parentLists(ctx context.Context, h History, c *git.Commit, line *list) (lists []*list, err error) {
	if line != nil {
		lists = append(lists, line)
	}
	if a.listPath == "" {
		return []*list{a.base}, nil
	}
	for _, p := range c.Parents {
		tree, err := treeOf(ctx, h, p)
		if err != nil {
			return nil, err
		}
		l, err := a.listAt(ctx, h, tree)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(lists, l) {
			lists = append(lists, l)
		}
	}
	return lists, nil
}

// nextList refuses a commit after which nobody could tell who may sign: the list gone, or not readable.
func (a *Authority) nextList(ctx context.Context, h History, c *git.Commit, parent git.ID) error {
	next, err := a.listAt(ctx, h, c.Tree)
	if err != nil || next != a.base {
		return err
	}
	before, err := a.listAt(ctx, h, parent)
	if err == nil && before != a.base {
		err = refuse(CauseSignerList, "it takes the signer list %s away", a.listPath)
	}
	return err
}

// judgeSide finds who vouches for what a merge brings in. With full history, every such commit must be signed; otherwise one that is not,
// or not by somebody who counts, simply does not count.
func (a *Authority) judgeSide(ctx context.Context, h History, merge *git.Commit, s *step, line *list, changed []git.Path, at time.Time) ([]vouched, error) {
	if s.cut && a.full {
		return nil, fmt.Errorf("the history that merge %s brings in is cut off (a shallow clone?)", merge.ID.Short())
	}
	var vouch []vouched
	for _, id := range s.side {
		v, err := a.judgeMerged(ctx, h, id, merge, line, changed, at)
		if err == nil {
			if len(v.paths) > 0 {
				vouch = append(vouch, v)
			}
			continue
		}
		var r *refusal
		var malformed *git.MalformedError
		cause := CauseMalformed
		switch {
		case errors.As(err, &r):
			cause = r.cause
		case errors.As(err, &malformed), errors.Is(err, fs.ErrNotExist) && !a.full:
		default:
			return nil, err
		}
		if a.full {
			return nil, refuse(cause, "it merges commit %s: %v", id.Short(), err)
		}
	}
	return vouch, nil
}

// judgeMerged tells who signed a merged-in commit, and which paths of the merge stand as that commit changed them. Only for
// these does the signature vouch: what others changed later, or the merge itself, its signer has not seen.
func (a *Authority) judgeMerged(ctx context.Context, h History, id git.ID, merge *git.Commit, line *list, changed []git.Path, at time.Time) (vouched, error) {
	c, err := parse(ctx, h, id)
	if err != nil {
		return vouched{}, err
	}
	lists, err := a.parentLists(ctx, h, c, line)
	if err != nil {
		return vouched{}, err
	}
	sig, err := verifyAll(lists, c, at)
	if err != nil {
		return vouched{}, err
	}
	v := vouched{signature: sig, paths: []git.Path{}}
	var before git.ID
	if len(c.Parents) > 0 {
		if before, err = treeOf(ctx, h, c.Parents[0]); err != nil {
			return vouched{}, err
		}
	}
	own, err := h.Changed(ctx, before, c.Tree)
	if err != nil {
		return vouched{}, err
	}
	own = slices.DeleteFunc(own, func(p git.Path) bool { _, in := slices.BinarySearch(changed, p); return !in })
	if len(own) == 0 {
		return v, nil
	}
	later, err := h.Changed(ctx, c.Tree, merge.Tree)
	if err != nil {
		return vouched{}, err
	}
	v.paths = slices.DeleteFunc(own, func(p git.Path) bool { _, differs := slices.BinarySearch(later, p); return differs })
	return v, nil
}
