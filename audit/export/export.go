// Package export gives the audit log away: as lines, as a table of the population, as OCSF events, as an evidence
// archive that verifies offline, and as a report to print.
//
// Each export says how many records it holds, between which sequence numbers, and under which roots, so that whoever
// gets it can tell whether something is missing. It adds nothing to what the records say, and never holds an object's body.
package export

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
)

// A Log is one log to export: the folder of one writer.
type Log struct {
	Dir      string
	Origin   string          // as in its records
	Segments []audit.Segment // what of it is read
	After    uint64          // records up to this one were exported before, and are not read
}

// OpenLogs finds the segments of the logs in dirs that can hold records that the filter wants.
func OpenLogs(dirs []string, f audit.Filter) ([]Log, error) {
	var logs []Log
	for _, dir := range dirs {
		segments, err := audit.Segments(dir)
		if err != nil {
			return nil, err
		}
		if len(segments) == 0 {
			return nil, fmt.Errorf("%s: %w", dir, ErrNoLog)
		}
		origin, err := originOf(segments)
		if err != nil {
			return nil, err
		}
		for _, other := range logs {
			if other.Origin == origin {
				return nil, fmt.Errorf("%s and %s: %w: %s", other.Dir, dir, ErrTwice, origin)
			}
		}
		if segments, err = audit.Between(segments, f.From, f.To); err != nil {
			return nil, err
		}
		logs = append(logs, Log{Dir: dir, Origin: origin, Segments: segments})
	}
	return logs, nil
}

// originOf is the origin of a log, as its first record has it.
func originOf(segments []audit.Segment) (string, error) {
	for line, err := range audit.Records(segments) {
		if err != nil {
			return "", err
		}
		r, err := line.Decode()
		return writer(&r).Log, err
	}
	return "", nil // a log that was just begun
}

var (
	// ErrNoLog is returned when a folder holds no log.
	ErrNoLog = errors.New("no audit log here")
	// ErrLeftOut is returned by Format.Record.
	ErrLeftOut = errors.New("the format has no form for this record")
	// ErrTwice is returned when two folders hold the same log, or copies of it: each change would count twice.
	ErrTwice = errors.New("the same log twice")
)

// Format turns records into an export. Record is called from several goroutines at once, the others once each, from one.
type Format interface {
	// Header begins the export.
	Header(w io.Writer) error
	// Record appends one record, given as its line and decoded, to out; both are valid until it returns. It returns ErrLeftOut for a record that the
	// format has no form for: such a record is not counted.
	Record(out []byte, line []byte, r *audit.Record) ([]byte, error)
	// Trailer ends the export.
	Trailer(w io.Writer, t Trailer) error
}

// Trailer says what an export holds.
type Trailer struct {
	Count uint64     `json:"count"`           // records in the export
	Read  uint64     `json:"read"`            // records that were looked at
	First uint64     `json:"first,omitempty"` // seq of the first record in the export; with several logs, the smallest
	Last  uint64     `json:"last,omitempty"`
	From  *time.Time `json:"from,omitempty"` // time of the first and the last record
	To    *time.Time `json:"to,omitempty"`
	Logs  []LogRange `json:"logs"`
}

// LogRange says which part of a log was looked at, and what vouches for it.
type LogRange struct {
	Log    string      `json:"log"`
	First  uint64      `json:"first"` // seq of the first record that was looked at
	Last   uint64      `json:"last"`
	Shards []ShardRoot `json:"shards"`
}

// ShardRoot is the latest checkpoint of a shard.
type ShardRoot struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
}

// chunkSize is how many records one worker takes at a time: enough to make the hand-over cheap.
const chunkSize = 256

// chunk is some consecutive lines.
type chunk struct {
	text   []byte
	lines  [][]byte // in text
	origin string   // of the only log; empty with several
}

// A rawFormat is a Format that needs no record, only its line.
type rawFormat interface {
	// Raw appends one record, given as its line, to out.
	Raw(out, line []byte) []byte
}

// result is what became of a chunk.
type result struct {
	out     []byte
	records []audit.Record // those that matched, if they are wanted
	stats   Trailer
	ranges  map[string]*LogRange
	err     error
}

