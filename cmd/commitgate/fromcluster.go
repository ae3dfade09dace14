package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/watch"
)

const (
	// clusterWait bounds the first question to the API server: after it, what was last gone by will do.
	clusterWait = 20 * time.Second
	// quiet is how long nothing must change before a change is read: people and agents apply several objects one after the other.
	quiet = time.Second
	// keptFile holds the configuration that was last gone by, in the data folder.
	keptFile = "configuration"
)

// errDamaged is returned when the kept configuration is not what was written.
var errDamaged = errors.New("the kept configuration is damaged")

// configuration reads what to start with. follow is told the gate that goes by it, and lets it follow changes.
func (o serveOptions) configuration(ctx context.Context, log *slog.Logger) (cfg *v1alpha1.Config, follow func(*gate), err error) {
	if !o.fromCluster {
		if cfg, err = v1alpha1.Load(o.config); err != nil {
			return nil, nil, usage("configuration:\n%w", err)
		}
		return cfg, func(g *gate) {
			g.watchChanges = func(ctx context.Context) error { watchFiles(ctx, o.config, change{cfg: cfg}, g.changes); return nil }
		}, nil
	}
	f, err := newFromCluster(o, log)
	if err != nil {
		return nil, nil, unknown(err)
	}
	cfg, stale, err := f.first(ctx)
	if err != nil {
		return nil, nil, unknown(err)
	}
	return cfg, func(g *gate) {
		g.keep = f.keep
		g.watchChanges = func(ctx context.Context) error { return f.run(ctx, g.changes) }
		if stale == nil {
			f.keep(cfg)
			return
		}
		why := stale.Error()
		g.invalid.Store(&why)
		log.Error("the configuration of the cluster is not gone by, but the one before", "err", stale)
	}, nil
}

// fromCluster is a configuration that comes from the custom resources of a cluster. What was last gone by is kept in the data folder, so that a gate
// starts while the API server is not there, or while the objects are wrong.
type fromCluster struct {
	watch   *watch.Configuration
	changed chan struct{}
	kept    string // file
	log     *slog.Logger
}

func newFromCluster(o serveOptions, log *slog.Logger) (*fromCluster, error) {
	cluster, err := restConfig(o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	f := &fromCluster{changed: make(chan struct{}, 1), kept: filepath.Join(o.data, keptFile), log: log}
	f.watch, err = watch.NewConfiguration(cluster, func() {
		select {
		case f.changed <- struct{}{}:
		default:
		}
	})
	return f, err
}

// first is the configuration to start with: that of the cluster, or else the one that was last gone by; then the second error says why.
func (f *fromCluster) first(ctx context.Context) (cfg *v1alpha1.Config, stale, err error) {
	ctx, cancel := context.WithTimeout(ctx, clusterWait)
	defer cancel()
	objects, err := f.watch.List(ctx)
	if err == nil {
		cfg, err = assemble(objects)
	}
	if err == nil {
		return cfg, nil, nil
	}
	last, missing := readKept(f.kept)
	if missing != nil {
		return nil, nil, fmt.Errorf("configuration of the cluster: %w", errors.Join(err, missing))
	}
	return last, err, nil
}

// assemble makes a configuration of objects, in an order that does not depend on the cluster's.
func assemble(objects []map[string]any) (*v1alpha1.Config, error) {
	cfg, err := v1alpha1.Assemble(objects)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(cfg.Repositories, func(a, b v1alpha1.TrustedRepository) int { return cmp.Compare(a.Name, b.Name) })
	return cfg, nil
}

// run hands over what changes until the context ends.
func (f *fromCluster) run(ctx context.Context, out changes) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { f.watch.Run(ctx); return nil })
	group.Go(func() error { f.follow(ctx, out); return nil })
	return group.Wait()
}

func (f *fromCluster) follow(ctx context.Context, out changes) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.changed:
		}
		if !f.settle(ctx) {
			return
		}
		objects, listed := f.watch.All()
		if !listed {
			continue // the next list says more
		}
		next := change{}
		next.cfg, next.err = assemble(objects)
		out.put(next)
	}
}

// settle waits until nothing changes any more; false if the context ended.
func (f *fromCluster) settle(ctx context.Context) bool {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-f.changed:
			timer.Reset(quiet)
		case <-timer.C:
			return true
		}
	}
}

// keep makes durable what is gone by. A crash inside it leaves this or what was before.
func (f *fromCluster) keep(cfg *v1alpha1.Config) {
	if err := writeKept(f.kept, cfg); err != nil {
		f.log.Error("the configuration cannot be kept: a restart without the API server finds the one before", "err", err)
	}
}

func writeKept(path string, cfg *v1alpha1.Config) error {
	body, err := cfg.Documents()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	file, err := os.CreateTemp(filepath.Dir(path), ".configuration-*")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%s\n%s", hex.EncodeToString(sum[:]), body)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

func readKept(path string) (*v1alpha1.Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("and none was gone by before")
	}
	if err != nil {
		return nil, err
	}
	sum, body, ok := bytes.Cut(data, []byte("\n"))
	want := sha256.Sum256(body)
	if !ok || string(sum) != hex.EncodeToString(want[:]) {
		return nil, fmt.Errorf("%w: %s: its checksum does not match", errDamaged, path)
	}
	return v1alpha1.Parse(path, body)
}
