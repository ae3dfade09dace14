package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// watchInterval is how soon a removed file or a full disk is noticed when nothing is written.
const watchInterval = time.Second

// clockTolerance is how far the wall clock may move against the monotonic one within a watchInterval before that is
// recorded: NTP slews by 0.5 ms per second at most.
const clockTolerance = 500 * time.Millisecond

// Health is how the log is.
type Health struct {
	// Err is why nothing can be written, or nil.
	Err error
	// FreeBytes and TotalBytes of the log's disk.
	FreeBytes, TotalBytes uint64
	// LowSpace: less than Config.LowSpace of the disk is free, or no spare segment could be reserved.
	LowSpace bool
	// Seq is the last durable record.
	Seq uint64
	// LastWrite is when it was put in order.
	LastWrite time.Time
}

// Health tells how the log is. A gate whose log has an Err is not ready.
func (l *Log) Health() Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.health
	h.Err = l.failed
	if l.closed && h.Err == nil {
		h.Err = ErrClosed
	}
	h.Seq, h.LastWrite = l.durable.seq, l.durable.last
	return h
}

// watch looks after the log between writes, until Close.
func (l *Log) watch() {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	wall, mono := l.cfg.now(), time.Now()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		now, elapsed := l.cfg.now(), time.Since(mono)
		step := now.Round(0).Sub(wall.Round(0)) - elapsed
		wall, mono = now, time.Now()
		if step.Abs() > clockTolerance {
			l.note(Record{Type: TypeClock, Event: &Event{
				Message: "the wall clock jumped", Details: map[string]string{"by": step.Round(time.Millisecond).String()},
			}})
		}
		if !l.cfg.VolatileUnsafe {
			l.inspect()
		}
		if h := l.Health(); l.cfg.Heartbeat > 0 && now.Sub(h.LastWrite).Abs() >= l.cfg.Heartbeat {
			l.note(Record{Type: TypeHeartbeat})
		}
	}
}

// note appends a record on the log's own behalf.
func (l *Log) note(r Record) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := l.Append(ctx, r); err != nil && !errors.Is(err, ErrClosed) {
		l.cfg.Logger.Error("the gate could not note an event in its audit log", "type", r.Type, "err", err)
	}
}

// inspect looks at the disk: is the file still ours, and is there space for the next one?
func (l *Log) inspect() {
	l.mu.Lock()
	idle := l.pending == 0 && len(l.queue) == 0
	l.mu.Unlock()
	if idle { // or the syncer looks by itself
		if err := l.intact(); err != nil {
			l.poison(err, nil)
		}
	}
	free, total, err := diskSpace(l.cfg.Dir)
	low := err != nil || float64(free) < l.cfg.LowSpace*float64(total)
	l.spareMu.Lock()
	if err := newSpare(l.cfg.Dir, l.cfg.SegmentSize); err != nil {
		low = true
	}
	l.spareMu.Unlock()
	l.metrics.free.Set(float64(free))
	l.mu.Lock()
	was := l.health.LowSpace
	l.health.FreeBytes, l.health.TotalBytes, l.health.LowSpace = free, total, low
	l.mu.Unlock()
	if low && !was {
		l.cfg.Logger.Warn("the disk of the audit log is nearly full: when it is, changes are refused", "free", free, "total", total)
	}
}

// intact checks the file between two writes.
func (l *Log) intact() error {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Intact(l.written)
}

// Prune removes the shards whose last record is older than the retention, and says so in the log first: a crash
// between the two leaves a shard that the next call removes. It returns the names of the removed shards.
func (l *Log) Prune(ctx context.Context) ([]string, error) {
	if l.cfg.Retention <= 0 || l.cfg.VolatileUnsafe {
		return nil, nil
	}
	segments, err := Segments(l.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var removed []string
	for i, s := range segments {
		if i+1 == len(segments) || segments[i+1].Shard == s.Shard {
			continue // the current shard stays whatever its age
		}
		// The next shard began when this one ended.
		h, err := readHeader(segments[i+1].Path)
		if err != nil {
			return removed, err
		}
		if l.cfg.now().Sub(h.Time) < l.cfg.Retention {
			break
		}
		if _, err := l.Append(ctx, Record{Type: TypePruned, Event: &Event{
			Message: "a shard is removed: its time is over",
			Details: map[string]string{
				"shard": s.Shard, "retention": l.cfg.Retention.String(), "last": strconv.FormatUint(h.First-1, 10), "sum": h.Prev,
			},
		}}); err != nil {
			return removed, err
		}
		if err := os.RemoveAll(filepath.Join(l.cfg.Dir, s.Shard)); err != nil {
			return removed, fmt.Errorf("remove shard %s: %w", s.Shard, err)
		}
		removed = append(removed, s.Shard)
	}
	return removed, syncFolder(l.cfg.Dir)
}

// Since is when the oldest segment of the log was begun.
func (l *Log) Since() (time.Time, error) {
	segments, err := Segments(l.cfg.Dir)
	if err != nil || len(segments) == 0 {
		return time.Time{}, err
	}
	h, err := readHeader(segments[0].Path)
	return h.Time, err
}

// Close writes a TypeStop record, waits for what is on its way to the disk, and gives the log up.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	_, err := l.Append(ctx, Record{Type: TypeStop, Event: &Event{Message: "the gate stopped writing this log"}})
	l.mu.Lock()
	if l.closed { // by somebody else, meanwhile
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.kick) // the syncer empties the queue first
	l.mu.Unlock()
	close(l.stop)
	l.ended.Wait()
	for _, c := range l.copies {
		c.close()
	}
	l.fileMu.Lock()
	if l.file != nil && l.failed == nil {
		err = errors.Join(err, l.file.Truncate(l.written))
	}
	l.fileMu.Unlock()
	l.release()
	return err
}
