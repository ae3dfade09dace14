package audit

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// BenchmarkAppend is the budget of the record: against one fdatasync (alone), and against a bare group-commit loop
// (128 callers) of the same bytes on the same disk. `go test -bench Append -benchtime 2s ./audit`.
func BenchmarkAppend(b *testing.B) {
	b.Run("fdatasync", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "f"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		line := sampleLine()
		for b.Loop() {
			f.Write(line)
			if err := syncData(f); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("durable/1", func(b *testing.B) { benchmarkAppend(b, 1, Config{}) })
	b.Run("bare/128", func(b *testing.B) { benchmarkBare(b, 128) })
	b.Run("durable/128", func(b *testing.B) { benchmarkAppend(b, 128, Config{}) })
	b.Run("volatile/128", func(b *testing.B) { benchmarkAppend(b, 128, Config{VolatileUnsafe: true}) })
	b.Run("volatile/1", func(b *testing.B) { benchmarkAppend(b, 1, Config{VolatileUnsafe: true}) })
}

func sampleLine() []byte {
	r := decision(1)
	return newDraft(&r).line(nil, &r)
}

func benchmarkAppend(b *testing.B, callers int, with Config) {
	cfg := testConfig(b)
	cfg.SegmentSize, cfg.VolatileUnsafe = DefaultSegmentSize, with.VolatileUnsafe
	l := open(b, cfg)
	b.ResetTimer()
	share(b.N, callers, func(i int) {
		if _, err := l.Append(b.Context(), decision(i)); err != nil {
			b.Error(err)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// benchmarkBare is the least that a group commit does: collect, write, sync, wake.
func benchmarkBare(b *testing.B, callers int) {
	f, err := os.Create(filepath.Join(b.TempDir(), "f"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	type batch struct {
		data []byte
		done chan struct{}
	}
	var mu sync.Mutex
	next := &batch{done: make(chan struct{})}
	kick := make(chan struct{}, 1)
	go func() {
		for range kick {
			mu.Lock()
			this := next
			next = &batch{done: make(chan struct{})}
			mu.Unlock()
			f.Write(this.data)
			syncData(f)
			close(this.done)
		}
	}()
	line := sampleLine()
	b.ResetTimer()
	share(b.N, callers, func(int) {
		mu.Lock()
		mine := next
		mine.data = append(mine.data, line...)
		mu.Unlock()
		select {
		case kick <- struct{}{}:
		default:
		}
		<-mine.done
	})
	b.StopTimer()
	close(kick)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func share(n, callers int, do func(int)) {
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < n; i += callers {
				do(i)
			}
		})
	}
	wg.Wait()
}
