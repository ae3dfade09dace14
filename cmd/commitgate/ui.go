package main

import (
	"net/http"
	"path/filepath"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/ui"
)

// uiWriteTimeout bounds how long a reader of the web view may take.
const uiWriteTimeout = time.Minute

// newUI prepares the web view, nil if it is switched off.
func (g *gate) newUI(o serveOptions, grants *breakglass.Store) (*http.Server, error) {
	if o.uiListen == "" {
		return nil, nil
	}
	sources := ui.Sources{
		Gate: func() *v1alpha1.Gate { return &g.now().cfg.Gate }, Repositories: g.tracker.Status, Truth: g.tracker.Truth, AuditLog: filepath.Join(o.data, "audit"),
		Hosts: o.uiHosts, Log: g.log, Now: time.Now,
	}
	if grants != nil {
		sources.Grants = func(now time.Time) []breakglass.Standing { return grants.Set().Standings(now) }
	}
	if g.scan != nil {
		sources.Scan = g.scan.Last
	}
	handler, err := ui.New(sources)
	if err != nil {
		return nil, err
	}
	return &http.Server{Addr: o.uiListen, Handler: handler, ReadHeaderTimeout: readHeaderTimeout, WriteTimeout: uiWriteTimeout, IdleTimeout: idleTimeout}, nil
}

// serveUI shows the web view until it is closed. That it cannot be shown must not end the gate.
func (g *gate) serveUI() {
	if err := ended(g.ui.ListenAndServe()); err != nil {
		g.log.Error("the web view cannot be served", "err", err)
	}
}
