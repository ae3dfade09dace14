package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

const testGate = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra}
spec:
  url: /nowhere/infra.git
  branch: main
  anchor: {commit: abcdef1111111111111111111111111111111111}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  agents: [{name: ci, preset: Pipeline, users: ["ci"]}]
  roots: [{repository: infra, path: apps}]
`

// newTestGate is a gate that listens on ports of the system's choice and whose repository is nowhere.
func newTestGate(t *testing.T) *gate { return newTestGateOf(t, testGate) }

// newTestGateOf is such a gate with a configuration of its own.
func newTestGateOf(t *testing.T, config string, change ...func(*serveOptions)) *gate {
	t.Helper()
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	o := serveOptions{data: t.TempDir(), listen: "127.0.0.1:0", probeListen: "127.0.0.1:0", noCluster: true, names: []string{"127.0.0.1"}}
	for _, c := range change {
		c(&o)
	}
	g, err := newGate(t.Context(), cfg, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.close(); err != nil && !errors.Is(err, fs.ErrClosed) { // a gate that ran has closed itself
			t.Error(err)
		}
	})
	return g
}

func TestServeUsage(t *testing.T) {
	good := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(good, []byte(testGate), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args string
		code int
	}{
		"no configuration":                  {"serve", exitUsage},
		"a configuration that is not there": {"serve --config /nowhere/gate.yaml", exitUsage},
		"a certificate without its key":     {"serve --config " + good + " --tls-cert x.crt", exitUsage},
		"a cluster and none":                {"serve --config " + good + " --no-cluster --kubeconfig x", exitUsage},
		"a log level that nobody knows":     {"serve --config " + good + " --log-level loud", exitUsage},
		"a repair of nobody knows what":     {"serve --config " + good + " --repair webhook", exitUsage},
		"a registration without a cluster":  {"serve --config " + good + " --no-cluster --registration x", exitUsage},
		"a data folder that cannot be made": {"serve --config " + good + " --no-cluster --data /dev/null/gate", exitUnknown},
		"no cluster to be found":            {"serve --config " + good + " --data " + t.TempDir(), exitUnknown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if code := run(context.Background(), append([]string{"commitgate"}, strings.Fields(tt.args)...)); code != tt.code {
				t.Errorf("exit status %d, want %d", code, tt.code)
			}
		})
	}
}

// A push hook is a hint from whoever has the secret, and from nobody else.
func TestPushHooks(t *testing.T) {
	const body = `{"ref":"refs/heads/main"}`
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("between the host and us\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newTestGateOf(t, testGate, func(o *serveOptions) { o.hookSecrets = []string{secret} })
	for name, tt := range map[string]struct {
		key  string
		want int
	}{"with the secret": {"between the host and us", http.StatusNoContent}, "with another": {"guessed", http.StatusUnauthorized}} {
		t.Run(name, func(t *testing.T) {
			mac := hmac.New(sha256.New, []byte(tt.key))
			mac.Write([]byte(body))
			r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Github-Event", "push")
			r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
			w := httptest.NewRecorder()
			g.probes.Handler.ServeHTTP(w, r)
			if w.Code != tt.want {
				t.Errorf("status %d, want %d: %s", w.Code, tt.want, w.Body)
			}
		})
	}
}
