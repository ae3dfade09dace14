package policy

import (
	"context"
	"sort"
	"time"
)

// Timing is how long one rule took, over many decisions.
type Timing struct {
	Policy string        `json:"policy"`
	Count  int           `json:"count"`
	P50    time.Duration `json:"p50"` // nanoseconds
	P95    time.Duration `json:"p95"`
	P99    time.Duration `json:"p99"`
	Max    time.Duration `json:"max"`
}

// Bench decides the inputs over and over, count times in all, and times each rule that applied, slowest first. The last timing, of
// policy "", is that of whole decisions.
func (s *Set) Bench(ctx context.Context, inputs []Input, count int) ([]Timing, error) {
	took := map[string][]time.Duration{}
	for i := range count {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := time.Now()
		_, err := s.decide(ctx, inputs[i%len(inputs)], func(r *rule, d time.Duration) {
			took[r.policy] = append(took[r.policy], d)
		})
		if err != nil {
			return nil, err
		}
		took[""] = append(took[""], time.Since(start))
	}
	out := make([]Timing, 0, len(took))
	for name, ds := range took {
		sort.Slice(ds, func(i, j int) bool { return ds[i] < ds[j] })
		at := func(percent int) time.Duration { return ds[(len(ds)-1)*percent/100] }
		out = append(out, Timing{Policy: name, Count: len(ds), P50: at(50), P95: at(95), P99: at(99), Max: ds[len(ds)-1]})
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if (a.Policy == "") != (b.Policy == "") {
			return b.Policy == ""
		}
		if a.P50 != b.P50 {
			return a.P50 > b.P50
		}
		return a.Policy < b.Policy
	})
	return out, nil
}
