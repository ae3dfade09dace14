package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/dryrun"
	"github.com/commitgate/commitgate/hook"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/status"
	"github.com/commitgate/commitgate/trace"
	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/watch"
	"github.com/commitgate/commitgate/watchdog"
	"github.com/commitgate/commitgate/webhook"
)

const (
	readHeaderTimeout = 5 * time.Second  // a slow client must not hold a connection for nothing
	idleTimeout       = 90 * time.Second // longer than the API server keeps an idle one
	shutdownTimeout   = 31 * time.Second // more than a webhook's longest time-out
	heartbeat         = time.Minute      // the longest silence of the audit log
	tracesWithin      = 3 * time.Second  // a collector that does not answer must not hold up the end
	definitionsWait   = 5 * time.Second  // without the cluster's CRDs the truth is made all the same, and made anew when they come
)

// gate is a running gate: what it consists of, in the order in which it is made.
type gate struct {
	log      *slog.Logger
	options  serveOptions
	sealing  *sealing
	audit    *audit.Log // that of sealing
	observer *recorder
	cacheKey []byte
	engine   manifest.Engine
	builtin  *account.Types
	base     webhook.Handler // what every configuration's handler has
	tracker  *tracking
	tracked  *v1alpha1.Config // that tracker runs by; owned by reload
	current  atomic.Pointer[terms]
	invalid  atomic.Pointer[string] // why a changed configuration is not gone by; nil: it is
	// changes brings other configurations, from watchChanges; nil: there are none.
	changes      changes
	watchChanges func(context.Context) error
	keep         func(*v1alpha1.Config) // makes durable what is taken; nil: it is in files
	watch        *watch.Watch           // nil: no cluster
	// definitions are the CRDs of the cluster; nil: no cluster.
	definitions *watch.Definitions
	// inventory is what policies see of the cluster; nil: no cluster.
	inventory *watch.Inventory
	scan      *scan.Scanner      // nil: no cluster, or switched off
	watchdog  *watchdog.Watchdog // nil: no cluster, or nobody says what the registration should be
	grants    *grantWatch
	showing   *showing // nil: no cluster, or switched off
	reviews   *http.Server
	probes    *http.Server
	ui        *http.Server // nil: switched off
	certs     *certificates
	drain     webhook.Drain
	tracer    *trace.Tracer // nil: nobody asks for traces
	// drainFor is how long the gate still answers after it said that it ends.
	drainFor time.Duration
	listener net.Listener
	// collectors are the gate's own metrics.
	collectors []prometheus.Collector
}

// newGate wires the gate. What it opened before an error it closes again.
func newGate(ctx context.Context, cfg *v1alpha1.Config, o serveOptions, log *slog.Logger) (g *gate, err error) {
	g = &gate{log: log, options: o, tracked: cfg, drainFor: o.drain}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
			g = nil
		}
	}()
	if g.tracer, err = trace.Open(ctx, o.otlpEndpoint, version(), log); err != nil {
		return g, err
	}
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return g, err
	}
	if g.sealing, err = openAudit(ctx, cfg, o, log); err != nil {
		return g, err
	}
	g.audit = g.sealing.log
	if o.verifiedKey != "" {
		if g.cacheKey, err = os.ReadFile(o.verifiedKey); err != nil {
			return g, err
		}
	}
	g.engine = newEngine(uint64(o.renderMiB) << 20)
	if g.observer, err = newRecorder(g.audit, g.sealing.exhibits, time.Now); err != nil {
		return g, err
	}
	tracker, err := g.openTracker(cfg, filepath.Join(o.data, "track"), g.observer)
	if err != nil {
		return g, err
	}
	g.tracker = newTracking(tracker)
	store := new(live.Store)
	inventory := policy.NewInventory(o.inventoryMiB << 20)
	if err := g.watchCluster(o, store, inventory); err != nil {
		return g, err
	}
	grants, err := g.openGrants(cfg, o)
	if err != nil {
		return g, err
	}
	if g.builtin, err = account.NewTypes(nil); err != nil {
		return g, err
	}
	g.base = webhook.Handler{Live: store, Audit: g.audit, Metrics: webhook.NewMetrics(), Log: log, Now: time.Now, Inventory: inventory, Grants: grants, Tracer: g.tracer}
	if g.base.Digests, err = g.sealing.digests(o); err != nil {
		return g, err
	}
	g.collectors = slices.Concat(g.base.Metrics.Metrics(), g.audit.Metrics(), g.sealing.sealer.Metrics(), g.sealing.shipper.Metrics(), inventory.Metrics(),
		[]prometheus.Collector{newGrantMetrics(grants), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gate_configuration_invalid", Help: "1 while a changed configuration cannot be gone by, and the one before is.",
		}, g.configurationInvalid)})
	if g.sealing.stream != nil {
		g.collectors = append(g.collectors, g.sealing.stream.Metrics()...)
	}
	if err := g.scanCluster(o); err != nil {
		return g, err
	}
	if err := g.watchRegistration(o, g.builtin); err != nil {
		return g, err
	}
	if events, err := g.showInCluster(cfg, o); err != nil {
		return g, err
	} else if events != nil {
		g.base.Teller = events
	}

	if g.ui, err = g.newUI(o, grants); err != nil {
		return g, err
	}
	if g.certs, err = openCertificates(o, log); err != nil {
		return g, err
	}
	first, err := g.configure(cfg, tracker)
	if err != nil {
		return g, err
	}
	g.current.Store(first)
	g.collectors = append(g.collectors, g.certs.metrics())
	self, err := g.newSelf(g.base.Metrics.LastSeen)
	if err != nil {
		return g, err
	}
	g.probes = g.newProbes(o, self)
	return g, g.serveReviews(o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.now().handler.ServeHTTP(w, r) }))
}

