package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/webhook"
)

const (
	trialWithin = 5 * time.Minute        // a new repository may have to be fetched and verified from its anchor
	readyLook   = 100 * time.Millisecond // between two looks whether a new tracker is ready
)

// errSuperseded is returned when a configuration was not taken because a newer one is there.
var errSuperseded = errors.New("a newer configuration is there")

// errBroken is returned when the gate can go by neither configuration: it must end, and be started again.
var errBroken = errors.New("neither the new configuration nor the one before can be gone by")

// terms are what a gate makes of one configuration. They are replaced as a whole, and a request is answered by one set from its beginning to its end.
type terms struct {
	cfg     *v1alpha1.Config
	tracker *track.Tracker
	judge   *admit.Gate
	handler *webhook.Handler
	// collectors are the metrics that change with the configuration.
	collectors []prometheus.Collector
	registry   *prometheus.Registry // of collectors
}

// openTracker opens the tracker of a configuration. There must be no other.
func (g *gate) openTracker(cfg *v1alpha1.Config, dir string, observer track.Observer) (*track.Tracker, error) {
	reach, err := mirrorOptions(cfg.Repositories)
	if err != nil {
		return nil, err
	}
	decryption, err := newDecryption(cfg.Gate.Spec.Decryption)
	if err != nil {
		return nil, err
	}
	return track.New(track.Config{
		Mirror: func(repository string) mirror.Options { return reach[repository] },
		Gate:   cfg.Gate.Spec, Repositories: cfg.Repositories, Dir: dir,
		CacheKey: g.cacheKey, Definitions: g.defined, Observer: observer, Log: g.log, Now: time.Now,
		Engine: g.engine, Decryption: decryption, Tracer: g.tracer,
	})
}

