package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/watch"
)

// A gate that starts while the API server is not there goes by what it went by last; one that never had a configuration, or whose copy somebody
// damaged, does not start: it would know nothing.
func TestStartWithoutTheAPIServer(t *testing.T) {
	objects, err := watch.NewConfiguration(&rest.Config{Host: "https://127.0.0.1:1"}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	f := &fromCluster{watch: objects, kept: filepath.Join(t.TempDir(), keptFile), log: slog.New(slog.DiscardHandler)}
	if _, _, err := f.first(t.Context()); err == nil || !strings.Contains(err.Error(), "none was gone by before") {
		t.Errorf("without any configuration: %v", err)
	}
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(testGate))
	if err != nil {
		t.Fatal(err)
	}
	f.keep(cfg)
	got, stale, err := f.first(t.Context())
	if err != nil || stale == nil || got.Gate.Name != cfg.Gate.Name || len(got.Repositories) != len(cfg.Repositories) {
		t.Errorf("have %v, stale because of %v: %v", got, stale, err)
	}
	data, err := os.ReadFile(f.kept)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.kept, []byte(strings.Replace(string(data), "Enforce", "Audit", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.first(t.Context()); !errors.Is(err, errDamaged) {
		t.Errorf("a damaged copy: %v", err)
	}
}
