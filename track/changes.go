package track

import (
	"bytes"
	"context"
	"crypto/sha256"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

const (
	// maxChunk is how many commits are kept in one piece: few pieces are read fast, small ones are superseded cheaply.
	maxChunk = 1024
	// manyChunks is how many more pieces than needed are left alone: every push adds one.
	manyChunks = 256
)

// change is what is to be known of a commit of the line beside who signed it.
type change struct {
	paths []git.Path // that it changed against the commit before it, sorted
	// merged are the signer lists of the branches that it merged, where they differ.
	merged []signing.List
	relist bool // there are some
}

// changes tells of each of the commits what it changed. That follows from the commit's id and from where the signer list lies, so that what is kept of it always
// holds; the rest is found on all cores, and kept.
func (l *line) changes(ctx context.Context, h signing.History, commits []signing.Verified) ([]change, error) {
	changed := make([]change, len(commits))
	var chunks, unknown []int // where they begin, and the commits of which nothing is kept
	for i := 0; i < len(commits); {
		n := l.recallChanges(commits[i:], changed[i:])
		if n == 0 {
			unknown = append(unknown, i)
			i++
			continue
		}
		chunks = append(chunks, i)
		i += n
	}
	if err := l.findChanges(ctx, h, commits, unknown, changed); err != nil {
		return nil, err
	}
	l.keepChanges(commits, changed, chunks, unknown)
	for i := range changed {
		if c := &changed[i]; c.relist && c.merged == nil { // the lists themselves are not kept: they are few
			var err error
			if c.merged, err = l.authority.MergedLists(ctx, h, commits[i].Commit()); err != nil {
				return nil, err
			}
		}
	}
	return changed, nil
}

// findChanges compares the trees of some of the commits, by their place, with those of the commits before them.
func (l *line) findChanges(ctx context.Context, h signing.History, commits []signing.Verified, some []int, changed []change) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range some {
		before := l.verified
		if i > 0 {
			before = commits[i-1]
		}
		g.Go(func() (err error) {
			c, v := &changed[i], commits[i].Commit()
			if c.paths, err = h.Changed(ctx, before.Commit().Tree, v.Tree); err == nil {
				c.merged, err = l.authority.MergedLists(ctx, h, v)
				c.relist = len(c.merged) > 0
			}
			return err
		})
	}
	return g.Wait()
}

// recallChanges fills in what is kept of the first of the commits and of those after it, and returns of how many; 0 if nothing is.
func (l *line) recallChanges(commits []signing.Verified, changed []change) int {
	if l.changed == nil {
		return 0
	}
	text := l.changed.Get(l.changesName(commits[0]))
	n := 0
	for ; n < len(commits) && len(text) > 0; n++ {
		id, c, rest := cutChange(text)
		if id != commits[n].Commit().ID {
			break // another way on from here, of a branch that was given up with its anchor
		}
		changed[n], text = c, rest
	}
	return n
}

// keepChanges keeps what is not yet, and puts together what many pushes have left in small pieces.
func (l *line) keepChanges(commits []signing.Verified, changed []change, chunks, unknown []int) {
	if l.changed == nil {
		return
	}
	if len(chunks) > manyChunks+len(commits)/maxChunk {
		for _, i := range chunks {
			l.changed.drop(l.changesName(commits[i]))
		}
		unknown = unknown[:0]
		for i := range commits {
			unknown = append(unknown, i)
		}
	}
	for len(unknown) > 0 {
		first, n := unknown[0], 1
		for n < len(unknown) && n < maxChunk && unknown[n] == first+n {
			n++
		}
		var text []byte
		for i := range n {
			text = appendChange(text, commits[first+i].Commit().ID, changed[first+i])
		}
		l.changed.Put(l.changesName(commits[first]), text)
		unknown = unknown[n:]
	}
}

// changesName names what is kept of a commit and of those after it.
func (l *line) changesName(v signing.Verified) [sha256.Size]byte {
	return sha256.Sum256([]byte(string(v.Commit().ID) + "\x00" + string(l.authority.ListPath())))
}

// relisted stands before the paths of a commit that merged a branch with another signer list. No path begins so.
const relisted = "/"

// appendChange writes what a commit changed: its id, the paths and an empty one, each with a NUL at its end, which no path of Git's holds.
func appendChange(text []byte, id git.ID, c change) []byte {
	text = append(append(text, id...), 0)
	if c.relist {
		text = append(append(text, relisted...), 0)
	}
	for _, p := range c.paths {
		text = append(append(text, p...), 0)
	}
	return append(text, 0)
}

// cutChange reads what appendChange wrote.
func cutChange(text []byte) (id git.ID, c change, rest []byte) {
	field, rest, _ := bytes.Cut(text, []byte{0})
	id = git.ID(field)
	for {
		switch field, rest, _ = bytes.Cut(rest, []byte{0}); string(field) {
		case "":
			return id, c, rest
		case relisted:
			c.relist = true
		default:
			c.paths = append(c.paths, git.Path(field))
		}
	}
}
