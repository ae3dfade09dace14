package track_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/commitgate/commitgate/track"
)

// BenchmarkRefresh is what a review waits for that comes before its commit was seen here: the fetch, the verification and the rendering of a change of one
// file, where 10,000 objects are declared.
func BenchmarkRefresh(b *testing.B) {
	w := newWorld(b)
	w.mixture(10_000, 3)
	cfg := w.config(nil)
	cfg.Now = time.Now
	tr := ok[*track.Tracker](b)(track.New(cfg))
	w.once(tr)
	ctx, stop := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = tr.Run(ctx) }) // it ends as it is told to, below
	defer w.stop(tr)
	defer running.Wait()
	defer stop()
	var times []time.Duration
	for b.Loop() {
		b.StopTimer()
		id := w.publish(w.alice, "change", map[string]string{"apps/cart.yaml": configMap("cart", strconv.Itoa(len(times)))})
		b.StartTimer()
		began := time.Now()
		if err := tr.Refresh(ctx); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(began))
		if got := tr.Truth().Current.Revisions["shop"].Commit.ID; got != id {
			b.Fatalf("the truth is %s, want %s", got, id)
		}
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Milliseconds()), "p99-ms")
}
