package outcome

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"time"

	"github.com/commitgate/commitgate/audit"
)

// skew is how far the clocks of the gate and of the API server may stand apart.
const skew = 5 * time.Minute

// Join joins the decisions of the logs in the given directories with the events of the given audit files, each in the order
// of time (rotated files: the oldest first). Memory grows with cfg.Window, not with the logs.
//
// All of them may be written meanwhile. A decision is in the log before its event is in a file, so the files end for us before the logs are read: an event
// that came later would name a record that we have not read.
func Join(ctx context.Context, logs, files []string, cfg Config) (Totals, error) {
	j := NewJoiner(cfg)
	sizes := map[string]int64{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return Totals{}, err
		}
		sizes[file] = math.MaxInt64 // a pipe ends by itself
		if info.Mode().IsRegular() {
			sizes[file] = info.Size()
		}
	}
	var all []*source
	for _, dir := range logs {
		segments, err := audit.Segments(dir)
		if err != nil {
			return Totals{}, err
		}
		if len(segments) == 0 {
			return Totals{}, fmt.Errorf("%s: no audit log here", dir)
		}
		s, err := newSource(audit.Records(segments), j)
		if err != nil {
			return Totals{}, err
		}
		defer s.stop()
		all = append(all, s)
	}
	for _, file := range files {
		if err := joinFile(ctx, file, sizes[file], all, j); err != nil {
			return Totals{}, err
		}
	}
	for _, s := range all {
		if err := s.feed(func(*audit.Record) bool { return true }); err != nil {
			return Totals{}, err
		}
	}
	return j.Totals(), nil
}

// joinFile feeds the events in the first bytes of a file, and before each the decisions that it may be about.
func joinFile(ctx context.Context, file string, size int64, all []*source, j *Joiner) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for e, err := range Lines(io.LimitReader(f, size)) {
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, s := range all {
			if err := s.feed(func(r *audit.Record) bool { return r.Time.Before(e.At.Add(skew)) }); err != nil {
				return err
			}
		}
		if err := readOn(e.Annotations[j.cfg.Webhook+"/record"], all, j); err != nil {
			return err
		}
		j.Event(&e)
	}
	return nil
}

// readOn looks for a record further on in the logs, if none of those read is it: the clock of a replica that stepped ahead wrote later times, and
// whatever stands behind them waits. It reads as far as a window goes by the clock that nobody sets.
func readOn(record string, all []*source, j *Joiner) error {
	if record == "" || j.Knows(record) {
		return nil
	}
	for _, s := range all {
		boot, from := bootOf(&s.record), s.record.Monotonic
		err := s.feed(func(r *audit.Record) bool {
			return !j.Knows(record) && bootOf(r) == boot && time.Duration(r.Monotonic-from) <= j.cfg.Window
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// bootOf names the boot since which a record counts its monotonic time.
func bootOf(r *audit.Record) string {
	if r.Writer == nil {
		return ""
	}
	return r.Writer.Boot
}

// source is one log, whose decisions are fed in its own order.
type source struct {
	joiner *Joiner
	next   func() (audit.Line, error, bool)
	stop   func()
	record audit.Record // the next one
	more   bool
}

func newSource(lines iter.Seq2[audit.Line, error], j *Joiner) (*source, error) {
	s := &source{joiner: j}
	s.next, s.stop = iter.Pull2(lines)
	if err := s.advance(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// feed hands decisions over while the next one is wanted.
func (s *source) feed(wanted func(*audit.Record) bool) error {
	for s.more && wanted(&s.record) {
		s.joiner.Decision(&s.record)
		if err := s.advance(); err != nil {
			return err
		}
	}
	return nil
}

// advance goes to the next record that the joiner needs.
func (s *source) advance() error {
	for {
		line, err, more := s.next()
		if s.more = more; !more || err != nil {
			return err
		}
		f, err := audit.ParseFrame(line.Text)
		if err != nil {
			return err
		}
		if f.Type == audit.TypeDecision || f.Type == audit.TypeSuperseded {
			s.record, err = line.Decode()
			return err
		}
	}
}
