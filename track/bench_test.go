package track_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/commitgate/commitgate/track"
)

// BenchmarkPush is what a push of one file costs from the fetch to the truth, by the size of the repository: it must grow with the change.
func BenchmarkPush(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("objects=%d", n), func(b *testing.B) {
			w := newWorld(b)
			fill(b, w, n)
			w.publish(w.alice, "fill", nil)
			tr := w.start(nil)
			w.once(tr)
			i := 0
			for b.Loop() {
				b.StopTimer()
				i++
				id := w.publish(w.alice, "change", map[string]string{"apps/cart.yaml": configMap("cart", fmt.Sprint(i))})
				b.StartTimer()
				if err := tr.Once(b.Context()); err != nil {
					b.Fatal(err)
				}
				if got := tr.Truth().Current.Revisions["shop"].Commit.ID; got != id {
					b.Fatalf("the truth is %s, want %s", got, id)
				}
			}
		})
	}
}

// BenchmarkRestart is what it takes until a gate that starts is ready with what it knew, without the Git host.
func BenchmarkRestart(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("objects=%d", n), func(b *testing.B) {
			w := newWorld(b)
			fill(b, w, n)
			w.publish(w.alice, "fill", nil)
			tr := w.start(nil)
			w.once(tr)
			w.stop(tr)
			w.forge.SetDown(true)
			for b.Loop() {
				tr := ok[*track.Tracker](b)(track.New(w.config(nil)))
				if err := tr.Once(b.Context()); err == nil || tr.Truth().Current == nil {
					b.Fatalf("the error is %v", err)
				}
				w.stop(tr)
			}
		})
	}
}

// fill writes n objects, ten to a folder.
func fill(b *testing.B, w *world, n int) {
	b.Helper()
	for i := range n {
		name := fmt.Sprintf("item-%d", i)
		file := filepath.Join(w.repo.Work(), "apps", fmt.Sprint(i/10), name+".yaml")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(configMap(name, "1")), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
