package signing

import (
	"context"
	"errors"
	"fmt"

	"github.com/commitgate/commitgate/git"
)

// ErrNotOnLine is returned for a commit that is not on the verified line: not between the anchor and the last verified commit, by first parents.
var ErrNotOnLine = errors.New("is not on the verified line")

// Ancestor is an earlier commit of the line that leads from the anchor to a verified one. It was verified on the way there: a commit is accepted only
// after its first parent. It comes without the signatures that were accepted for it. It reads each commit on the way back to it.
func (a *Authority) Ancestor(ctx context.Context, h History, from Verified, id git.ID) (Verified, error) {
	at := from.commit
	for at != nil {
		if err := ctx.Err(); err != nil {
			return Verified{}, err
		}
		if at.ID == id {
			return a.verified(h, at, nil), nil
		}
		if at.ID == a.anchor || len(at.Parents) == 0 {
			break
		}
		parent := at.Parents[0]
		raw, err := h.Commit(ctx, parent)
		if err != nil {
			return Verified{}, fmt.Errorf("commit %s: %w", parent.Short(), err)
		}
		if at, err = git.ParseCommit(parent, raw); err != nil {
			return Verified{}, fmt.Errorf("commit %s: %w", parent.Short(), err)
		}
	}
	return Verified{}, fmt.Errorf("commit %s %w of branch %s", id.Short(), ErrNotOnLine, a.branch)
}