// Write exports the records of the logs that the filter wants, in the order of time, in memory that does not grow with
// their number. Decoding runs on all processors; each, if it is set, sees the records in order.
func Write(ctx context.Context, w io.Writer, logs []Log, filter audit.Filter, format Format, each func(*audit.Record)) (Trailer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := bufio.NewWriterSize(w, 1<<20)
	if err := format.Header(out); err != nil {
		return Trailer{}, err
	}
	var total Trailer
	ranges := map[string]*LogRange{}
	var buffers pool
	for done := range work(ctx, logs, filter, format, each != nil, &buffers) {
		r := <-done
		if r.err != nil {
			return total, r.err
		}
		if _, err := out.Write(r.out); err != nil {
			return total, err
		}
		buffers.put(r.out)
		total.add(r.stats)
		for name, lr := range r.ranges {
			ranges[name] = lr.join(ranges[name])
		}
		for i := range r.records {
			each(&r.records[i])
		}
	}
	if err := ctx.Err(); err != nil {
		return total, err
	}
	if err := total.finish(logs, ranges); err != nil {
		return total, err
	}
	if err := format.Trailer(out, total); err != nil {
		return total, err
	}
	return total, out.Flush()
}

// pool keeps the buffers of chunks for the next ones.
type pool struct{ sync.Pool }