// configure makes a gate of a configuration and its tracker.
func (g *gate) configure(cfg *v1alpha1.Config, tracker *track.Tracker) (*terms, error) {
	c := &terms{cfg: cfg, tracker: tracker, judge: admit.New(cfg, g.builtin), registry: prometheus.NewRegistry()}
	handler := g.base
	handler.Gate, handler.Source = c.judge, tracker
	if len(cfg.Gate.Spec.DryRuns) > 0 {
		runs, err := newDryRuns(g.options, g.log)
		if err != nil {
			return nil, err
		}
		handler.DryRuns = runs
	}
	c.handler = &handler
	c.collectors = append(tracker.Metrics(), exemptionMetrics(cfg.Gate.Spec.Exemptions), webhook.NewReadiness(g.checks(tracker)))
	for _, collector := range c.collectors {
		if err := c.registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// now is what the gate goes by.
func (g *gate) now() *terms { return g.current.Load() }

// take goes by another configuration, which was validated, without a request that nobody answers: what is needed is made and tried beside what there
// is, and then swapped. After an error the gate goes on as before, unless it is errBroken.
func (g *gate) take(ctx context.Context, cfg *v1alpha1.Config) error {
	was := g.now()
	if reflect.DeepEqual(was.cfg, cfg) && sameTruth(g.tracked, cfg) {
		return nil
	}
	if was.cfg.Gate.Spec.Cluster != cfg.Gate.Spec.Cluster {
		return fmt.Errorf("spec.cluster: %q names the audit log of this gate, and %q would be another: it takes a restart with an empty data folder", was.cfg.Gate.Spec.Cluster, cfg.Gate.Spec.Cluster)
	}
	if was.cfg.Gate.Spec.ServiceAccount != cfg.Gate.Spec.ServiceAccount {
		return errors.New("spec.serviceAccount says whose Leases count the uses of grants: restart the gate to change it")
	}
	authority, err := breakglass.NewAuthority(&cfg.Gate.Spec)
	if err != nil {
		return err
	}
	if !sameTruth(g.tracked, cfg) {
		if err := g.retrack(ctx, cfg, was); err != nil {
			return err
		}
	}
	tracker, err := g.awaited(ctx, was.tracker)
	if err != nil {
		return err
	}
	next, err := g.configure(cfg, tracker)
	if err != nil {
		if tracker != was.tracker { // whose folder another has
			err = errors.Join(errBroken, err)
		}
		return err
	}
	if err := g.grants.trust(authority, time.Now()); err != nil {
		g.log.Warn("grants open nothing", "err", err)
	}
	g.tracker.believe(tracker)
	g.current.Store(next)
	details, err := keepConfiguration(g.sealing.exhibits, cfg)
	if err == nil {
		_, err = g.audit.Append(ctx, audit.Record{Type: audit.TypeConfigured, Event: &audit.Event{Message: "another configuration is gone by", Details: details}})
	}
	if err != nil { // a log that cannot be written poisons itself, and every change is refused
		g.log.Error("the gate could not note its configuration in its audit log", "err", err)
	}
	g.log.Info("another configuration is gone by", "mode", cfg.Gate.Spec.Mode, "scope", cfg.Gate.Spec.Scope)
	return nil
}

// retrack runs the tracker of another configuration. The gate answers by what it believed before until somebody believes the other; what an agent
// brings that is newer is told to wait.
func (g *gate) retrack(ctx context.Context, cfg *v1alpha1.Config, was *terms) error {
	if err := g.try(ctx, cfg, was); err != nil {
		return err
	}
	open := func(cfg *v1alpha1.Config) (*track.Tracker, error) {
		return g.tracker.replace(func() (*track.Tracker, error) {
			return g.openTracker(cfg, filepath.Join(g.options.data, "track"), g.observer)
		})
	}
	_, err := open(cfg)
	if err != nil { // the trial went well: it is the machine that fails
		back, again := open(was.cfg)
		if again == nil {
			var c *terms
			if c, again = g.configure(was.cfg, back); again == nil {
				g.tracked = was.cfg
				g.tracker.believe(back)
				g.current.Store(c)
				return err
			}
		}
		return errors.Join(errBroken, err, again)
	}
	g.tracked = cfg
	return nil
}

// awaited is the tracker that runs: a new one, once it is ready.
func (g *gate) awaited(ctx context.Context, was *track.Tracker) (*track.Tracker, error) {
	next := g.tracker.runs()
	for next != was && !ready(next) {
		timer := time.NewTimer(readyLook)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
		if g.changes.newer() {
			return nil, errSuperseded
		}
	}
	return next, nil
}

// ready tells whether a revision of each repository is the truth.
func ready(t *track.Tracker) bool {
	return !slices.ContainsFunc(t.Status(), func(s track.Status) bool { return !s.Ready() })
}

// try makes the truth that a configuration would give, beside what there is: of the revisions that are the truth now, from the mirrors; where a
// repository is new, or begins anew, of what its host says.
func (g *gate) try(ctx context.Context, cfg *v1alpha1.Config, was *terms) error {
	ctx, cancel := context.WithTimeout(ctx, trialWithin)
	defer cancel()
	at := track.AtConfig{
		Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: map[string]string{}, Revisions: map[string]string{},
		CRDs: slices.Collect(maps.Values(g.defined())), Engine: g.engine,
	}
	var err error
	if at.Decryption, err = newDecryption(cfg.Gate.Spec.Decryption); err != nil {
		return err
	}
	for _, s := range was.tracker.Status() {
		is, old := cfg.Repository(s.Repository), was.cfg.Repository(s.Repository)
		if is == nil || old == nil || is.Spec.URL != old.Spec.URL || is.Spec.Branch != old.Spec.Branch || is.Spec.Anchor != old.Spec.Anchor || !s.Ready() {
			continue
		}
		at.Paths[s.Repository] = filepath.Join(g.options.data, "track", "mirrors", s.Repository)
		at.Revisions[s.Repository] = string(s.Published)
	}
	if len(at.Paths) == len(cfg.Repositories) {
		_, err := track.At(ctx, at)
		return err
	}
	return g.tryAfresh(ctx, cfg)
}

// tryAfresh fetches and verifies into a folder that goes away.
func (g *gate) tryAfresh(ctx context.Context, cfg *v1alpha1.Config) (err error) {
	dir, err := os.MkdirTemp(g.options.data, "trial-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t, err := g.openTracker(cfg, dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.Once(ctx); err != nil {
		return err
	}
	for _, s := range t.Status() {
		if missing := unverified(s); missing != "" {
			return fmt.Errorf("repository %s: %s", s.Repository, missing)
		}
	}
	return nil
}

// sameTruth tells whether two configurations make the same truth of the same commits: they differ only in what judges requests.
func sameTruth(a, b *v1alpha1.Config) bool {
	return reflect.DeepEqual(truthOf(a), truthOf(b))
}

// truthOf is what of a configuration the truth is made from.
func truthOf(cfg *v1alpha1.Config) v1alpha1.Config {
	out := v1alpha1.Config{Gate: v1alpha1.Gate{Spec: cfg.Gate.Spec}}
	// What only judges requests. A field that is not named here is taken for one of the truth, which is never wrong.
	s := &out.Gate.Spec
	s.Mode, s.Scope, s.Overrides, s.Exemptions, s.Connect, s.DryRuns, s.BreakGlass, s.ServiceAccount = "", "", nil, nil, nil, nil, nil, ""
	for _, r := range cfg.Repositories {
		spec := r.Spec
		spec.StaleAfter.Duration = 0 // judges requests
		one := v1alpha1.TrustedRepository{Spec: spec}
		one.Name = r.Name
		out.Repositories = append(out.Repositories, one)
	}
	return out
}
