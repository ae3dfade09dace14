package track

import (
	"context"
	"fmt"
	"slices"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// line is the first-parent line of one protected branch, from the anchor as far as it was verified. It is owned by one goroutine at a time.
type line struct {
	authority *signing.Authority
	verified  signing.Verified // the last commit that the rules accept; zero until the anchor is here
	lineage   *lineage         // up to verified
	// mark asks for one commit to be kept when it is passed: what was published before a restart.
	mark   git.ID
	marked signing.Verified
	// lately are the last commits before verified, oldest first.
	lately []signing.Verified
	// past are the commits of lineage, if keep asks for them: for tools that look back.
	keep bool
	past []signing.Verified
	// changed keeps what commits changed beyond the life of the process; nil keeps nothing.
	changed *keptFile
}

// begin puts the line at its trust anchor.
func (l *line) begin(ctx context.Context, h signing.History) error {
	anchor, err := l.authority.Anchor(ctx, h)
	if err != nil {
		return fmt.Errorf("trust anchor: %w", err)
	}
	list, err := l.authority.List(anchor.Tree())
	if err != nil {
		return fmt.Errorf("trust anchor: signer list: %w", err)
	}
	l.lineage = newLineage(anchor.Commit().ID, anchor.Signatures(), list)
	l.stand(anchor)
	return nil
}

// climb verifies up to a commit. What was accepted is taken up even if a later commit is refused, or if the reading of one fails.
func (l *line) climb(ctx context.Context, h signing.History, to git.ID) (accepted int, refused *signing.Refused, err error) {
	commits, refused, err := l.authority.Advance(ctx, h, l.verified, to)
	if err != nil {
		return 0, nil, err
	}
	changed, err := l.changes(ctx, h, commits)
	if err != nil {
		return 0, nil, err
	}
	lists, err := l.lists(commits, changed)
	if err != nil {
		return 0, nil, err
	}
	for i, v := range commits {
		l.lineage.add(v.Commit().ID, v.Signatures(), changed[i].paths)
		if list, ok := lists[i]; ok {
			l.lineage.relist(list)
		}
		l.lineage.merges(changed[i].merged)
		l.stand(v)
	}
	return len(commits), refused, nil
}

// ancestor reads earlier commits of the line as it stands now.
func (l *line) ancestor(h signing.History) func(context.Context, git.ID) (signing.Verified, error) {
	from := l.verified
	return func(ctx context.Context, id git.ID) (signing.Verified, error) {
		return l.authority.Ancestor(ctx, h, from, id)
	}
}

// maxLately is how many commits behind the newest may be the truth for a moment: an agent may be about to apply one that was the newest when it looked.
const maxLately = 16

func (l *line) stand(v signing.Verified) {
	if !l.verified.IsZero() {
		l.lately = append(l.lately, l.verified)
		l.lately = slices.Delete(l.lately, 0, max(0, len(l.lately)-maxLately))
	}
	l.verified = v
	if l.keep {
		l.past = append(l.past, v)
	}
	if v.Commit().ID == l.mark {
		l.marked = v
	}
}

// lists reads the signer lists that some of the commits brought, by their place.
func (l *line) lists(commits []signing.Verified, changed []change) (map[int]signing.List, error) {
	lists := map[int]signing.List{}
	for i, v := range commits {
		if _, ok := slices.BinarySearch(changed[i].paths, l.authority.ListPath()); !ok {
			continue
		}
		list, err := l.authority.List(v.Tree())
		if err != nil {
			return nil, fmt.Errorf("signer list of %s: %w", v.Commit().ID.Short(), err)
		}
		lists[i] = list
	}
	return lists, nil
}
