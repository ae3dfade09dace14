// Package controller shows in the cluster what the gate knows: it writes the status of TrustedRepositories, Gates and Grants, and Events. It
// decides nothing and is trusted with nothing: what it writes is never read by the gate, and a cluster that takes none of it loses only the view.
//
// Status is written by the replica that holds a Lease; Events of refusals by the replica that refused. Both are bounded in rate, and neither is waited
// for by a request. No value of any object is in either.
package controller

import (
	"context"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/lease"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

const (
	// glance is how often what the gate knows is compared with what the status says: the longest that a status lags behind, and the least time
	// between two writes of one.
	glance = 5 * time.Second
	// again is how soon the cluster is tried again after an error, such as that the custom resources are not installed.
	again = 10 * time.Second
)

// State is what a gate knows at one moment. It is not changed once it was handed over.
type State struct {
	// Config is what the gate goes by.
	Config *v1alpha1.Config
	// Invalid says why a changed configuration is not what the gate goes by; "" if it is.
	Invalid      string
	Repositories []track.Status
	Truth        *snapshot.Truth // never nil
	Grants       *breakglass.Set // nil: the configuration has no breakGlass
}

// Config is what a controller needs.
type Config struct {
	Cluster *rest.Config
	// Lease (coordination.k8s.io) of whose holders only one writes status: NAMESPACE/NAME.
	Lease string
	// State must not block.
	State func() State
	// Events, for what becomes of revisions, grants and exemptions; nil is none.
	Events *Events
	Log    *slog.Logger
	Now    func() time.Time
}

// Controller writes status while it holds the Lease.
type Controller struct {
	cfg    Config
	lease  *lease.Lease
	scheme *runtime.Scheme
}

// New checks the configuration. It does not reach for the cluster: Run does.
func New(cfg Config) (*Controller, error) {
	held, err := lease.New(cfg.Cluster, cfg.Lease, cfg.Log)
	if err != nil {
		return nil, err
	}
	c := &Controller{cfg: cfg, lease: held, scheme: runtime.NewScheme()}
	return c, v1alpha1.AddToScheme(c.scheme)
}

// Run writes status until the context ends. What goes wrong is logged and tried again: a cluster that does not have the custom resources, or takes
// nothing from us, is no reason to stop answering reviews.
func (c *Controller) Run(ctx context.Context) {
	c.lease.Hold(ctx, func(ctx context.Context) {
		for ctx.Err() == nil {
			if err := c.write(ctx); err != nil && ctx.Err() == nil {
				c.cfg.Log.Warn("status is not written", "err", err)
			}
			timer := time.NewTimer(again)
			select {
			case <-ctx.Done():
				timer.Stop()
			case <-timer.C:
			}
		}
	})
}

// write writes status until the context ends, or the cluster does not let it.
func (c *Controller) write(ctx context.Context) error {
	m, err := manager.New(c.cfg.Cluster, manager.Options{
		Scheme: c.scheme, Logger: logr.FromSlogHandler(quiet{c.cfg.Log.Handler()}),
		Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: config.Controller{SkipNameValidation: new(true), MaxConcurrentReconciles: 1}, // managers follow one another, with the same names
	})
	if err != nil {
		return err
	}
	w := &writer{client: m.GetClient(), state: c.cfg.State, events: c.cfg.Events, now: c.cfg.Now, told: map[string]bool{}}
	for _, kind := range []struct {
		name   string
		object client.Object
		write  func(context.Context, ctrl.Request) error
	}{
		{"trustedrepository", new(v1alpha1.TrustedRepository), w.repository},
		{"gate", new(v1alpha1.Gate), w.gate},
		{"grant", new(v1alpha1.Grant), w.grant},
	} {
		err := ctrl.NewControllerManagedBy(m).Named(kind.name).For(kind.object).
			WithEventFilter(predicate.GenerationChangedPredicate{}). // our own writes wake nobody
			Complete(glancing(kind.write))
		if err != nil {
			return err
		}
	}
	return m.Start(ctx)
}

// glancing looks at an object again and again: what it is compared with changes without the cluster.
type glancing func(context.Context, ctrl.Request) error

// Reconcile implements reconcile.Reconciler.
func (write glancing) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	err := write(ctx, request)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, err // tried again ever more slowly
	}
	if err != nil { // it is gone
		return ctrl.Result{}, nil
	}
	return ctrl.Result{RequeueAfter: glance}, nil
}

// quiet lets only warnings and errors of the library through: how it starts and stops says nothing to an operator.
type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
