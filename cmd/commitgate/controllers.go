package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/controller"
)

// statusLease is the Lease of whose holders only one writes status, in the namespace of the gate.
const statusLease = "commitgate-status"

// showing is what a running gate shows of itself in the cluster: status and Events.
type showing struct {
	status *controller.Controller
	events *controller.Events
}

// showInCluster prepares status and Events, where there is a cluster and nobody switched them off.
func (g *gate) showInCluster(cfg *v1alpha1.Config, o serveOptions) (*controller.Events, error) {
	if o.noCluster || !o.status {
		return nil, nil
	}
	cluster, err := restConfig(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	events, err := controller.NewEvents(cluster, cfg.Gate.Name)
	if err != nil {
		return nil, err
	}
	state := func() controller.State {
		now := g.now()
		s := controller.State{Config: now.cfg, Repositories: now.tracker.Status(), Truth: now.tracker.Truth(), Grants: g.grants.keeper.store.Set()}
		if why := g.invalid.Load(); why != nil {
			s.Invalid = *why
		}
		return s
	}
	status, err := controller.New(controller.Config{Cluster: cluster, Lease: o.audit.namespace + "/" + statusLease, State: state, Events: events, Log: g.log, Now: time.Now})
	if err != nil {
		return nil, err
	}
	g.showing = &showing{status, events}
	g.collectors = append(g.collectors, events.Metrics()...)
	return events, nil
}

// run shows until the context ends.
func (s *showing) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.status.Run(ctx); return nil })
	group.Go(func() error { s.events.Run(ctx); return nil })
	return group.Wait()
}
