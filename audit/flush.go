package audit

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"
)

// place puts r at the end of the queue and fills in its place. l.mu is held. Order is decided here, and here only.
func (l *Log) place(r *Record, d draft) *batch {
	now := l.cfg.now().UTC().Round(0)
	shard := l.cfg.Period.shard(now)
	if shard < l.head.shard {
		shard = l.head.shard // a clock that went back does not reopen a shard
	}
	opens := shard != l.head.shard
	if opens && r.Type != TypeShard {
		first := Record{Type: TypeShard, Schema: Schema, Event: &Event{Message: "a new shard begins", Details: map[string]string{
			"shard": shard, "previous": l.head.shard, "last": strconv.FormatUint(l.head.seq, 10), "sum": l.head.sum,
		}}}
		writer := l.cfg.Writer
		first.Writer = &writer
		l.place(&first, draft{})
	}
	if r.Writer.Shard != shard {
		r.Writer.Shard = shard
		d = newDraft(r)
	}
	b := l.lastBatch()
	if l.head.size == 0 || opens && r.Type == TypeShard || l.head.size+int64(d.size()) > l.cfg.SegmentSize {
		b = l.startSegment(shard, now)
	}
	r.Seq = l.head.seq + 1
	r.Prev = l.head.sum
	r.Time = now
	r.Monotonic = int64(sinceBoot())
	r.ID = ulid.MustNew(ulid.Timestamp(now), l.entropy).String()
	before := len(b.data)
	b.data = d.line(b.data, r)
	n := len(b.data) - before
	b.n++
	l.pending += n
	l.head = head{seq: r.Seq, sum: r.Sum, shard: shard, size: l.head.size + int64(n), last: now}
	b.head = l.head
	select {
	case l.kick <- struct{}{}:
	default: // the syncer is already called
	}
	return b
}

// lastBatch is the one that the next record joins. l.mu is held.
func (l *Log) lastBatch() *batch {
	if len(l.queue) == 0 {
		l.queue = append(l.queue, &batch{done: make(chan struct{})})
	}
	return l.queue[len(l.queue)-1]
}

// startSegment puts a batch into the queue that begins with a header. l.mu is held.
func (l *Log) startSegment(shard string, now time.Time) *batch {
	writer := l.cfg.Writer
	writer.Shard = shard
	first := l.head.seq + 1
	line, sum := Header{First: first, Format: Format, Prev: l.head.sum, Time: now, Writer: &writer}.line()
	b := &batch{
		done:  make(chan struct{}),
		start: &Segment{Path: segmentPath(l.cfg.Dir, shard, first), Shard: shard, First: first},
		data:  append(line, '\n'),
	}
	b.header = len(b.data)
	if n := len(l.queue); n > 0 && l.queue[n-1].n == 0 {
		l.queue = l.queue[:n-1] // an empty batch, made for a record that goes here
	}
	l.queue = append(l.queue, b)
	l.pending += b.header
	l.head.sum, l.head.size = sum, int64(b.header)
	return b
}

// flushAll is the syncer: it owns the file and makes one batch after the other durable, until Close.
func (l *Log) flushAll() {
	for range l.kick {
		for b := l.takeBatch(); b != nil; b = l.takeBatch() {
			start := time.Now()
			err := l.flush(b)
			l.metrics.flush.Observe(time.Since(start).Seconds())
			l.finish(b, err)
		}
	}
}

func (l *Log) takeBatch() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || l.failed != nil {
		return nil
	}
	b := l.queue[0]
	l.queue = l.queue[1:]
	return b
}

// flush makes b durable. An error that wraps ErrFull left the log as it was; any other left it unknown.
func (l *Log) flush(b *batch) error {
	if l.cfg.VolatileUnsafe {
		return nil
	}
	data := b.data
	if b.start != nil {
		if err := l.rotate(b); err != nil {
			return err
		}
		data = data[b.header:]
	}
	// A crash from here on leaves a prefix of data, which the next Open cuts after its last whole line: none of it is acknowledged.
	l.fileMu.Lock() // the watch must not see the bytes without their number
	n, err := l.file.Write(data)
	l.written += int64(n)
	written := l.written
	l.fileMu.Unlock()
	if err != nil {
		return err
	}
	if !l.cfg.NoSyncUnsafe {
		if err := l.file.Sync(); err != nil {
			return err
		}
	}
	// The disk has the records; unless somebody removed the file that holds them.
	return l.file.Intact(written)
}

// rotate ends the segment and begins that of b. The old one is durable already: each batch was synced.
func (l *Log) rotate(b *batch) error {
	l.spareMu.Lock()
	f, err := newSegment(l.cfg.Dir, b.start.Path, b.data[:b.header-1], l.cfg.SegmentSize)
	l.spareMu.Unlock()
	if err != nil {
		if noSpace(err) {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return fmt.Errorf("begin segment: %w", err)
	}
	l.fileMu.Lock()
	old, size := l.file, l.written
	l.file, l.written = l.cfg.wrap(f), int64(b.header)
	l.fileMu.Unlock()
	if old != nil {
		// What was reserved and not used goes back to the disk.
		if err := old.Truncate(size); err != nil {
			l.cfg.Logger.Warn("could not trim a segment of the audit log", "err", err)
		}
		if err := old.Close(); err != nil {
			return err
		}
	}
	return nil
}

// finish tells the callers of b, or everybody, how it went.
func (l *Log) finish(b *batch, err error) {
	if err == nil {
		l.mu.Lock()
		l.durable = b.head
		l.pending -= len(b.data)
		l.mu.Unlock()
		l.metrics.records.Add(float64(b.n))
		b.err = l.copyOut(b)
		close(b.done)
		return
	}
	if !errors.Is(err, ErrFull) {
		l.poison(err, b)
		return
	}
	l.metrics.failures.Inc()
	l.cfg.Logger.Error("the audit log is full: changes are refused", "err", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropQueue(err, b)
	l.head = l.durable // nothing of what was dropped exists: its numbers are given again
	l.head.size = 0    // the next record begins a segment
}

// dropQueue fails b and everything that waits. l.mu is held.
func (l *Log) dropQueue(err error, b *batch) {
	for _, q := range append([]*batch{b}, l.queue...) {
		if q != nil {
			q.err = err
			close(q.done)
		}
	}
	l.queue, l.pending = nil, 0
}

// poison ends writing for good: what the disk holds is not known any more. Nothing is tried again on the same file: a
// second fdatasync may report success for pages that the first one lost.
func (l *Log) poison(cause error, b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("%w: %w", ErrPoisoned, cause)
		l.metrics.failures.Inc()
		l.metrics.poisoned.Set(1)
		l.cfg.Logger.Error("the audit log failed: changes are refused until the gate restarts", "err", cause)
	}
	l.dropQueue(l.failed, b)
}