// get returns an empty buffer.
func (p *pool) get() []byte {
	if b, ok := p.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

// put takes a buffer back that nobody uses any more.
func (p *pool) put(b []byte) { p.Put(&b) }

// work reads the logs and hands out chunks; results come in order.
func work(ctx context.Context, logs []Log, filter audit.Filter, format Format, keep bool, buffers *pool) <-chan chan result {
	workers := runtime.GOMAXPROCS(0)
	ordered := make(chan chan result, 2*workers)
	slots := make(chan struct{}, workers)
	go func() {
		defer close(ordered)
		hand := func(c chunk, err error) bool {
			done := make(chan result, 1)
			select {
			case ordered <- done:
			case <-ctx.Done():
				return false
			}
			if err != nil {
				done <- result{err: err}
				return false
			}
			slots <- struct{}{}
			go func() {
				done <- c.format(filter, format, keep, buffers.get())
				buffers.put(c.text)
				<-slots
			}()
			return true
		}
		c := chunk{text: buffers.get()}
		var ends []int
		flush := func() bool {
			from := 0
			for _, end := range ends {
				c.lines = append(c.lines, c.text[from:end])
				from = end
			}
			full := c
			if c, ends = (chunk{text: buffers.get()}), ends[:0]; len(logs) == 1 {
				full.origin = logs[0].Origin
			}
			return len(full.lines) == 0 || hand(full, nil)
		}
		var all []iter.Seq2[audit.Line, error]
		for _, l := range logs {
			all = append(all, audit.RecordsAfter(l.Segments, l.After))
		}
		for line, err := range audit.Merge(all...) {
			if err != nil {
				if flush() {
					hand(chunk{}, err)
				}
				return
			}
			c.text = append(c.text, line.Text...)
			if ends = append(ends, len(c.text)); len(ends) == chunkSize && !flush() {
				return
			}
		}
		flush()
	}()
	return ordered
}

// format decodes, filters and formats the lines of a chunk.
func (c chunk) format(filter audit.Filter, format Format, keep bool, out []byte) (res result) {
	res.ranges = map[string]*LogRange{}
	res.out = out
	raw, _ := format.(rawFormat)
	if keep || !filter.All() {
		raw = nil
	}
	parse := new(audit.Parser).Parse
	if keep { // a record outlives its line
		parse = func(line []byte) (*audit.Record, error) {
			r, err := audit.ParseRecord(line)
			return &r, err
		}
	}
	for _, line := range c.lines {
		if c.origin != "" && (raw != nil || !filter.MayMatch(line)) {
			if res.err = c.skim(&res, line, raw); res.err != nil {
				return res
			}
			continue
		}
		r, err := parse(line)
		if err != nil {
			res.err = err
			return res
		}
		if r.Writer != nil {
			here := &LogRange{Log: r.Writer.Log, First: r.Seq, Last: r.Seq}
			res.ranges[r.Writer.Log] = here.join(res.ranges[r.Writer.Log])
		}
		res.stats.Read++
		if !filter.Matches(r) {
			continue
		}
		out, err := format.Record(res.out, line, r)
		if errors.Is(err, ErrLeftOut) {
			continue
		}
		if err != nil {
			res.err = err
			return res
		}
		res.out = out
		at := r.Time
		res.stats.add(Trailer{Count: 1, First: r.Seq, Last: r.Seq, From: &at, To: &at})
		if keep {
			res.records = append(res.records, *r)
		}
	}
	return res
}

// skim takes a line that need not be decoded: because it is wanted as it is (raw), or not at all.
func (c chunk) skim(res *result, line []byte, raw rawFormat) error {
	f, err := audit.ParseFrame(line)
	if err != nil {
		return err
	}
	here := &LogRange{Log: c.origin, First: f.Seq, Last: f.Seq}
	res.ranges[c.origin] = here.join(res.ranges[c.origin])
	res.stats.Read++
	if raw != nil {
		res.out = raw.Raw(res.out, line)
		res.stats.add(Trailer{Count: 1, First: f.Seq, Last: f.Seq, From: &f.Time, To: &f.Time})
	}
	return nil
}

// add takes the numbers of a later part.
func (t *Trailer) add(o Trailer) {
	t.Count += o.Count
	t.Read += o.Read
	if t.First == 0 || o.First != 0 && o.First < t.First {
		t.First = o.First
	}
	t.Last = max(t.Last, o.Last)
	if t.From == nil {
		t.From = o.From
	}
	if o.To != nil {
		t.To = o.To
	}
}

// join widens a range of the same log.
func (l *LogRange) join(o *LogRange) *LogRange {
	if o == nil {
		return l
	}
	return &LogRange{Log: l.Log, First: min(l.First, o.First), Last: max(l.Last, o.Last)}
}

// finish adds the checkpoints.
func (t *Trailer) finish(logs []Log, ranges map[string]*LogRange) error {
	for _, l := range logs {
		lr := LogRange{Log: l.Origin}
		var shards []ShardRoot
		seen := ""
		for _, s := range l.Segments {
			if s.Shard == seen {
				continue
			}
			seen = s.Shard
			b, err := os.ReadFile(filepath.Join(filepath.Dir(s.Path), "checkpoint"))
			if errors.Is(err, os.ErrNotExist) {
				continue // not sealed
			}
			if err != nil {
				return err
			}
			cp, err := seal.Unverified(b)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Path, err)
			}
			shards = append(shards, ShardRoot{cp.Origin, cp.Size, cp.Root.String()})
		}
		if read := ranges[l.Origin]; read != nil {
			lr = *read
		}
		lr.Shards = shards
		t.Logs = append(t.Logs, lr)
	}
	return nil
}

// JSONLines is the records as they are, one per line, and the trailer as a last line {"trailer":…}.
type JSONLines struct{}

// Header implements Format.
func (JSONLines) Header(io.Writer) error { return nil }

// Record implements Format.
func (j JSONLines) Record(out, line []byte, _ *audit.Record) ([]byte, error) {
	return j.Raw(out, line), nil
}

// Raw implements rawFormat.
func (JSONLines) Raw(out, line []byte) []byte { return append(append(out, line...), '\n') }

// Trailer implements Format.
func (JSONLines) Trailer(w io.Writer, t Trailer) error {
	return json.NewEncoder(w).Encode(map[string]any{"trailer": t})
}

// Discard exports nothing: for those who only look at the records.
type Discard struct{}

// Header implements Format.
func (Discard) Header(io.Writer) error { return nil }

// Record implements Format.
func (Discard) Record(out, _ []byte, _ *audit.Record) ([]byte, error) { return out, nil }

// Trailer implements Format.
func (Discard) Trailer(io.Writer, Trailer) error { return nil }
