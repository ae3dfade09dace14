package track

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// seen remembers when commits were first seen and accepted. A key's validity ends by that time and by nothing that the commit says, so that after a restart
// the same commits must be judged by the same time, or a key that has expired since would take its owner's old commits along.
//
// It is a file of lines "COMMIT SECONDS", each for that commit and those before it down to the line before, in the order of the branch.
type seen struct {
	file string
	list []sighting
}

type sighting struct {
	commit git.ID
	at     time.Time
}

// readSeen reads the file; there being none is no error. A line that cannot be read ends it: a crash tore it, and its commits count as seen anew.
func readSeen(file string) (*seen, error) {
	s := &seen{file: file}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	whole := 0
	for l := range strings.Lines(string(b)) {
		var id string
		var seconds int64
		if _, err := fmt.Sscanf(l, "%s %d\n", &id, &seconds); err != nil || !strings.HasSuffix(l, "\n") {
			return s, os.Truncate(file, int64(whole)) // what is appended must begin a line
		}
		s.list = append(s.list, sighting{git.ID(id), time.Unix(seconds, 0)})
		whole += len(l)
	}
	return s, nil
}

// holds tells whether a commit ends a line.
func (s *seen) holds(commit git.ID) bool {
	return slices.ContainsFunc(s.list, func(o sighting) bool { return o.commit == commit })
}

// add remembers that everything up to a commit was seen by then. It is durable when add returns.
func (s *seen) add(commit git.ID, at time.Time) error {
	f, err := os.OpenFile(s.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %d\n", commit, at.Unix())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		s.list = append(s.list, sighting{commit, at})
	}
	return err
}

// again climbs to a commit that was verified before. Where a key has expired since, the commits are judged as of when they were seen.
func (r *repository) again(ctx context.Context, h signing.History, to git.ID) (accepted int, refused *signing.Refused, err error) {
	for {
		n, refused, err := r.climb(ctx, h, to)
		accepted += n
		if err != nil || refused == nil || refused.Cause != signing.CauseExpired {
			return accepted, refused, err
		}
		if n, err = r.asSeen(ctx, h); err != nil {
			return accepted, nil, err
		}
		if accepted += n; n == 0 {
			return accepted, refused, nil
		}
	}
}

// asSeen climbs to the next commit whose time of sighting is known, with the clock set to it.
func (r *repository) asSeen(ctx context.Context, h signing.History) (accepted int, err error) {
	defer func() { r.then = time.Time{} }()
	for _, s := range r.seen.list {
		if r.lineage.holds(s.commit) {
			continue
		}
		r.then = s.at
		n, refused, err := r.climb(ctx, h, s.commit)
		switch {
		case errors.Is(err, signing.ErrNotDescendant), errors.Is(err, fs.ErrNotExist):
			continue // it lies before an anchor that was moved on, or on a history that was given up
		case refused != nil && refused.Cause == signing.CauseLine:
			continue
		}
		return n, err
	}
	return 0, nil
}