// release is the version that the linker was told (-X main.release=v1.2.3), where the build sees no version control: in an image.
var release string

// version is the release, or that of the module as it was built, "(devel)" for a working tree.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Version
}

func (g *gate) watchCluster(o serveOptions, store *live.Store, inventory *policy.Inventory) error {
	if o.noCluster {
		return nil
	}
	cluster, err := restConfig(o.kubeconfig)
	if err != nil {
		return fmt.Errorf("cluster: %w (--no-cluster runs without one)", err)
	}
	if g.watch, err = watch.New(cluster, store, g.log); err != nil {
		return err
	}
	if g.definitions, err = watch.NewDefinitions(cluster, g.tracker.Hint); err != nil {
		return err
	}
	g.inventory, err = watch.NewInventory(cluster, inventory, g.policyKinds, g.log)
	return err
}

// defined are the CRDs of the cluster.
func (g *gate) defined() map[string]map[string]any {
	if g.definitions == nil {
		return nil
	}
	return g.definitions.All()
}

// policyKinds are what the policies of the moment ask to see of the cluster.
func (g *gate) policyKinds() []policy.Kind {
	if current := g.tracker.Truth().Current; current != nil {
		return current.Policies.Inventory()
	}
	return nil
}

// scanCluster prepares the scans in the background.
func (g *gate) scanCluster(o serveOptions) error {
	if o.noCluster || o.scanInterval == 0 {
		return nil
	}
	cluster, err := restConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	g.scan, err = scan.New(scan.Config{Cluster: cluster, Gate: func() *admit.Gate { return g.now().judge }, Truth: g.tracker.Truth, Interval: o.scanInterval, Reports: true, Lease: o.scanLease,
		Place: filepath.Join(o.data, "scan"), Log: g.log})
	if err != nil {
		return err
	}
	g.collectors = append(g.collectors, g.scan.Metrics()...)
	return nil
}

// newDryRuns asks the cluster as the gate itself.
func newDryRuns(o serveOptions, log *slog.Logger) (*dryrun.Runner, error) {
	if o.noCluster {
		return nil, errors.New("spec.dryRuns of the Gate asks a cluster, and --no-cluster says that there is none")
	}
	cluster, err := restConfig(o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	cluster.QPS = -1 // dryrun bounds itself
	return dryrun.New(cluster, log, time.Now)
}

// restConfig is how to reach the cluster: by a kubeconfig file, or from within.
func restConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

// checks are what must hold before the gate can answer from knowledge of a tracker.
func (g *gate) checks(tracker *track.Tracker) []webhook.Check {
	checks := []webhook.Check{
		g.drain.Check(),
		{Name: "audit log", Missing: func() string {
			if err := g.audit.Health().Err; err != nil {
				return "cannot be written: " + err.Error()
			}
			return ""
		}},
	}
	for _, s := range tracker.Status() {
		checks = append(checks, webhook.Check{Name: "repository " + s.Repository, Missing: func() string {
			all := tracker.Status()
			return unverified(all[slices.IndexFunc(all, func(x track.Status) bool { return x.Repository == s.Repository })])
		}})
	}
	if g.watch != nil {
		checks = append(checks, webhook.Check{Name: "cluster", Missing: func() string {
			if g.watch.Synced() && g.definitions.Synced() {
				return ""
			}
			return "not every kind has been listed yet"
		}})
	}
	if g.grants.watch != nil {
		checks = append(checks, webhook.Check{Name: "grants", Missing: func() string {
			if g.grants.watch.Synced() || g.now().cfg.Gate.Spec.BreakGlass == nil {
				return ""
			}
			return "the grants of the cluster have not been listed yet: is the custom resource installed?"
		}})
	}
	return checks
}

// unverified says what a repository lacks to be the truth, "" if nothing.
func unverified(s track.Status) string {
	switch {
	case s.Ready():
		return ""
	case s.Refused != nil:
		return "no revision is accepted: " + s.Refused.Why
	case s.FetchError != "":
		return "cannot be fetched: " + s.FetchError
	}
	return "nothing has been verified yet"
}

func (g *gate) newProbes(o serveOptions, self *self) *http.Server {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(g.collectors...)
	mux := http.NewServeMux()
	// What depends on the configuration is asked for anew each time: it may be another.
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		webhook.Health(g.checks(g.now().tracker)).ServeHTTP(w, r)
	})
	mux.Handle("GET "+status.Path, status.Handler(self.report))
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		promhttp.HandlerFor(prometheus.Gatherers{registry, g.now().registry}, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
	if len(o.hookSecrets) > 0 {
		mux.HandleFunc("/hook", func(w http.ResponseWriter, r *http.Request) {
			g.hooks(o.hookSecrets, g.now().cfg.Repositories).ServeHTTP(w, r)
		})
	}
	g.sealing.handleWitness(mux)
	return &http.Server{Addr: o.probeListen, Handler: mux, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout}
}

