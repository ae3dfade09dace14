package main

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

// tracking is the tracker of the moment. Another configuration may take another tracker: one runs at a time, for they share a folder, and the one
// before is believed until the next is ready.
type tracking struct {
	current atomic.Pointer[track.Tracker] // that is believed

	mu      sync.Mutex // guards what follows
	running *track.Tracker
	begin   func(*track.Tracker) (stop func()) // nil before Run
	stop    func()                             // ends the one that runs, and waits for it; nil if none does
}

func newTracking(first *track.Tracker) *tracking {
	t := &tracking{running: first}
	t.current.Store(first)
	return t
}

// Truth is what is believed now; see track.Tracker.
func (t *tracking) Truth() *snapshot.Truth { return t.current.Load().Truth() }

// Status tells how the repositories stand.
func (t *tracking) Status() []track.Status { return t.current.Load().Status() }

// Hint says that there may be something to fetch.
func (t *tracking) Hint() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running != nil {
		t.running.Hint()
	}
}

// Run runs the tracker, and those that replace it, until the context ends or one breaks.
func (t *tracking) Run(ctx context.Context) error {
	broken := make(chan error, 1)
	t.mu.Lock()
	t.begin = func(next *track.Tracker) func() {
		each, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := next.Run(each); err != nil {
				select {
				case broken <- err:
				default: // one is enough
				}
			}
		}()
		return func() { cancel(); <-ended }
	}
	t.stop = t.begin(t.running)
	t.mu.Unlock()
	var err error
	select {
	case <-ctx.Done():
	case err = <-broken:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil {
		t.stop()
	}
	t.begin, t.stop = nil, nil
	return err
}

// replace ends the tracker that runs and runs another in its place. What was believed stays so until believe is called. After an error none runs.
func (t *tracking) replace(open func() (*track.Tracker, error)) (*track.Tracker, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	if t.running != nil {
		if err := t.running.Close(); err != nil {
			return nil, err
		}
		t.running = nil
	}
	next, err := open()
	if err != nil {
		return nil, err
	}
	t.running = next
	if t.begin != nil {
		t.stop = t.begin(next)
	}
	return next, nil
}

// runs is the tracker that runs; nil after replace failed.
func (t *tracking) runs() *track.Tracker {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running
}

// believe makes a tracker the one whose truth counts.
func (t *tracking) believe(next *track.Tracker) { t.current.Store(next) }

// Close lets go of the folder. Run must have returned.
func (t *tracking) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == nil {
		return nil
	}
	return t.running.Close()
}
