package evidence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/exhibit"
)

// LogExhibits checks the exhibits of a log that lies in a folder as Verify checks those of an archive: that what the records name by
// digest is there, byte for byte. It sees the records while somebody else verifies them.
type LogExhibits struct {
	dir        string // that of the log, whose exhibits are looked at
	part       bool   // only a part of the log is read
	parser     audit.Parser
	members    []byte // of the record that is looked at, for the parser
	references references
	problems   []audit.Problem
}

// ExhibitReport is what was found about the exhibits of a log.
type ExhibitReport struct {
	Exhibits int      // that records name, and that are there
	Judged   []Judged // as in Report
	Problems []audit.Problem
	Notes    []string
}

// OfLog prepares the check for the log at path, or for the one shard or segment of it.
func OfLog(path string) (*LogExhibits, error) {
	x := &LogExhibits{dir: path, references: newReferences()}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		x.dir, x.part = filepath.Dir(filepath.Dir(path)), true
		return x, nil
	}
	segments, err := audit.Segments(path)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(segments, func(s audit.Segment) bool { return filepath.Dir(s.Path) == filepath.Clean(path) }) {
		x.dir, x.part = filepath.Dir(filepath.Clean(path)), true
	}
	return x, nil
}

// Watch is an audit.Watcher. What was altered names nothing: whoever verifies the log says so.
func (x *LogExhibits) Watch(_ audit.Segment, f audit.Frame, line audit.Line) {
	if !f.Sound() {
		return
	}
	// These are all that names an exhibit, or says what it was for (audit.Record.Exhibits, references.add).
	x.members = audit.AppendMembers(x.members[:0], line.Text, "event", "origin", "policy", "seq", "type")
	r, err := x.parser.Parse(x.members)
	if err != nil {
		x.problem(audit.Problem{Seq: f.Seq, File: line.File, Line: line.Number, What: "not a record: " + err.Error()})
		return
	}
	x.references.add(r)
}

func (x *LogExhibits) problem(p audit.Problem) {
	if len(x.problems) < maxProblems {
		x.problems = append(x.problems, p)
	}
}

// Check looks for what the records named that were seen. The part of a log that lies somewhere by itself has no exhibits to check.
func (x *LogExhibits) Check() ExhibitReport {
	r := ExhibitReport{Judged: x.references.list(), Notes: x.references.notes()}
	folder := filepath.Join(x.dir, exhibit.Folder)
	if _, err := os.Stat(folder); x.part && errors.Is(err, fs.ErrNotExist) && len(x.references.named) > 0 {
		r.Problems = x.problems
		r.Notes = append(r.Notes, fmt.Sprintf("%s is not there: the %d signer lists, policies and other documents that the records name were not checked", folder, len(x.references.named)))
		return r
	}
	read := func(digest string) ([]byte, error) { return exhibit.Read(x.dir, digest) }
	r.Exhibits = len(x.references.all(read, func(digest string, seq uint64, err error) {
		x.problem(audit.Problem{Seq: seq, File: folder, What: "the record names it: " + err.Error()})
	}))
	r.Problems = x.problems
	return r
}
