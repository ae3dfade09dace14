package audit

import (
	"sync"
	"testing"
)

// The watch looks at the disk each second, in the middle of whatever the writer does: while it begins a segment, and between a write and the note of
// its length. It must neither empty the file that is to be the next segment nor take a write on its way for somebody else's.
func TestTheWatchDoesNotDisturbTheWriter(t *testing.T) {
	cfg := testConfig(t)
	cfg.SegmentSize = 4 << 10 // a new one every few records
	l := open(t, cfg)
	stop := make(chan struct{})
	var watching, writing sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				l.inspect()
			}
		}
	})
	for c := range 4 {
		writing.Go(func() {
			for i := range 60 {
				if _, err := l.Append(t.Context(), decision(1000*c+i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	watching.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(cfg.Dir, nil)
	if err != nil || len(r.Problems) > 0 || r.Records < 240 {
		t.Errorf("%d records, problems %v, %v", r.Records, r.Problems, err)
	}
}
