// Package controllers puts the gate, guarding everything, in front of a real API server with its real controllers: whatever they do for what
// Git declares must pass, and whoever else does the same must not.
package controllers

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/dryrun"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/watch"
	"github.com/commitgate/commitgate/webhook"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }

// agentUser applies what Git declares, with every right that RBAC knows.
const agentUser = "flux"

const config = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: shop}
spec: {url: https://git.example.org/shop.git, branch: main, anchor: {commit: abcdef6789012345678901234567890123456789}}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  scope: Everything
  roots: [{repository: shop, path: apps, agent: flux}]
  agents:
  - {name: flux, preset: Flux, users: [flux]}
`

// labels are what the agent adds to everything.
var labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}

// gate is a running gate whose Git is what the test says it is.
type gate struct {
	t       *testing.T
	cluster *cluster.Cluster
	truth   atomic.Pointer[snapshot.Truth]

	mu      sync.Mutex
	refused []refusal
	asked   map[string]int // allowed, or not yet, by user, reason and what
}

type refusal struct {
	request *admit.Request
	message string
}

// Truth is what the gate believes.
func (g *gate) Truth() *snapshot.Truth { return g.truth.Load() }

// Refresh finds nothing new: what the test says is there at once.
func (g *gate) Refresh(context.Context) error { return nil }

// Append keeps nothing: records are not what is tested here.
func (g *gate) Append(_ context.Context, r audit.Record) (audit.Record, error) { return r, nil }

func start(t *testing.T, c cluster.Config, more string) *gate {
	t.Helper()
	c.Dir = t.TempDir()
	controlPlane, err := cluster.Start(t.Context(), c)
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, cluster: controlPlane, asked: map[string]int{}}
	g.truth.Store(&snapshot.Truth{})
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(config+more))
	if err != nil {
		t.Fatal(err)
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	store := &live.Store{}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	watching, err := watch.New(controlPlane.Admin(), store, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { watching.Run(ctx); close(done) }()
	handler := &webhook.Handler{
		Gate: admit.New(cfg, types), Source: g, Live: store, Audit: g, Metrics: webhook.NewMetrics(), Log: log, Now: time.Now,
	}
	if len(cfg.Gate.Spec.DryRuns) > 0 {
		self, err := controlPlane.User(cfg.Gate.Spec.ServiceAccount, "system:masters")
		if err != nil {
			t.Fatal(err)
		}
		if handler.DryRuns, err = dryrun.New(self, log, time.Now); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewTLSServer(g.seen(handler))
	t.Cleanup(func() {
		cancel()
		<-done
		if err := controlPlane.Stop(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	g.eventually("the watches are synced", func() error {
		if !watching.Synced() {
			return errors.New("not synced")
		}
		return nil
	})
	g.register(server)
	return g
}

// seen remembers what the handler answered.
func (g *gate) seen(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, req)
		g.remember(body, answer.Body.Bytes())
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // a caller who went away asks again
	})
}

func (g *gate) remember(body, answer []byte) {
	request, err := webhook.Decode(body)
	var review admissionv1.AdmissionReview
	if err == nil {
		err = json.Unmarshal(answer, &review)
	}
	if err != nil || review.Response == nil {
		g.t.Errorf("a review without an answer: %v: %s", err, answer)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if review.Response.Allowed || review.Response.Result.Code == http.StatusTooManyRequests {
		g.asked[request.User.Name+" "+review.Response.AuditAnnotations["reason"]+" "+string(request.Operation)+" "+request.Resource.Resource+"/"+request.Subresource]++
		return
	}
	g.refused = append(g.refused, refusal{request, review.Response.Result.Message})
}

// refusals returns what was refused since it was last asked. "Not yet" is no refusal.
func (g *gate) refusals() []refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.refused
	g.refused = nil
	return out
}

func (g *gate) expectNoRefusals(when string) {
	g.t.Helper()
	said := map[string]bool{}
	for _, r := range g.refusals() {
		if !said[r.message] {
			g.t.Errorf("%s: %s %s %s/%s %s: %s", when, r.request.User.Name, r.request.Operation, r.request.Resource.Resource, r.request.Subresource, r.request.Key(), r.message)
			said[r.message] = true
		}
	}
}

// logNotYet says who was told to wait, and how often: what a controller waits for too long looks like a program that hangs.
func (g *gate) logNotYet() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for who, n := range g.asked {
		if strings.Contains(who, string(v1alpha1.ReasonOwnerUnknown)) || strings.Contains(who, string(v1alpha1.ReasonNotReady)) {
			g.t.Logf("not yet, %d times: %s", n, who)
		}
	}
	if pods, err := g.cluster.Kubectl(g.t.Context(), g.person("admin").kubeconfig, "", "get", "pods", "--all-namespaces", "-o", "wide"); err == nil {
		g.t.Log(pods)
	}
}

// register puts the gate in front of everything but itself, as config/webhook does.
func (g *gate) register(server *httptest.Server) {
	g.t.Helper()
	client, err := kubernetes.NewForConfig(g.cluster.Admin())
	if err != nil {
		g.t.Fatal(err)
	}
	url := server.URL + "/review"
	fail, none, all, equivalent := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.AllScopes, admissionregistrationv1.Equivalent
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	_, err = client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(g.t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "commitgate"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "gate.commitgate.dev", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: certificate},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{"*"},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}, Scope: &all},
			}},
			FailurePolicy: &fail, SideEffects: &none, MatchPolicy: &equivalent, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	g.eventually("the gate refuses a person", func() error {
		_, err := client.CoreV1().ConfigMaps("default").Create(g.t.Context(), &corev1ConfigMap, metav1.CreateOptions{DryRun: []string{"All"}})
		if err == nil || !strings.Contains(err.Error(), "gate.commitgate.dev") {
			return fmt.Errorf("not refused yet: %v", err)
		}
		return nil
	})
	g.refusals()
}

// declared are documents of Git and how their agent applies them.
type declared struct {
	documents   string
	agent       string // flux if it is not set, which labels everything
	lastApplied bool
	apply       agent.Apply
	opaque      []string
}

// declare makes the documents the truth, applied by Flux.
func (g *gate) declare(documents ...string) {
	g.t.Helper()
	g.publish(declared{documents: strings.Join(documents, "\n---\n")})
}

// publish makes these the truth, in the place of whatever was declared before, which stays inside the accepted window.
func (g *gate) publish(all ...declared) {
	g.t.Helper()
	var crds []map[string]any
	for _, d := range all {
		for _, content := range parseAll(g.t, d.documents) {
			if content["kind"] == "CustomResourceDefinition" {
				crds = append(crds, content)
			}
		}
	}
	types, err := account.NewTypes(crds)
	if err != nil {
		g.t.Fatal(err)
	}
	now := time.Now()
	rev := &snapshot.Revision{Repository: "shop", Branch: "main", Commit: &git.Commit{ID: git.ID(strings.Repeat("c1", 20))}, Fetched: now}
	var entries []*snapshot.Entry
	for _, d := range all {
		added := labels
		if d.agent == "" {
			d.agent = agentUser
		} else {
			added = nil
		}
		for _, content := range parseAll(g.t, d.documents) {
			prepared, err := types.Declare(account.Declaration{Content: compact.Of(content), Labels: added, LastApplied: d.lastApplied, Opaque: d.opaque})
			if err != nil {
				g.t.Fatal(err)
			}
			m := manifest.Object{Key: live.KeyOf(content), Content: compact.Of(content), Owner: agent.Owner{Agent: d.agent}, Apply: d.apply, Source: manifest.Source{Repository: "shop", Path: "apps/shop.yaml", Line: 1}}
			if m.Key.Name == "" {
				m.Key.Name = content["metadata"].(map[string]any)["generateName"].(string)
			}
			entries = append(entries, &snapshot.Entry{Object: m, Account: prepared, Revision: rev, Changed: rev.Commit})
		}
	}
	next := &snapshot.Truth{Current: snapshot.New(snapshot.Parts{Revisions: map[string]*snapshot.Revision{"shop": rev}, Types: types, Published: now}, entries)}
	if before := g.Truth(); before.Current != nil {
		next.Recent = append([]*snapshot.Snapshot{before.Current}, before.Recent...)
	}
	g.truth.Store(next)
}

func parseAll(t *testing.T, documents string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, text := range strings.Split(strings.TrimSpace(documents), "\n---\n") {
		out = append(out, parse(t, text))
	}
	return out
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := kjson.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// eventually tries until it succeeds. It has a bound so that a defect ends a test rather than hangs it.
func (g *gate) eventually(what string, try func() error) {
	g.t.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			g.expectNoRefusals(what)
			g.logNotYet()
			g.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
