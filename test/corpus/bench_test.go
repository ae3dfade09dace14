package corpus

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/replay"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/webhook"
)

// agentUpdate is a Deployment's recorded update by the agent, and what it takes to judge it.
type agentUpdate struct {
	review  []byte
	request *admit.Request
	gate    *admit.Gate
	truth   *snapshot.Truth
}

func recordedUpdate(b *testing.B) agentUpdate {
	b.Helper()
	items, lines := readFile(b, "23-flux-c02-image.jsonl.gz")
	at := slices.IndexFunc(items, func(it replay.Item) bool {
		r := it.Request
		return r.Kind.Kind == "Deployment" && r.Operation == admit.Update && r.Subresource == "" && !r.DryRun && r.User.Name == "system:serviceaccount:flux-system:kustomize-controller"
	})
	if at < 0 {
		b.Fatal("the recording has no update of a Deployment by the agent")
	}
	cfg := load(b, lines[at].Label.Git.Commit)
	crds := replay.CRDs(items)
	builtin, err := account.NewTypes(crds)
	if builtin == nil {
		b.Fatal(err)
	}
	return agentUpdate{lines[at].Review, items[at].Request, admit.New(cfg, builtin), truthAt(b, cfg, crds)}
}

// Truth is what the gate believes.
func (u agentUpdate) Truth() *snapshot.Truth { return u.truth }

// Refresh has nothing to fetch.
func (u agentUpdate) Refresh(context.Context) error { return nil }

// BenchmarkHandler measures the way of the same review through the process, without the network: read, judged, recorded, answered. The log keeps nothing.
func BenchmarkHandler(b *testing.B) {
	u := recordedUpdate(b)
	quiet := slog.New(slog.DiscardHandler)
	log, err := audit.Open(audit.Config{Origin: "bench", Logger: quiet, VolatileUnsafe: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := log.Close(); err != nil {
			b.Error(err)
		}
	})
	handler := &webhook.Handler{Gate: u.gate, Source: u, Live: new(live.Store), Audit: log, Metrics: webhook.NewMetrics(), Log: quiet, Now: time.Now}
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/review?timeout=5s", bytes.NewReader(u.review))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK || !bytes.Contains(w.Body.Bytes(), []byte(`"allowed":true`)) {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}

// BenchmarkDecision measures the decision about a Deployment's recorded update, in process, against the decoding of its review: the floor of
// every webhook. The budget is twice the decoding.
func BenchmarkDecision(b *testing.B) {
	u := recordedUpdate(b)
	world := admit.World{Truth: u.truth, Live: new(live.Store), Now: time.Now()}

	var floor time.Duration
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := webhook.Decode(u.review); err != nil {
				b.Fatal(err)
			}
		}
		floor = b.Elapsed() / time.Duration(b.N)
	})
	human := *u.request
	human.User = admit.User{Name: "carol"}
	human.Object = map[string]any{}
	for k, v := range u.request.Object {
		human.Object[k] = v
	}
	spec := map[string]any{}
	for k, v := range human.Object["spec"].(map[string]any) {
		spec[k] = v
	}
	spec["replicas"] = int64(99)
	human.Object["spec"] = spec
	for name, tt := range map[string]struct {
		request *admit.Request
		want    admit.Outcome
	}{"agent allowed": {u.request, admit.Allow}, "human refused": {&human, admit.Deny}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var times []time.Duration
			for b.Loop() {
				began := time.Now()
				d := u.gate.Decide(b.Context(), tt.request, world)
				times = append(times, time.Since(began))
				if d.Outcome != tt.want {
					b.Fatalf("%s: %s", d.Outcome, d.Message)
				}
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
			if floor > 0 {
				b.ReportMetric(float64(times[len(times)/2])/float64(floor), "decode-x")
			}
		})
	}
}
