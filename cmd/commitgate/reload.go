package main

import (
	"context"
	"errors"
	"os"
	"reflect"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// configGlance is how often configuration files are looked at: a mounted ConfigMap changes a minute after its object, so that nobody waits for this.
const configGlance = 2 * time.Second

// change is a configuration as somebody changed it, or why it is none.
type change struct {
	cfg *v1alpha1.Config
	err error
}

// changes hands over the newest change: one that nobody took is forgotten for the next.
type changes chan change

func newChanges() changes { return make(changes, 1) }

// put must be called by one goroutine.
func (c changes) put(next change) {
	select {
	case <-c:
	default:
	}
	c <- next
}

// newer tells whether there is another change.
func (c changes) newer() bool { return len(c) > 0 }

// reload takes changes until the context ends. One that cannot be taken leaves everything as it is, and is told; an error is that of a gate that
// can go on with nothing.
func (g *gate) reload(ctx context.Context) error {
	for {
		var next change
		select {
		case <-ctx.Done():
			return nil
		case next = <-g.changes:
		}
		err := next.err
		if err == nil {
			err = g.take(ctx, next.cfg)
		}
		switch {
		case errors.Is(err, errBroken):
			return err
		case errors.Is(err, errSuperseded), ctx.Err() != nil:
		case err != nil:
			why := err.Error()
			g.invalid.Store(&why)
			g.log.Error("a changed configuration is not taken: the one before is gone by", "err", err)
		default:
			g.invalid.Store(nil)
			if g.keep != nil {
				g.keep(next.cfg)
			}
		}
	}
}

// configurationInvalid is 1 while a change is not taken.
func (g *gate) configurationInvalid() float64 {
	if g.invalid.Load() != nil {
		return 1
	}
	return 0
}

// watchFiles looks for changes of configuration files until the context ends. was is what was read of them at the start.
func watchFiles(ctx context.Context, path string, was change, out changes) {
	tick := time.NewTicker(configGlance)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := change{}
		next.cfg, next.err = v1alpha1.Load(path)
		if errors.Is(next.err, os.ErrNotExist) {
			continue // between two versions of a mounted folder, or gone: what there was is gone by
		}
		if !was.same(next) {
			was = next
			out.put(next)
		}
	}
}

// same tells whether a change is none.
func (c change) same(other change) bool {
	if c.err != nil || other.err != nil {
		return c.err != nil && other.err != nil && c.err.Error() == other.err.Error()
	}
	return reflect.DeepEqual(c.cfg, other.cfg)
}
