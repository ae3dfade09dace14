package main

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Two settings name what a gate has already written under: they are not changed under way, everybody who asks is told, and the rest goes on.
func TestSettingsThatTakeARestart(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.GateSpec)
		says   string
	}{
		"another cluster":         {func(s *v1alpha1.GateSpec) { s.Cluster = "another" }, "spec.cluster"},
		"another service account": {func(s *v1alpha1.GateSpec) { s.ServiceAccount = "system:serviceaccount:elsewhere:commitgate" }, "spec.serviceAccount"},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := gateIn(t, filepath.Join(t.TempDir(), "data"), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer g.close()
			g.changes = newChanges()
			cfg := *g.now().cfg
			cfg.Gate = *cfg.Gate.DeepCopy()
			tt.change(&cfg.Gate.Spec)
			err = g.take(t.Context(), &cfg)
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "restart") {
				t.Errorf("error %v, want one about %s that says what to do", err, tt.says)
			}
			if g.now().cfg == &cfg {
				t.Error("it is gone by all the same")
			}
			why := err.Error()
			g.invalid.Store(&why) // as reload does
			if g.configurationInvalid() != 1 {
				t.Error("the metric does not tell")
			}
			s, err := g.newSelf(g.base.Metrics.LastSeen)
			if err != nil {
				t.Fatal(err)
			}
			if report := s.report(); !strings.Contains(report.Invalid, tt.says) {
				t.Errorf("the replica says %q of itself", report.Invalid)
			}
		})
	}
}

// The name of the cluster is part of the name of the audit log, which its seals and its records hold: a log does not change its name.
func TestAnotherClusterTakesAnotherLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	g, err := gateIn(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(testGate))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Gate.Spec.Cluster = "another"
	_, err = newGate(t.Context(), cfg, g.options, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "spec.cluster") || !strings.Contains(err.Error(), "commitgate.dev/another/") {
		t.Errorf("error %v, want one that says which setting names the log", err)
	}
}
