package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/watch"
)

// grantTick is how soon a grant that begins or ends by itself is noted; whether it covers a request is worked out for each request.
const grantTick = 5 * time.Second

// grantWatch is break-glass in a running gate.
type grantWatch struct {
	keeper *grantKeeper
	watch  *watch.Grants // nil: no cluster
}

// openGrants prepares break-glass, also where the configuration does not say yet who may sign grants. Grants come from the cluster, and from files in
// the folder of their counts (DATA/grants/*.yaml), for when the cluster cannot bring them.
func (g *gate) openGrants(cfg *v1alpha1.Config, o serveOptions) (*breakglass.Store, error) {
	authority, err := breakglass.NewAuthority(&cfg.Gate.Spec)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(o.data, "grants")
	store, err := breakglass.Open(authority, dir)
	if err != nil {
		return nil, err
	}
	keeper := newGrantKeeper(store, g.log, g.audit, dir)
	g.grants = &grantWatch{keeper: keeper}
	if o.noCluster {
		return store, nil
	}
	cluster, err := restConfig(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	if namespace, ok := cfg.Gate.Spec.OwnNamespace(); ok { // without, each replica counts for itself: it may write nothing
		host, err := os.Hostname()
		if err != nil {
			return nil, err
		}
		uses, err := watch.NewUses(cluster, namespace, host, time.Now)
		if err != nil {
			return nil, err
		}
		store.CountWith(uses)
	}
	g.grants.watch, err = watch.NewGrants(cluster, keeper.seen, keeper.gone)
	return store, err
}

// trust replaces who may sign grants. The error names those that open nothing.
func (w *grantWatch) trust(authority *breakglass.Authority, now time.Time) error {
	defer w.keeper.note()
	return w.keeper.store.Trust(authority, now)
}

// run watches until the context ends.
func (w *grantWatch) run(ctx context.Context) error {
	if w.watch == nil {
		w.keeper.run(ctx, func() bool { return true })
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { w.watch.Run(ctx); return nil })
	group.Go(func() error { w.keeper.run(ctx, w.watch.Synced); return nil })
	return group.Wait()
}

// grantKeeper hands the cluster's grants and those in files to the store, and notes in log and audit log when one opens or closes.
type grantKeeper struct {
	store *breakglass.Store
	log   *slog.Logger
	audit *audit.Log
	dir   string               // of grants in files
	files map[string]grantFile // as last read, by path; owned by run

	mu     sync.Mutex // guards states
	states map[string]breakglass.State
}

// grantFile is what a file held when it was last read.
type grantFile struct{ content, grant string } // grant is its name, "" if it is none

func newGrantKeeper(store *breakglass.Store, log *slog.Logger, records *audit.Log, dir string) *grantKeeper {
	return &grantKeeper{store: store, log: log, audit: records, dir: dir, files: map[string]grantFile{}, states: map[string]breakglass.State{}}
}

// readFiles takes up the grants in files that are new or changed, and ends those whose file is gone.
func (k *grantKeeper) readFiles() {
	paths, err := filepath.Glob(filepath.Join(k.dir, "*.yaml"))
	if err != nil {
		k.log.Error("the folder of grants cannot be read", "err", err)
		return
	}
	for path, was := range k.files {
		if slices.Contains(paths, path) {
			continue
		}
		delete(k.files, path)
		if was.grant != "" {
			k.gone(was.grant)
		}
	}
	for _, path := range paths {
		k.readFile(path)
	}
}

// readFile takes up a grant in a file, if it is new or changed. What cannot be read, or is half written, ends nothing.
func (k *grantKeeper) readFile(path string) {
	was, known := k.files[path]
	data, err := os.ReadFile(path)
	if err != nil || known && was.content == string(data) {
		if err != nil {
			k.log.Warn("a grant cannot be read", "file", path, "err", err)
		}
		return
	}
	g, err := v1alpha1.ParseGrant(data)
	if err != nil {
		k.log.Warn("a file is no grant", "file", path, "err", err)
		k.files[path] = grantFile{string(data), was.grant}
		return
	}
	k.files[path] = grantFile{string(data), g.Name}
	k.seen(g)
	if was.grant != "" && was.grant != g.Name {
		k.gone(was.grant)
	}
}

func (k *grantKeeper) seen(g *v1alpha1.Grant) {
	if err := k.store.Observe(g, time.Now()); err != nil {
		k.log.Warn("a grant opens nothing", "grant", g.Name, "err", err)
	}
	k.note()
}

func (k *grantKeeper) gone(name string) {
	if err := k.store.Forget(name); err != nil {
		k.log.Error("the end of a grant is not durable: after a restart it could be brought again", "grant", name, "err", err)
	}
	k.note()
}

// run notes what time does to grants and what lies in files, and, once the cluster has been listed, which grants were deleted while the gate was
// down; until the context ends.
func (k *grantKeeper) run(ctx context.Context, synced func() bool) {
	tick := time.NewTicker(grantTick)
	defer tick.Stop()
	listed := false
	for {
		k.readFiles()
		var err error
		if !listed && synced() {
			if err = k.store.Listed(); err == nil {
				listed = true
			}
		}
		if err = errors.Join(err, k.store.Settle(time.Now())); err != nil {
			k.log.Error("the end of grants is not durable: after a restart they could be brought again", "err", err)
		}
		k.note()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// note records what changed since it was last called.
func (k *grantKeeper) note() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := map[string]breakglass.State{}
	for _, s := range k.store.Set().Standings(time.Now()) {
		now[s.Name] = s.State
		was := k.states[s.Name]
		switch {
		case s.State == breakglass.Active && was != breakglass.Active:
			k.record(audit.TypeGrant, s, "a break-glass grant is active")
		case s.State != breakglass.Active && was == breakglass.Active:
			k.record(audit.TypeGrantEnd, s, "a break-glass grant is over: "+string(s.State))
		}
	}
	for name, was := range k.states {
		if _, ok := now[name]; !ok && was == breakglass.Active {
			k.record(audit.TypeGrantEnd, breakglass.Standing{Grant: breakglass.Grant{Name: name}}, "a break-glass grant is over: its object is gone")
		}
	}
	k.states = now
}

func (k *grantKeeper) record(kind audit.Type, s breakglass.Standing, message string) {
	k.log.Warn(message, "grant", s.Name, "uses", s.Uses, "reason", s.Spec.Reason)
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	emergency := &audit.Emergency{Grant: s.Name, Reason: s.Spec.Reason, Ticket: s.Spec.Ticket}
	if until := s.Spec.Until.Time; !until.IsZero() {
		emergency.Expires = &until
	}
	for _, p := range s.SignedBy {
		emergency.OpenedBy = append(emergency.OpenedBy, string(p))
	}
	// A log that cannot be written poisons itself, and then every change is refused: nothing passes by a grant unseen.
	_, err := k.audit.Append(ctx, audit.Record{Type: kind, Emergency: emergency, Event: &audit.Event{
		Message: message, Details: map[string]string{"uses": strconv.Itoa(s.Uses), "requestedBy": s.Spec.RequestedBy},
	}})
	if err != nil {
		k.log.Error("the gate could not note a grant in its audit log", "grant", s.Name, "err", err)
	}
}

// grantMetrics tells how many grants stand where.
type grantMetrics struct {
	store  *breakglass.Store
	grants *prometheus.Desc
}

func newGrantMetrics(store *breakglass.Store) prometheus.Collector {
	return &grantMetrics{store, prometheus.NewDesc("gate_grants", "Break-glass grants that the cluster shows and whose signatures suffice, by where they stand: "+
		"Active, Pending, Expired, Exhausted, Revoked, Deleted.", []string{"state"}, nil)}
}

func (m *grantMetrics) Describe(out chan<- *prometheus.Desc) { out <- m.grants }

func (m *grantMetrics) Collect(out chan<- prometheus.Metric) {
	counts := map[breakglass.State]int{}
	for _, s := range m.store.Set().Standings(time.Now()) {
		counts[s.State]++
	}
	for _, state := range []breakglass.State{breakglass.Active, breakglass.Pending, breakglass.Expired, breakglass.Exhausted, breakglass.Revoked, breakglass.Deleted} {
		out <- prometheus.MustNewConstMetric(m.grants, prometheus.GaugeValue, float64(counts[state]), string(state))
	}
}
