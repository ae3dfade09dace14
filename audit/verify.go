package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Problem is one thing that is wrong with a log.
type Problem struct {
	Seq  uint64 `json:"seq"`  // of the record; 0: unknown, or not about one
	File string `json:"file"` // with Line, where it stands
	Line int    `json:"line,omitempty"`
	What string `json:"what"`
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Seq != 0 {
		fmt.Fprintf(&b, "record %d: ", p.Seq)
	}
	b.WriteString(p.File)
	if p.Line != 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	return b.String() + ": " + p.What
}

// maxProblems is how many problems a Report names; the first is what matters.
const maxProblems = 20

// Report is what verification found.
type Report struct {
	Origin   string    `json:"origin"`
	Records  uint64    `json:"records"`
	First    uint64    `json:"first"` // seq of the first record
	Last     uint64    `json:"last"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Segments int       `json:"segments"`
	Shards   []string  `json:"shards"`
	// LastSum is the sum of the last record: who knows it can tell later whether anything before it changed.
	LastSum string `json:"lastSum"`
	// Problems, in the order of the log; the first is where the damage begins.
	Problems []Problem `json:"problems,omitempty"`
	// Notes are no problems, but worth knowing.
	Notes []string `json:"notes,omitempty"`
}

func (r *Report) problem(p Problem) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, p)
	}
}

// Add appends a problem found by somebody else: package seal, about checkpoints.
func (r *Report) Add(p Problem) { r.problem(p) }

// Watcher sees each record that Verify reads, in order: where it stands, its frame and its line, which are valid
// until it returns.
type Watcher func(Segment, Frame, Line)

// Verify checks each record of the log, or of the one shard or segment, at path: that its content is what its sum
// says, that it follows the one before, and that none is missing between the first and the last. It reads in one
// pass, in constant memory. What the chain alone cannot show, a tail that was cut off, package seal adds from checkpoints.
//
// The error is about reading; what is wrong with the log is in the Report.
func Verify(path string, watch Watcher) (Report, error) {
	var r Report
	st, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	var segments []Segment
	if st.IsDir() {
		if segments, err = Segments(path); err != nil {
			return r, err
		}
		if len(segments) == 0 {
			return r, fmt.Errorf("%s: no segments of an audit log here", path)
		}
	} else {
		segments = []Segment{{Path: path, Shard: filepath.Base(filepath.Dir(path))}}
	}
	v := verifier{Report: &r, watch: watch}
	for i, s := range segments {
		v.last = i+1 == len(segments)
		if err := v.segment(s); err != nil {
			return r, err
		}
	}
	r.Last, r.LastSum = v.at.seq, v.at.sum
	r.Segments = len(segments)
	return r, nil
}

// verifier walks through a log.
type verifier struct {
	*Report
	watch   Watcher
	at      head
	started bool
	last    bool // the segment is the last one
}

func (v *verifier) segment(s Segment) error {
	if len(v.Shards) == 0 || v.Shards[len(v.Shards)-1] != s.Shard {
		v.Shards = append(v.Shards, s.Shard)
	}
	lines := 0
	for line, err := range Lines(s.Path) {
		if err != nil && line.Number == 0 {
			return err
		}
		lines++
		if err != nil {
			v.problem(Problem{Seq: v.at.seq + 1, File: s.Path, Line: line.Number, What: err.Error()})
			return nil
		}
		if line.Unfinished {
			if v.last {
				v.Notes = append(v.Notes, fmt.Sprintf("%s:%d is not finished: a write on its way, or one that a crash cut off; it was never acknowledged", s.Path, line.Number))
			} else {
				v.problem(Problem{Seq: v.at.seq + 1, File: s.Path, Line: line.Number, What: "truncated: the line is not finished, and the log goes on in another file"})
			}
			return nil
		}
		v.line(s, line)
	}
	if lines == 0 {
		v.problem(Problem{Seq: v.at.seq + 1, File: s.Path, What: "truncated: the file is empty"})
	}
	return nil
}

// line checks one line and takes it as the new place, sound or not, so that one damage is named once.
func (v *verifier) line(s Segment, line Line) {
	at := Problem{Seq: v.at.seq + 1, File: s.Path, Line: line.Number}
	f, err := ParseFrame(line.Text)
	if err != nil {
		at.What = "altered: not a record: " + err.Error()
		v.problem(at)
		v.at.sum, v.started = "", true
		if line.Number > 1 {
			v.at.seq++ // it stands for a record
			v.Records++
		}
		return
	}
	if line.Number == 1 && f.Header && !v.started {
		v.begin(f, line)
	}
	if what := v.wrong(f, line.Number == 1); what != "" {
		at.What = what
		if f.Sound() {
			at.Seq = f.Seq
		}
		v.problem(at)
	}
	v.at.sum = f.Sum
	if !f.Sound() {
		f.Seq = v.at.seq + 1 // not what it says, but where it stands
	}
	if f.Header {
		v.at.seq = f.Seq - 1
		return
	}
	v.at.seq = f.Seq
	v.Records++
	if v.Records == 1 {
		v.First, v.From = f.Seq, f.Time
	}
	v.To = f.Time
	if v.watch != nil {
		v.watch(s, f, line)
	}
}

// begin takes the place of the first header: what came before is not here.
func (v *verifier) begin(f Frame, line Line) {
	v.started = true
	v.at.seq, v.at.sum = f.Seq-1, f.Prev
	if f.Seq > 1 {
		v.Notes = append(v.Notes, fmt.Sprintf("begins with record %d: what came before is elsewhere, or was removed under the retention", f.Seq))
	}
	v.Origin = originOf(line)
}

// wrong says what is wrong with a line at this place.
func (v *verifier) wrong(f Frame, first bool) string {
	switch {
	case !f.Sound():
		return "altered: its content does not match its sum"
	case f.Header != first:
		return "out of place: a header within a file, or a file without one"
	case f.Seq > v.at.seq+1:
		return fmt.Sprintf("missing before it: %s", span(v.at.seq+1, f.Seq-1))
	case f.Seq < v.at.seq+1:
		return fmt.Sprintf("out of place: it stands after record %d", v.at.seq)
	case v.at.sum != "" && f.Prev != v.at.sum:
		return fmt.Sprintf("does not follow record %d: it was written after another", v.at.seq)
	case f.Prev == "" && f.Seq > 1:
		return "has no link to the record before it"
	}
	return ""
}

func span(from, to uint64) string {
	if from == to {
		return fmt.Sprintf("record %d", from)
	}
	return fmt.Sprintf("records %d to %d", from, to)
}

func originOf(line Line) string {
	r, err := line.Decode()
	if err != nil || r.Writer == nil {
		return ""
	}
	return r.Writer.Log
}
