package signing

import (
	"context"
	"fmt"

	"github.com/commitgate/commitgate/git"
)

// Judgement is what was found about one commit of the line.
type Judgement struct {
	ID         git.ID
	Commit     *git.Commit // nil if it is not in the shape that is accepted
	Signatures []Signature // that are good: its own first, then of what it merges; also where they were not enough
	Rules      []string    // that its paths took
	Merged     int         // how many commits it brings in, besides itself
	Refused    *Refused    // nil if it is accepted

	Paths []PathJudgement // by Explain only

	explain bool
}

// PathJudgement is whose signatures a changed path took, and whose it had.
type PathJudgement struct {
	Path      git.Path    `json:"path"`
	Rule      string      `json:"rule"` // "" if no rule covers it
	Threshold int         `json:"threshold"`
	Counted   []Principal `json:"counted"`
	Enough    bool        `json:"enough"`
}

// Report judges every commit of the first-parent line from a verified commit (exclusive) to a tip (inclusive), oldest first, and does not stop at what is
// refused: each is judged as if all before it had been accepted. It is for people and tools; nothing can be loaded from it. progress,
// if it is not nil, is told how many of how many are done, from any goroutine.
func (a *Authority) Report(ctx context.Context, h History, from Verified, tip git.ID, progress func(done, total int)) ([]Judgement, error) {
	a.advancing.Lock()
	defer a.advancing.Unlock()
	steps, err := a.stepsOf(ctx, h, from, tip)
	if err != nil {
		return nil, err
	}
	return a.judgeAll(ctx, h, steps, false, progress)
}

// Explain judges one commit of the line between a verified commit and a tip, with what each path took.
func (a *Authority) Explain(ctx context.Context, h History, from Verified, tip, id git.ID) (Judgement, error) {
	a.advancing.Lock()
	defer a.advancing.Unlock()
	steps, err := a.stepsOf(ctx, h, from, tip)
	if err != nil {
		return Judgement{}, err
	}
	for i := range steps {
		if steps[i].id == id {
			return a.judge(ctx, h, &steps[i], a.now(), true)
		}
		for _, side := range steps[i].side {
			if side == id {
				return Judgement{}, fmt.Errorf("commit %s is not on the first-parent line: it came in with merge %s", id.Short(), steps[i].id.Short())
			}
		}
	}
	return Judgement{}, fmt.Errorf("commit %s is not on the line from %s to %s", id.Short(), from.commit.ID.Short(), tip.Short())
}

func (a *Authority) stepsOf(ctx context.Context, h History, from Verified, tip git.ID) ([]step, error) {
	steps, aside, err := line(ctx, h, from.commit.ID, tip)
	if err != nil {
		return nil, err
	}
	if aside {
		return nil, fmt.Errorf("the first-parent line of %s does not pass through %s", tip.Short(), from.commit.ID.Short())
	}
	return steps, a.sides(ctx, h, from.commit.ID, steps)
}
