package audit

import (
	"errors"
	"testing"
)

func TestFollowShowsEachRecordOnceAcrossSegments(t *testing.T) {
	cfg := testConfig(t)
	cfg.SegmentSize = 4 << 10
	l := open(t, cfg)
	first := mustAppend(t, l, decision(0))
	var after Line
	segments, err := Segments(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for line, err := range Records(segments) {
		if err != nil {
			t.Fatal(err)
		}
		after = line
	}
	go func() {
		for i := range 20 {
			if _, err := l.Append(t.Context(), decision(i)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	seq, enough := first.Seq, errors.New("enough")
	err = Follow(t.Context(), cfg.Dir, after, func(line Line) error {
		r, err := line.Decode()
		if err != nil {
			return err
		}
		if seq++; r.Seq != seq {
			t.Errorf("record %d, want %d", r.Seq, seq)
		}
		if seq == first.Seq+20 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}
