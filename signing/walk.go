package signing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/commitgate/commitgate/git"
)

// step is one commit of the first-parent line, with what it brings in.
type step struct {
	id      git.ID
	raw     []byte // the commit, until it is parsed; nil if it must be read again
	parents []git.ID
	side    []git.ID // commits that become reachable with it, besides itself; in no order that matters
	cut     bool     // the history ends before all of these could be found
}

// ancestry is what a commit of the line is or descends from, as far as the objects go. It is closed: with a commit, it holds all that
// come before it.
type ancestry struct {
	of  git.ID // "" if it is not known yet
	set map[git.ID]bool
}

// maxKept bounds the commits that are kept from finding the line until they are judged, in bytes: some fifty thousand.
const maxKept = 64 << 20

// line finds the first-parent line from a commit (exclusive) to a tip (inclusive), oldest first. If the line does not pass through
// that commit, refused is set although the tip descends from it, or else err is ErrNotDescendant.
func line(ctx context.Context, h History, from, tip git.ID) (steps []step, refused bool, err error) {
	cut, kept := false, 0
	for id := tip; id != from; {
		raw, err := h.Commit(ctx, id)
		if errors.Is(err, fs.ErrNotExist) && id != tip {
			cut = true
			break
		}
		if err != nil {
			return nil, false, err
		}
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		_, parents, err := git.Links(raw)
		if err != nil {
			return nil, false, fmt.Errorf("commit %s: %w", id, err)
		}
		s := step{id: id, parents: parents}
		if kept+len(raw) <= maxKept {
			s.raw, kept = raw, kept+len(raw)
		}
		steps = append(steps, s)
		if len(parents) == 0 {
			break
		}
		id = parents[0]
	}
	if n := len(steps); n == 0 || len(steps[n-1].parents) > 0 && steps[n-1].parents[0] == from {
		slices.Reverse(steps)
		return steps, false, nil
	}
	found := false
	complete, err := ancestors(ctx, h, []git.ID{tip}, nil, func(id git.ID, _ []git.ID) bool {
		found = found || id == from
		return !found
	})
	switch {
	case err != nil:
		return nil, false, err
	case found:
		return nil, true, nil
	case cut || !complete:
		return nil, false, fmt.Errorf("the history of %s ends before %s is reached: it is cut off (a shallow clone?)", tip.Short(), from.Short())
	}
	return nil, false, fmt.Errorf("%s %w, %s", tip.Short(), ErrNotDescendant, from.Short())
}

// ancestors visits commits and what they descend from, each once, but for those in known and what comes before them. It goes
// on while visit says so, and tells whether all objects were there.
func ancestors(ctx context.Context, h History, start []git.ID, known map[git.ID]bool, visit func(id git.ID, parents []git.ID) bool) (complete bool, err error) {
	complete = true
	seen := map[git.ID]bool{}
	stack := slices.Clone(start)
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if known[id] || seen[id] {
			continue
		}
		seen[id] = true
		raw, err := h.Commit(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			complete = false
			continue
		}
		if err != nil {
			return false, err
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		_, parents, err := git.Links(raw)
		if err != nil {
			return false, fmt.Errorf("commit %s: %w", id, err)
		}
		if !visit(id, parents) {
			return complete, nil
		}
		stack = append(stack, parents...)
	}
	return complete, nil
}

// sides finds what each merge of the line brings in. It needs to know all that the line's beginning descends from, which is read
// once and then kept up; a line without merges costs nothing.
func (a *Authority) sides(ctx context.Context, h History, from git.ID, steps []step) error {
	if !slices.ContainsFunc(steps, func(s step) bool { return len(s.parents) > 1 }) {
		if a.known.of == from {
			a.known.extend(steps)
		}
		return nil
	}
	if a.known.of != from {
		set := map[git.ID]bool{}
		if _, err := ancestors(ctx, h, []git.ID{from}, nil, func(id git.ID, _ []git.ID) bool { set[id] = true; return true }); err != nil {
			return err
		}
		a.known = ancestry{of: from, set: set}
	}
	for i := range steps {
		s := &steps[i]
		if len(s.parents) > 1 {
			complete, err := ancestors(ctx, h, s.parents[1:], a.known.set, func(id git.ID, _ []git.ID) bool { s.side = append(s.side, id); return true })
			if err != nil {
				a.known = ancestry{}
				return err
			}
			s.cut = !complete
		}
		a.known.extend(steps[i : i+1])
	}
	return nil
}

func (k *ancestry) extend(steps []step) {
	for _, s := range steps {
		k.set[s.id] = true
		for _, id := range s.side {
			k.set[id] = true
		}
		k.of = s.id
	}
}

// back takes the last steps away again: they were not accepted.
func (k *ancestry) back(steps []step, to git.ID) {
	for _, s := range steps {
		delete(k.set, s.id)
		for _, id := range s.side {
			delete(k.set, id)
		}
	}
	k.of = to
}
