package track

import (
	"context"
	"log/slog"

	"github.com/commitgate/commitgate/git"
)

// Changes lists what the commits of a past changed, so many at a time, with what is kept in a file, and says of how many pieces that was or is.
func (p *Past) Changes(ctx context.Context, repository, file string, atATime int) (changed [][]git.Path, pieces int, err error) {
	l := p.locals[repository]
	kept, err := openKept(file, keptChanges, make([]byte, minCacheKey), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, 0, err
	}
	defer kept.close()
	again := line{authority: l.authority, verified: l.past[0], changed: kept}
	for rest := l.past[1:]; len(rest) > 0; {
		n := min(atATime, len(rest))
		c, err := again.changes(ctx, l.Repository, rest[:n])
		if err != nil {
			return nil, 0, err
		}
		for _, one := range c {
			changed = append(changed, one.paths)
		}
		again.verified, rest = rest[n-1], rest[n:]
	}
	return changed, len(kept.used), nil
}
