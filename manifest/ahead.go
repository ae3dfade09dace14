package manifest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	// aheadFrom is with which job of a round the next ones are looked for: a push that changes one file needs no more than one or two.
	aheadFrom = 3
	// maxAhead bounds what the jobs that are done ahead make, in bytes, before it is taken into account; what is left then is done when its turn comes.
	maxAhead = 256 << 20
	// aheadRounds is how often the units are read for jobs that need the answers of others: a substitution follows a kustomization.
	aheadRounds = 3
)

// ahead does jobs before their turn, all cores at once. The rendering itself is done by one goroutine, one unit after the other: what is done ahead only
// saves it the waiting. Which jobs there will be is found by reading the units once more, in vain.
type ahead struct {
	round   []unit
	inTurn  map[jobKey]bool // the jobs that were done in their turn
	looking bool
	wanted  map[jobKey]jobAhead
	order   []jobKey
	done    map[jobKey]outcome
	// parsed are the files that were read in vain.
	parsed map[unitID]map[file]*parsed
}

// jobKey names a job by what it is, and by the tree that it is done on.
type jobKey struct {
	tree string
	job  [sha256.Size]byte
}

type jobAhead struct {
	tree fs.FS
	text []byte
}

// outcome is what the engine returned.
type outcome struct {
	answer []byte
	err    error
}

// errAhead ends the reading of a unit in vain.
var errAhead = errors.New("read in vain, to find what there is to do")

// nextRound says which units are rendered next.
func (r *renderer) nextRound(units []unit) {
	r.ahead = ahead{round: units, inTurn: map[jobKey]bool{}, parsed: map[unitID]map[file]*parsed{}}
}

// answerTo has a job done, or takes the answer if it was done ahead.
func (r *renderer) answerTo(tree fs.FS, text []byte) ([]byte, error) {
	key, ok := r.jobKey(tree, text)
	if !ok {
		return r.inTurn(tree, text)
	}
	if r.ahead.looking {
		if o, ok := r.ahead.done[key]; ok {
			return o.answer, o.err
		}
		if _, ok := r.ahead.wanted[key]; !ok && !r.ahead.inTurn[key] {
			r.ahead.wanted[key] = jobAhead{tree, text}
			r.ahead.order = append(r.ahead.order, key)
		}
		return nil, errAhead
	}
	if len(r.ahead.inTurn) == aheadFrom-1 && r.ahead.done == nil && !r.reopening {
		r.lookAhead()
	}
	if o, ok := r.ahead.done[key]; ok { // it may be wanted again, by another unit; then it is done again
		delete(r.ahead.done, key)
		return o.answer, o.err
	}
	r.ahead.inTurn[key] = true
	return r.inTurn(tree, text)
}

// inTurn has a job done that nobody could foresee.
func (r *renderer) inTurn(tree fs.FS, text []byte) ([]byte, error) {
	if r.ahead.looking {
		return nil, errAhead
	}
	return r.engine(r.ctx, tree, text)
}

func (r *renderer) engine(ctx context.Context, tree fs.FS, text []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.limits.Build, fmt.Errorf("it took longer than %v", r.limits.Build))
	defer cancel()
	return r.in.Engine.Do(ctx, tree, text)
}

// lookAhead finds the jobs of the units of this round that are not rendered yet, and does them.
func (r *renderer) lookAhead() {
	had := make(map[unitID]bool, len(r.builds))
	for _, b := range r.builds {
		had[b.id] = true
	}
	units := slices.DeleteFunc(slices.Clone(r.ahead.round), func(u unit) bool { return had[u.about().id()] || !r.ready(u, false) || r.takesOver(u) })
	r.ahead.done = map[jobKey]outcome{}
	for range aheadRounds {
		r.ahead.wanted, r.ahead.order = map[jobKey]jobAhead{}, nil
		units = slices.DeleteFunc(units, func(u unit) bool { return !r.readInVain(u) })
		if len(r.ahead.order) == 0 || r.stop() != nil || !r.doWanted() {
			break
		}
	}
	r.ahead.wanted, r.ahead.order = nil, nil
}

// takesOver tells whether what a unit rendered to in the revision before still holds.
func (r *renderer) takesOver(u unit) bool {
	b, err := r.buildBefore(u)
	return err != nil || b != nil
}

// readInVain reads a unit for the jobs that it needs, and for the files that it will read again. What is wrong with it is found again. false: it needs none.
func (r *renderer) readInVain(u unit) bool {
	problems, unfollows, found := len(r.problems), len(r.unfollows), len(r.ahead.order)
	files, bytes := r.filesRead, r.bytesRead
	r.ahead.looking = true
	defer func() {
		r.ahead.looking = false
		r.problems, r.unfollows, r.filesRead, r.bytesRead = r.problems[:problems], r.unfollows[:unfollows], files, bytes
	}()
	b := newBuild(r, u)
	_ = u.read(r, b) // the same when its turn comes
	if r.ahead.parsed[b.id] == nil {
		r.ahead.parsed[b.id] = map[file]*parsed{}
	}
	maps.Copy(r.ahead.parsed[b.id], b.files)
	return len(r.ahead.order) > found
}

// doWanted does the jobs that are wanted. false: they made so much that no more should be done ahead.
func (r *renderer) doWanted() bool {
	outcomes := make([]outcome, len(r.ahead.order))
	did := make([]bool, len(outcomes))
	var made atomic.Int64
	var g errgroup.Group
	g.SetLimit(r.abreast())
	for i, key := range r.ahead.order {
		j := r.ahead.wanted[key]
		g.Go(func() error {
			if made.Load() > maxAhead || r.stop() != nil {
				return nil
			}
			answer, err := r.engine(r.ctx, j.tree, j.text)
			made.Add(int64(len(answer)))
			outcomes[i], did[i] = outcome{answer, err}, true
			return nil
		})
	}
	_ = g.Wait() // the errors are outcomes
	for i, key := range r.ahead.order {
		if did[i] {
			r.ahead.done[key] = outcomes[i]
		}
	}
	return made.Load() <= maxAhead
}

// abreast is how many jobs are done at once: as many as the engine does, for the time of a job begins with its call.
func (r *renderer) abreast() int {
	if e, ok := r.in.Engine.(interface{ Size() int }); ok {
		return e.Size()
	}
	return 2
}

// jobKey names a job; false: it is not known what is in its tree.
func (r *renderer) jobKey(tree fs.FS, text []byte) (jobKey, bool) {
	name, ok := r.treeName(tree)
	return jobKey{name, sha256.Sum256(text)}, ok
}

// treeName names a tree by what is in it; false: that is not known.
func (r *renderer) treeName(tree fs.FS) (string, bool) {
	switch tree := tree.(type) {
	case emptyFolder:
		return "empty", true
	case overlay:
		name, ok := r.treeName(tree.FS)
		digest := sha256.New()
		for _, file := range slices.Sorted(maps.Keys(tree.files)) {
			fmt.Fprintf(digest, "%q %t %d\n", file, tree.files[file] == nil, len(tree.files[file]))
			digest.Write(tree.files[file])
		}
		return fmt.Sprintf("%s with %x", name, digest.Sum(nil)), ok
	}
	if !reflect.ValueOf(tree).Comparable() {
		return "", false
	}
	for name, revision := range r.revisions {
		if reflect.ValueOf(revision.tree).Comparable() && fs.FS(revision.tree) == tree {
			return name, true
		}
	}
	return "", false
}
