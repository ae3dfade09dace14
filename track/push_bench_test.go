//go:build unix

package track_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/worker"
)

// BenchmarkPush is what a push of one file costs from the fetch to the truth, by what else the repository declares: it must grow with the change. It is told as
// a multiple of the same in the smallest, too, by the clock and in seconds of a core.
func BenchmarkPush(b *testing.B) {
	var least cost
	for _, test := range []struct{ objects, kustomizations int }{{1000, 100}, {10_000, 1000}, {1000, 0}, {10_000, 0}, {100_000, 0}} {
		b.Run(fmt.Sprintf("objects=%d/kustomizations=%d", test.objects, test.kustomizations), func(b *testing.B) {
			w := newWorld(b)
			change := func(i int) map[string]string {
				return map[string]string{"apps/cart.yaml": configMap("cart", fmt.Sprint(i))}
			}
			if test.kustomizations > 0 {
				w.publish(w.alice, "fill", overlays(test.kustomizations))
				config := ok[string](b)(w.repo.Read("apps/app7/config.yaml"))
				change = func(i int) map[string]string {
					return map[string]string{"apps/app7/config.yaml": config + fmt.Sprintf("---\n%s", configMap("cart", fmt.Sprint(i)))}
				}
			} else {
				w.mixture(test.objects, 3)
			}
			self := ok[string](b)(os.Executable())
			p := worker.NewPool(worker.Config{Command: self, Args: []string{self, childMode}})
			defer p.Close()
			cfg := w.config(nil)
			cfg.Engine = p
			tr := ok[*track.Tracker](b)(track.New(cfg))
			defer tr.Close()
			w.once(tr)
			i, used := 0, 0.0
			for b.Loop() {
				b.StopTimer()
				i++
				id := w.publish(w.alice, "change", change(i))
				before := usage(b)
				b.StartTimer()
				if err := tr.Once(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				used += usage(b) - before
				if got := tr.Truth().Current.Revisions["shop"].Commit.ID; got != id {
					b.Fatalf("the truth is %s, want %s", got, id)
				}
				b.StartTimer()
			}
			took := cost{b.Elapsed().Seconds() / float64(b.N), used / float64(b.N)}
			if test.objects == 1000 {
				least = took
			}
			b.ReportMetric(1000*took.cores, "cpu-ms")
			b.ReportMetric(took.clock/least.clock, "times-of-1000")
			b.ReportMetric(took.cores/least.cores, "cpu-times-of-1000")
		})
	}
}
