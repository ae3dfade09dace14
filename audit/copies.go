package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A Sink takes copies of records. It is called from one goroutine, in the order of the log.
type Sink interface {
	// Write takes whole lines, each ending in a line feed. It must give up when ctx ends; a write that did not is
	// abandoned, and the sink is not called again until it returns.
	Write(ctx context.Context, lines []byte) error
}

// Copy is a second place for the records. The log on disk stays the only truth.
type Copy struct {
	Name string
	Sink Sink
	// Timeout of one write; a second if it is not set. A sink that hangs delays nobody longer.
	Timeout time.Duration
	// Required: Append fails with ErrCopy unless this sink took the record too. Otherwise the copy is made afterwards, and
	// what it misses is counted.
	Required bool
}

// copyQueue is how many batches may wait for a sink before they are missed and counted.
const copyQueue = 256

// copier feeds one sink.
type copier struct {
	Copy
	metrics *logMetrics
	logger  *slog.Logger
	work    chan copyWork
	ended   sync.WaitGroup
}

type copyWork struct {
	lines  []byte
	result chan<- error // capacity 1, or nil if nobody waits
}

func newCopier(c Copy, m *logMetrics, logger *slog.Logger) *copier {
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	k := &copier{Copy: c, metrics: m, logger: logger, work: make(chan copyWork, copyQueue)}
	k.ended.Go(func() {
		for w := range k.work {
			ctx, cancel := context.WithTimeout(context.Background(), k.Timeout)
			err := k.Sink.Write(ctx, w.lines)
			cancel()
			if w.result != nil {
				w.result <- err
			}
			if err != nil {
				k.missed(err)
			}
		}
	})
	return k
}

func (k *copier) missed(err error) {
	k.metrics.copyFailures.WithLabelValues(k.Name).Inc()
	k.logger.Warn("a copy of the audit log missed records", "copy", k.Name, "err", err)
}

// send hands lines over and returns where the answer will come, or nil if the sink is too far behind.
func (k *copier) send(lines []byte) <-chan error {
	result := make(chan error, 1)
	select {
	case k.work <- copyWork{lines, result}:
		return result
	default:
		k.missed(errors.New("it is too slow"))
		return nil
	}
}

func (k *copier) close() {
	close(k.work)
	done := make(chan struct{})
	go func() { k.ended.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(k.Timeout): // a sink that hangs does not keep the gate from ending
	}
}

// copyOut hands a durable batch to the copies and waits for those that are required. It runs in the syncer: a
// required copy sets the pace, at most its Timeout per batch.
func (l *Log) copyOut(b *batch) error {
	var problem error
	type wait struct {
		k      *copier
		result <-chan error
	}
	var waits []wait
	for _, k := range l.copies {
		result := k.send(b.data[b.header:])
		if k.Required {
			waits = append(waits, wait{k, result})
		}
	}
	for _, w := range waits {
		err := errors.New("it is too slow")
		if w.result != nil {
			select {
			case err = <-w.result:
			case <-time.After(w.k.Timeout):
			}
		}
		if err != nil {
			problem = errors.Join(problem, fmt.Errorf("%w: %s: %w", ErrCopy, w.k.Name, err))
		}
	}
	return problem
}

// FileSink copies records to a file, on another disk, and syncs it. Where the file was moved away or removed, as logrotate(8) does, it begins it anew.
type FileSink struct {
	path string
	mu   sync.Mutex // held by a Write, which may hang
	f    *os.File
}

// OpenFileSink appends to the file at path.
func OpenFileSink(path string) (*FileSink, error) {
	s := &FileSink{path: path}
	return s, s.reopen()
}

// Write implements Sink. A disk that hangs holds it past the context: the log does not wait for it.
func (s *FileSink) Write(_ context.Context, lines []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	here, err := s.f.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Stat(s.path); err != nil || !os.SameFile(here, there) {
		if err := errors.Join(s.f.Close(), s.reopen()); err != nil {
			return err
		}
	}
	if _, err := s.f.Write(lines); err != nil {
		return err
	}
	return syncData(s.f)
}

func (s *FileSink) reopen() (err error) {
	s.f, err = os.OpenFile(s.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

// Close closes the file. A Write that hangs keeps it: the end of the process will close it.
func (s *FileSink) Close() error {
	if !s.mu.TryLock() {
		return nil
	}
	defer s.mu.Unlock()
	return s.f.Close()
}
