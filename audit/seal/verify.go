package seal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/commitgate/commitgate/audit"
)

// Options say by what a log is verified.
type Options struct {
	// Verifiers of the log's keys and of its witnesses. Without any, checkpoints are compared with the records, but
	// whoever can write the one can write the other.
	Verifiers []note.Verifier
	// Anchors are checkpoints that were kept somewhere else: by a witness, in an object store, on paper.
	Anchors [][]byte
	// Watch sees each record; nil is nobody.
	Watch audit.Watcher
}

// Result is what verification found about one shard.
type Result struct {
	Shard       string    `json:"shard"`
	Origin      string    `json:"origin,omitempty"`
	Records     int64     `json:"records"`
	Root        string    `json:"root"`        // of all records, sealed or not
	Checkpoints int       `json:"checkpoints"` // that were compared
	Sealed      int64     `json:"sealed"`      // records under a checkpoint
	SignedBy    []string  `json:"signedBy,omitempty"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
}

// claim is a checkpoint that the records must match.
type claim struct {
	*Checkpoint
	file string
}

// shardState is the tree of a shard while its records pass.
type shardState struct {
	Result
	tree     Range
	claims   []claim // by size
	next     int     // the first claim whose size was not reached
	file     string  // of the last record
	seq      uint64  // of the last record
	problems []audit.Problem
}

// Verify checks the log at path as audit.Verify does, and that each shard is what its checkpoints say: no record was
// changed, added, taken out or cut off at the end since they were signed. One segment by itself has no checkpoints.
func Verify(path string, o Options) (audit.Report, []Result, error) {
	st, err := os.Stat(path)
	if err != nil {
		return audit.Report{}, nil, err
	}
	var shards []*shardState // the last one is current: Verify reads shard by shard
	var openErr error
	report, err := audit.Verify(path, func(seg audit.Segment, f audit.Frame, line audit.Line) {
		if n := len(shards); n == 0 || shards[n-1].Shard != seg.Shard {
			s := &shardState{Result: Result{Shard: seg.Shard, From: f.Time}}
			shards = append(shards, s)
			if st.IsDir() {
				openErr = errors.Join(openErr, s.open(filepath.Dir(seg.Path), &o))
			}
		}
		shards[len(shards)-1].take(f, line)
		if o.Watch != nil {
			o.Watch(seg, f, line)
		}
	})
	if err = errors.Join(err, openErr); err != nil {
		return report, nil, err
	}
	var results []Result
	for _, s := range shards {
		results = append(results, s.finish(&report))
	}
	if len(o.Verifiers) == 0 {
		report.Notes = append(report.Notes, "no key was given: the signatures of checkpoints were not checked")
	}
	return report, results, nil
}

// open reads the checkpoints that lie beside a shard, and the anchors that are about it.
func (s *shardState) open(dir string, o *Options) error {
	latest := filepath.Join(dir, checkpointName)
	files := []string{latest}
	history, err := os.ReadDir(filepath.Join(dir, historyName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, h := range history {
		files = append(files, filepath.Join(dir, historyName, h.Name()))
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s.claim(b, file, o)
	}
	s.findReplay(latest)
	for i, b := range o.Anchors {
		if cp, err := Unverified(b); err != nil || strings.HasSuffix(cp.Origin, "/"+s.Shard) && (s.Origin == "" || s.Origin == cp.Origin) {
			s.claim(b, fmt.Sprintf("anchor %d", i+1), o)
		}
	}
	slices.SortStableFunc(s.claims, func(a, b claim) int { return cmp.Compare(a.Size, b.Size) })
	return nil
}

// claim takes one checkpoint, if a known key signed it.
func (s *shardState) claim(b []byte, file string, o *Options) {
	var cp *Checkpoint
	var err error
	if len(o.Verifiers) == 0 {
		cp, err = Unverified(b)
	} else {
		cp, err = ParseCheckpoint(b, o.Verifiers)
	}
	if err != nil {
		s.problems = append(s.problems, audit.Problem{File: file, What: "not a checkpoint that a known key signed: " + err.Error()})
		return
	}
	if s.Origin == "" {
		s.Origin = cp.Origin
	}
	if cp.Origin != s.Origin {
		s.problems = append(s.problems, audit.Problem{File: file, What: fmt.Sprintf("a checkpoint of another log: %s", cp.Origin)})
		return
	}
	s.claims = append(s.claims, claim{cp, file})
	for _, name := range cp.SignedBy {
		if !slices.Contains(s.SignedBy, name) {
			s.SignedBy = append(s.SignedBy, name)
		}
	}
}

// findReplay notices that an old checkpoint stands where the latest should.
func (s *shardState) findReplay(latest string) {
	i := slices.IndexFunc(s.claims, func(c claim) bool { return c.file == latest })
	for _, c := range s.claims {
		switch {
		case i < 0:
			s.problems = append(s.problems, audit.Problem{File: latest, What: "missing, though older checkpoints are there"})
		case c.Size > s.claims[i].Size:
			s.problems = append(s.problems, audit.Problem{File: latest, What: fmt.Sprintf("replayed: it is for %d records, %s is for %d", s.claims[i].Size, c.file, c.Size)})
		default:
			continue
		}
		return
	}
}

// take adds a record to the tree and compares it with the checkpoints of this size.
func (s *shardState) take(f audit.Frame, line audit.Line) {
	s.To, s.file, s.seq = f.Time, line.File, f.Seq
	s.tree.Add(tlog.RecordHash(line.Text))
	for ; s.next < len(s.claims) && s.claims[s.next].Size <= s.tree.Size(); s.next++ {
		c := s.claims[s.next]
		if c.Size == s.tree.Size() && c.Root != s.tree.Root() {
			s.problems = append(s.problems, audit.Problem{Seq: f.Seq, File: line.File, Line: line.Number,
				What: fmt.Sprintf("not what was sealed: a record up to this one differs from what %s was signed for", c.file)})
		}
		s.Checkpoints++
		s.Sealed = c.Size
	}
}

// finish reports what was found about the shard.
func (s *shardState) finish(r *audit.Report) Result {
	for _, c := range s.claims[s.next:] {
		s.problems = append(s.problems, audit.Problem{Seq: s.seq, File: s.file,
			What: fmt.Sprintf("cut off after this record: %s was signed for %d records, there are %d", c.file, c.Size, s.tree.Size())})
	}
	for _, p := range s.problems {
		r.Add(p)
	}
	s.Records, s.Root = s.tree.Size(), s.tree.Root().String()
	return s.Result
}
