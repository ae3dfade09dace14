package outcome

import (
	"context"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/commitgate/commitgate/audit"
)

// skew is how far the clocks of the gate and of the API server may stand apart.
const skew = 5 * time.Minute

// Join joins the decisions of the logs in the given directories with the events of the given audit files, each in the order
// of time (rotated files: the oldest first). Memory grows with cfg.Window, not with the logs.
func Join(ctx context.Context, logs, files []string, cfg Config) (Totals, error) {
	var all []iter.Seq2[audit.Line, error]
	for _, dir := range logs {
		segments, err := audit.Segments(dir)
		if err != nil {
			return Totals{}, err
		}
		if len(segments) == 0 {
			return Totals{}, fmt.Errorf("%s: no audit log here", dir)
		}
		all = append(all, audit.Records(segments))
	}
	j := NewJoiner(cfg)
	next, stop := iter.Pull2(decisions(all))
	defer stop()
	r, err, more := next()
	for _, file := range files {
		f, ferr := os.Open(file)
		if ferr != nil {
			return Totals{}, ferr
		}
		defer f.Close()
		for e, eerr := range Lines(f) {
			if eerr != nil {
				return Totals{}, fmt.Errorf("%s: %w", file, eerr)
			}
			if ctx.Err() != nil {
				return Totals{}, ctx.Err()
			}
			for more && err == nil && r.Time.Before(e.At.Add(skew)) {
				j.Decision(&r)
				r, err, more = next()
			}
			if err != nil {
				return Totals{}, err
			}
			j.Event(&e)
		}
	}
	for ; more && err == nil; r, err, more = next() {
		j.Decision(&r)
	}
	return j.Totals(), err
}

// decisions decodes what the joiner needs.
func decisions(logs []iter.Seq2[audit.Line, error]) iter.Seq2[audit.Record, error] {
	return func(yield func(audit.Record, error) bool) {
		for line, err := range audit.Merge(logs...) {
			var f audit.Frame
			if err == nil {
				f, err = audit.ParseFrame(line.Text)
			}
			if err == nil && f.Type != audit.TypeDecision && f.Type != audit.TypeSuperseded {
				continue
			}
			var r audit.Record
			if err == nil {
				r, err = line.Decode()
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}
