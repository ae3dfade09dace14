package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/webhook"
)

// fixedTruth is a truth that nobody moves.
type fixedTruth struct{ truth *snapshot.Truth }

func (f fixedTruth) Truth() *snapshot.Truth        { return f.truth }
func (f fixedTruth) Refresh(context.Context) error { return nil }

// record is `record CONFIG LOG REVIEWS`: a gate decides the reviews by the branches as they are, and writes its log.
func (w *world) record(ts *testscript.TestScript, args []string) (err error) {
	if len(args) != 3 {
		return errors.New("usage: record CONFIG LOG REVIEWS")
	}
	ctx := context.Background()
	cfg, err := v1alpha1.Load(ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	items, err := readReviews([]string{ts.MkAbs(args[2])}, os.Stdin)
	if err != nil {
		return err
	}
	paths := map[string]string{}
	for name, r := range w.repositories {
		paths[name] = r.Work()
	}
	truth, err := track.At(ctx, track.AtConfig{Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: paths, Engine: newEngine(0)})
	if err != nil {
		return err
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		return err
	}
	log, err := audit.Open(audit.Config{Dir: ts.MkAbs(args[1]), Origin: "gate.example/test", Writer: audit.Writer{Name: "test"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	handler := &webhook.Handler{
		Gate: admit.New(cfg, types), Source: fixedTruth{truth}, Live: &live.Store{}, Audit: log, Metrics: webhook.NewMetrics(),
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	for _, it := range items {
		if it.Err != nil {
			return it.Err
		}
		handler.Review(ctx, it.Request, time.Now())
	}
	return nil
}
