//go:build unix

package track_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/worker"
)

// BenchmarkRestart is what it takes until a gate that starts is ready with what it knew, without the Git host: where manifests stand in the tree as they
// are, and where everything is rendered by kustomize, in processes. With what was verified and rendered before, as a part of what it takes without:
// by the clock, and in seconds of a core, which a busy machine does not change much.
func BenchmarkRestart(b *testing.B) {
	for _, test := range []struct{ files, kustomizations, commits int }{
		{files: 100}, {files: 10_000}, {kustomizations: 100}, {kustomizations: 1000}, {kustomizations: 1000, commits: 50_000},
	} {
		b.Run(fmt.Sprintf("objects=%d/kustomizations=%d/commits=%d", test.files+10*test.kustomizations, test.kustomizations, test.commits), func(b *testing.B) {
			w := newWorld(b)
			fill(b, w, test.files)
			w.publish(w.alice, "fill", overlays(test.kustomizations))
			if test.commits > 0 {
				w.grow(test.commits)
			}
			objects := 1 + test.files + 10*test.kustomizations
			w.begin(objects)
			w.forge.SetDown(true)
			var cold, warm cost
			for b.Loop() {
				for _, cache := range []string{"rendered", "verified-shop"} {
					if err := os.Remove(filepath.Join(w.dir, cache)); err != nil {
						b.Fatal(err)
					}
				}
				cold.add(w.begin(objects))
				warm.add(w.begin(objects))
			}
			b.ReportMetric(cold.clock/float64(b.N), "s-without")
			b.ReportMetric(cold.cores/float64(b.N), "cpu-s-without")
			b.ReportMetric(warm.clock/float64(b.N), "s-with")
			b.ReportMetric(warm.cores/float64(b.N), "cpu-s-with")
			b.ReportMetric(warm.clock/cold.clock, "with/without")
		})
	}
}

// begin starts a gate, waits until it is ready with so many objects, stops it, and returns what it took until it was ready.
func (w *world) begin(objects int) cost {
	w.t.Helper()
	self := ok[string](w.t)(os.Executable())
	p := worker.NewPool(worker.Config{Command: self, Args: []string{self, childMode}})
	began, used := time.Now(), usage(w.t)
	cfg := w.config(nil)
	cfg.Engine = p
	tr := ok[*track.Tracker](w.t)(track.New(cfg))
	if err := tr.Once(w.t.Context()); tr.Truth().Current == nil || tr.Truth().Current.Len() != objects {
		w.t.Fatalf("the error is %v, the status %+v", err, tr.Status())
	}
	took := cost{clock: time.Since(began).Seconds()}
	if err := p.Close(); err != nil { // what children have used is known when they have ended
		w.t.Fatal(err)
	}
	took.cores = usage(w.t) - used
	w.stop(tr)
	return took
}

// cost is in seconds: of the clock, and of all cores together.
type cost struct{ clock, cores float64 }

func (c *cost) add(o cost) { c.clock, c.cores = c.clock+o.clock, c.cores+o.cores }

// usage is what this process and its children that have ended have used of the cores, in seconds.
func usage(t testing.TB) float64 {
	t.Helper()
	used := 0.0
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if err := unix.Getrusage(who, &r); err != nil {
			t.Fatal(err)
		}
		used += time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
	}
	return used
}
