package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Open opens a destination by its URL: s3://… (NewS3) or postgres://… (NewPostgres).
func Open(ctx context.Context, ref string) (Destination, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return nil, errors.New("not a URL") // the parser quotes it, password and all
	}
	switch u.Scheme {
	case "s3":
		return NewS3(u)
	case "postgres", "postgresql":
		return NewPostgres(ctx, ref)
	}
	return nil, fmt.Errorf("%q: want s3://… or postgres://…", u.Scheme)
}

// Shipper ships one log to some destinations, again and again.
type Shipper struct {
	dir      string
	to       []string
	interval time.Duration
	logger   *slog.Logger
	stores   map[string]*S3 // by URL; owned by Run
	last     *prometheus.GaugeVec
	failures *prometheus.CounterVec
}

// NewShipper ships the log in dir to each of the destinations (URLs, as Open takes them) at each interval.
func NewShipper(dir string, to []string, interval time.Duration, logger *slog.Logger) (*Shipper, error) {
	for _, ref := range to {
		if u, err := url.Parse(ref); err != nil || u.Scheme != "s3" && u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return nil, errors.New("a destination of the audit log is neither s3://… nor postgres://…")
		}
	}
	return &Shipper{
		dir: dir, to: to, interval: interval, logger: logger, stores: map[string]*S3{},
		last:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gate_audit_shipped_record", Help: "Last record of the audit log that a destination holds."}, []string{"destination"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gate_audit_ship_failures_total", Help: "Attempts to ship the audit log that failed."}, []string{"destination"}),
	}, nil
}

// Metrics returns the collectors of the shipper, to be registered by the program.
func (s *Shipper) Metrics() []prometheus.Collector { return []prometheus.Collector{s.last, s.failures} }

// Run ships until ctx ends. A destination that fails is tried again at the next interval; the others do not wait for it longer than one.
func (s *Shipper) Run(ctx context.Context) {
	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, ref := range s.to {
			s.ship(ctx, ref)
		}
	}
}

// open opens a destination for one round: a restart of the other side needs no care. An object store has no connection that could break, and its
// client knows which locks need no look.
func (s *Shipper) open(ctx context.Context, ref string) (Destination, error) {
	if store := s.stores[ref]; store != nil {
		return store, nil
	}
	to, err := Open(ctx, ref)
	if store, ok := to.(*S3); ok {
		s.stores[ref] = store
	}
	return to, err
}

// ship brings one destination up to date.
func (s *Shipper) ship(ctx context.Context, ref string) {
	name := scheme(ref)
	round, cancel := context.WithTimeout(ctx, s.interval)
	defer cancel()
	to, err := s.open(round, ref)
	if err == nil {
		var r Result
		r, err = Log(round, s.dir, to)
		err = errors.Join(err, to.Close())
		s.last.WithLabelValues(name).Set(float64(r.Last))
	}
	if err != nil && ctx.Err() == nil {
		s.failures.WithLabelValues(name).Inc()
		s.logger.Warn("the audit log could not be shipped; it stays here", "destination", name, "err", err)
	}
}

// scheme is how a destination is named in metrics and messages: its URL may hold a password.
func scheme(ref string) string {
	u, err := url.Parse(ref)
	if err != nil {
		return ""
	}
	return u.Scheme
}