// hooks takes the push hooks of Git hosts: hints that there may be something to fetch. The secrets are read anew for each, so that they can be rotated.
func (g *gate) hooks(files []string, repositories []v1alpha1.TrustedRepository) http.Handler {
	h := &hook.Handler{Hint: g.tracker.Hint, Log: g.log}
	for _, r := range repositories {
		h.Branches = append(h.Branches, r.Spec.Branch)
	}
	h.Secrets = func() [][]byte {
		var secrets [][]byte
		for _, file := range files {
			secret, err := os.ReadFile(file)
			if err != nil {
				g.log.Error("the secret of push hooks cannot be read", "err", err)
				continue
			}
			secrets = append(secrets, bytes.TrimSpace(secret))
		}
		return secrets
	}
	return h
}

// serveReviews prepares the server for the API server.
func (g *gate) serveReviews(o serveOptions, handler http.Handler) (err error) {
	mux := http.NewServeMux()
	mux.Handle("/review", handler)
	if g.sealing.stream != nil {
		mux.Handle("/audit-stream", g.sealing.stream)
	}
	g.reviews = &http.Server{
		Addr: o.listen, Handler: g.drain.Handler(mux), TLSConfig: g.certs.config, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug), // handshakes that nobody finished: port scans, probes
	}
	if g.listener, err = net.Listen("tcp", o.listen); err != nil {
		return err
	}
	return nil
}

// run serves until the context ends or something breaks, and then ends in order: first nobody new is sent here, then no review is cut off, and the
// log is closed last. Until the last review is answered everything goes on that an answer may need.
func (g *gate) run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, work := errgroup.WithContext(work)
	group.Go(func() error {
		if g.definitions != nil {
			g.definitions.Wait(work, definitionsWait)
		}
		return g.tracker.Run(work)
	})
	group.Go(func() error { return g.sealing.run(work, g.log) })
	if g.watch != nil {
		group.Go(func() error { g.watch.Run(work); return nil })
		group.Go(func() error { g.definitions.Run(work); return nil })
		group.Go(func() error { g.inventory.Run(work); return nil })
	}
	group.Go(func() error {
		watchExemptions(work, func() []v1alpha1.Exemption { return g.now().cfg.Gate.Spec.Exemptions }, g.log)
		return nil
	})
	if g.scan != nil {
		group.Go(func() error { g.scan.Run(work); return nil })
	}
	if g.watchdog != nil {
		group.Go(func() error { g.watchdog.Run(work); return nil })
	}
	group.Go(func() error { return g.grants.run(work) })
	if g.showing != nil {
		group.Go(func() error { return g.showing.run(work) })
	}
	if g.changes != nil {
		group.Go(func() error { return g.watchChanges(work) })
		group.Go(func() error { return g.reload(work) })
	}
	group.Go(func() error { return g.certs.run(work) })
	group.Go(func() error { return ended(g.probes.ListenAndServe()) })
	group.Go(func() error { return ended(g.reviews.ServeTLS(g.listener, "", "")) })
	if g.ui != nil {
		group.Go(func() error { g.serveUI(); return nil })
	}
	group.Go(func() error {
		defer stop()
		return g.shutdown(ctx, work)
	})
	g.log.Info("serving", "reviews", g.listener.Addr().String(), "probes", g.probes.Addr, "version", version())
	err := group.Wait()
	return errors.Join(err, g.close())
}

// shutdown waits until the gate is asked to end, or something broke, and ends what it serves.
func (g *gate) shutdown(asked, broken context.Context) error {
	select {
	case <-broken.Done():
	case <-asked.Done():
		g.drain.Begin()
		g.log.Info("ending", "draining", g.drainFor.String())
		select {
		case <-broken.Done():
		case <-time.After(g.drainFor):
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := errors.Join(g.reviews.Shutdown(ctx), g.probes.Shutdown(ctx))
	if g.ui != nil {
		err = errors.Join(err, g.ui.Close())
	}
	return err
}

func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// close lets go of what newGate opened.
func (g *gate) close() error {
	var errs []error
	if g.listener != nil {
		if err := g.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if g.tracker != nil {
		errs = append(errs, g.tracker.Close())
	}
	if g.sealing != nil {
		errs = append(errs, g.sealing.close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), tracesWithin)
	defer cancel()
	if err := g.tracer.Close(ctx); err != nil {
		g.log.Warn("the last traces were not sent", "err", err)
	}
	return errors.Join(errs...)
}
