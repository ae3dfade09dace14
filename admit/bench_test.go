package admit

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/snapshot"
)

// BenchmarkDecideGrows measures the same decision with ever more declared objects around: it must stay the same.
func BenchmarkDecideGrows(b *testing.B) {
	base := map[string]float64{}
	for _, n := range []int{100, 10_000, 100_000} {
		w := newWorld(b, testConfig, cart)
		w.surround(n)
		asApplied := applied(b, cart)
		for name, r := range map[string]*Request{"agent": request(flux, nil, asApplied), "human": request(carol, asApplied, nil)} {
			want := v1alpha1.ReasonFromGit
			if name == "human" {
				want = v1alpha1.ReasonNotFromSyncAgent
			}
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				var times []time.Duration
				for b.Loop() {
					began := time.Now()
					d := w.gate.Decide(b.Context(), r, w.World)
					times = append(times, time.Since(began))
					if d.Reason != want {
						b.Fatal(d.Message)
					}
				}
				slices.Sort(times)
				half := float64(times[len(times)/2])
				b.ReportMetric(half, "p50-ns")
				if n == 100 {
					base[name] = half
				} else if base[name] > 0 {
					b.ReportMetric(half/base[name], "of-100")
				}
			})
		}
	}
}

// surround declares many objects like the one that is there: their content is shared, their names are not.
func (w *world) surround(n int) {
	w.t.Helper()
	var one *snapshot.Entry
	for e := range w.Truth.Current.All() {
		one = e
	}
	entries := []*snapshot.Entry{one}
	for i := range n {
		e := *one
		e.Key.Name = fmt.Sprintf("cart-%d", i)
		e.Key.Namespace = fmt.Sprintf("shop-%d", i%100)
		entries = append(entries, &e)
	}
	w.Truth = &snapshot.Truth{Current: snapshot.New(snapshot.Parts{Revisions: w.Truth.Current.Revisions, Types: w.types, Published: testTime.Add(-time.Minute)}, entries)}
}
