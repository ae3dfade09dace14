package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

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
  roots: [{repository: shop, path: apps}]
  agents: [{name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"]}]
`

const secretValue = "hunter2-canary"

// source is a truth that a refresh can replace: the agent was ahead of the mirror.
type source struct {
	mu      sync.Mutex
	truth   *snapshot.Truth
	next    *snapshot.Truth
	err     error
	fetches int
}

func (s *source) Truth() *snapshot.Truth {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.truth
}

func (s *source) Refresh(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches++
	if s.next != nil {
		s.truth = s.next
	}
	return s.err
}

// memory keeps records, or fails to.
type memory struct {
	mu      sync.Mutex
	records []audit.Record
	err     error
}

func (m *memory) Append(_ context.Context, r audit.Record) (audit.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return r, m.err
	}
	r.ID = fmt.Sprintf("rec-%d", len(m.records)+1)
	m.records = append(m.records, r)
	return r, nil
}

type fixture struct {
	t       *testing.T
	handler *Handler
	source  *source
	audit   *memory
	log     *bytes.Buffer
	types   *account.Types
}

func newFixture(t *testing.T) *fixture { return newFixtureOf(t, config) }

func newFixtureOf(t *testing.T, config string) *fixture {
	t.Helper()
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, audit: &memory{}, log: &bytes.Buffer{}, types: types}
	f.source = &source{truth: &snapshot.Truth{Current: f.snapshot("blue")}}
	f.handler = &Handler{
		Gate: admit.New(cfg, types), Source: f.source, Live: &live.Store{}, Audit: f.audit, Metrics: NewMetrics(),
		Log: slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: time.Now,
	}
	return f
}

// snapshot declares ConfigMap shop/cart in a color.
func (f *fixture) snapshot(color string) *snapshot.Snapshot {
	f.t.Helper()
	rev := &snapshot.Revision{Repository: "shop", Branch: "main", Commit: &git.Commit{ID: git.ID(strings.Repeat("c1", 20))}, Fetched: time.Now()}
	content := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "cart", "namespace": "shop"}, "data": map[string]any{"color": color}}
	acc, err := f.types.Declare(account.Declaration{Content: compact.Of(content)})
	if err != nil {
		f.t.Fatal(err)
	}
	e := &snapshot.Entry{
		Object:  manifest.Object{Key: live.KeyOf(content), Content: compact.Of(content), Owner: agent.Owner{Agent: "flux"}, Source: manifest.Source{Repository: "shop", Path: "apps/cart.yaml"}},
		Account: acc, Revision: rev, Changed: rev.Commit,
	}
	return snapshot.New(snapshot.Parts{Revisions: map[string]*snapshot.Revision{"shop": rev}, Types: f.types, Published: time.Now()}, []*snapshot.Entry{e})
}

const fluxUser = `{"username":"system:serviceaccount:flux-system:kustomize-controller","uid":"u","groups":[],"extra":{}}`

func review(user, color string, dryRun bool) string {
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"42","kind":{"group":"","version":"v1","kind":"ConfigMap"},
		"resource":{"group":"","version":"v1","resource":"configmaps"},"name":"cart","namespace":"shop","operation":"CREATE","userInfo":%s,"dryRun":%t,"oldObject":null,
		"object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cart","namespace":"shop","uid":"1","creationTimestamp":"2026-11-21T00:00:00Z"},"data":{"color":%q}},
		"options":{"kind":"CreateOptions"}}}`, user, dryRun, color)
}

func (f *fixture) post(body string) (*admissionv1.AdmissionResponse, int) {
	f.t.Helper()
	req := httptest.NewRequest(http.MethodPost, "/review?timeout=5s", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		return nil, w.Code
	}
	var out admissionv1.AdmissionReview
	answer := json.NewDecoder(w.Body)
	answer.DisallowUnknownFields()
	if err := answer.Decode(&out); err != nil {
		f.t.Fatal(err)
	}
	if out.GroupVersionKind() != admissionv1.SchemeGroupVersion.WithKind("AdmissionReview") || out.Request != nil {
		f.t.Errorf("the answer is a %s", out.GroupVersionKind())
	}
	if r := out.Response.Result; out.Response.Allowed != (r == nil) || r != nil && r.Status != metav1.StatusFailure {
		f.t.Errorf("allowed %t, with a status of %+v", out.Response.Allowed, r)
	}
	return out.Response, w.Code
}

func TestAnAllowIsRecordedBeforeItLeaves(t *testing.T) {
	f := newFixture(t)
	r, _ := f.post(review(fluxUser, "blue", false))
	if r == nil || !r.Allowed || r.UID != "42" {
		t.Fatalf("have %+v", r)
	}
	if r.AuditAnnotations["record"] != "rec-1" || r.AuditAnnotations["path"] != "apps/cart.yaml" || r.AuditAnnotations["commit"] != strings.Repeat("c1", 20) {
		t.Errorf("the API server's own log lacks something: %v", r.AuditAnnotations)
	}
	rec := f.audit.records[0]
	if rec.Origin == nil || rec.Origin.Commit != git.ID(strings.Repeat("c1", 20)) || rec.Decision.Outcome != "allow" || rec.Actor.Role != "agent" {
		t.Errorf("have record %+v", rec)
	}
}

func TestADenialIsA403WithWords(t *testing.T) {
	f := newFixture(t)
	r, _ := f.post(review(`{"username":"carol","groups":["system:masters"]}`, "red", false))
	if r.Allowed || r.Result.Code != 403 || r.Result.Reason != "Forbidden" || !strings.HasPrefix(r.Result.Message, "NotFromSyncAgent: carol may not create ConfigMap shop/cart") {
		t.Errorf("have %+v", r.Result)
	}
	if r.AuditAnnotations["reason"] != "NotFromSyncAgent" || len(f.audit.records) != 1 {
		t.Error("denials are annotated and recorded too")
	}
}

// A gate that only watches holds nobody up, also with the Git host down.
func TestAnAgentAheadOfTheMirrorInModeAudit(t *testing.T) {
	for mode, warned := range map[string]bool{"Audit": false, "Warn": true} {
		f := newFixtureOf(t, config+"  mode: "+mode+"\n")
		f.source.err = errors.New("connection refused")
		r, _ := f.post(review(fluxUser, "green", false))
		if !r.Allowed || f.source.fetches != 1 || (len(r.Warnings) > 0) != warned {
			t.Errorf("mode %s: allowed %t after %d fetches, warnings %q", mode, r.Allowed, f.source.fetches, r.Warnings)
		}
		if len(f.audit.records) != 1 || f.audit.records[0].Decision.Verdict == "allow" {
			t.Errorf("mode %s: the record does not tell what an enforcing gate answers: %+v", mode, f.audit.records)
		}
	}
}

func TestAnAgentAheadOfTheMirror(t *testing.T) {
	f := newFixture(t)
	f.source.next = &snapshot.Truth{Current: f.snapshot("red")}
	if r, _ := f.post(review(fluxUser, "red", false)); !r.Allowed || f.source.fetches != 1 {
		t.Errorf("the mirror is asked once, then the request is judged again: %+v after %d fetches", r.Result, f.source.fetches)
	}
	f.source.err = errors.New("connection refused")
	r, _ := f.post(review(fluxUser, "green", false))
	if r.Allowed || r.Result.Code != 429 || r.Result.Details.RetryAfterSeconds < 1 || !strings.HasPrefix(r.Result.Message, "MirrorBehind") {
		t.Errorf("with the Git host down nobody can tell: have %+v", r.Result)
	}
	f.source.err = context.DeadlineExceeded
	if r, _ = f.post(review(fluxUser, "green", false)); r.Allowed || r.Result.Code != 429 {
		t.Errorf("past the deadline nobody can tell: have %+v", r.Result)
	}
	f.source.err = nil
	if r, _ = f.post(review(fluxUser, "green", false)); r.Allowed || r.Result.Code != 403 {
		t.Errorf("after a fetch the answer is no: have %+v", r.Result)
	}
}

func TestNothingChangesWithoutARecord(t *testing.T) {
	f := newFixture(t)
	f.audit.err = errors.New("no space left on device")
	r, _ := f.post(review(fluxUser, "blue", false))
	if r.Allowed || r.Result.Code != 500 || !strings.HasPrefix(r.Result.Message, "AuditUnavailable") {
		t.Errorf("have %+v", r)
	}
	if r, _ = f.post(review(fluxUser, "blue", true)); !r.Allowed {
		t.Error("a dry-run needs no record")
	}
}

func TestADryRunLeavesNoTrace(t *testing.T) {
	f := newFixture(t)
	if r, _ := f.post(review(fluxUser, "blue", true)); !r.Allowed || r.AuditAnnotations["record"] != "" {
		t.Errorf("have %+v", r)
	}
	if r, _ := f.post(review(`{"username":"carol"}`, "red", true)); r.Allowed {
		t.Error("the verdict of a dry-run is the real one")
	}
	if len(f.audit.records) != 0 {
		t.Errorf("%d records", len(f.audit.records))
	}
}

func TestADefectRefuses(t *testing.T) {
	f := newFixture(t)
	f.handler.Gate = nil
	r, _ := f.post(review(fluxUser, "blue", false))
	if r == nil || r.Allowed || r.Result.Code != 500 {
		t.Errorf("a panic must be an answer, not a broken connection that failurePolicy Ignore would allow: %+v", r)
	}
}

func TestHostileInput(t *testing.T) {
	f := newFixture(t)
	tests := map[string]struct {
		body string
		code int
	}{
		"not JSON":             {"{", 400},
		"empty":                {"", 400},
		"another kind":         {`{"apiVersion":"v1","kind":"Pod"}`, 400},
		"v1beta1":              {strings.Replace(review(fluxUser, "blue", false), "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), 400},
		"no request":           {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, 400},
		"wrong case of a name": {strings.Replace(review(fluxUser, "blue", false), `"request"`, `"Request"`, 1), 400},
		"too large":            {`{"x":"` + strings.Repeat("a", maxBody) + `"}`, 413},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if r, code := f.post(tt.body); code != tt.code {
				t.Errorf("have %d %+v, want %d", code, r, tt.code)
			}
		})
	}
	get := httptest.NewRecorder()
	f.handler.ServeHTTP(get, httptest.NewRequest(http.MethodGet, "/review", nil))
	if get.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", get.Code)
	}
	form := httptest.NewRequest(http.MethodPost, "/review", strings.NewReader(review(fluxUser, "blue", false)))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	post := httptest.NewRecorder()
	f.handler.ServeHTTP(post, form)
	if post.Code != http.StatusUnsupportedMediaType {
		t.Errorf("a browser's form: %d", post.Code)
	}
}

// TestNoSecretLeaves sends a value through every path and looks for it in everything that comes out.
func TestNoSecretLeaves(t *testing.T) {
	f := newFixture(t)
	var out bytes.Buffer
	for _, body := range []string{
		review(`{"username":"carol"}`, secretValue, false),
		review(fluxUser, secretValue, false),
		strings.Replace(review(fluxUser, secretValue, false), `"uid":"42"`, `"uid":7`, 1),
		review(fluxUser, secretValue, false) + "trailing " + secretValue,
	} {
		req := httptest.NewRequest(http.MethodPost, "/review", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, req)
		_, _ = io.Copy(&out, w.Body)
	}
	records, err := json.Marshal(f.audit.records)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"answers": out.String(), "log": f.log.String(), "records": string(records)} {
		if strings.Contains(text, secretValue) {
			t.Errorf("the value stands in the %s:\n%s", name, text)
		}
	}
}

func TestTheDeadlineIsTheAPIServers(t *testing.T) {
	tests := map[string]time.Duration{"?timeout=5s": 5*time.Second - margin, "": defaultTimeout - margin, "?timeout=-1s": defaultTimeout - margin, "?timeout=1h": defaultTimeout - margin, "?timeout=200ms": 100 * time.Millisecond}
	for query, want := range tests {
		if have := timeout(httptest.NewRequest(http.MethodPost, "/review"+query, nil)); have != want {
			t.Errorf("%q: have %s, want %s", query, have, want)
		}
	}
}

func TestHealthNamesWhatIsMissing(t *testing.T) {
	missing := "no revision verified"
	h := Health([]Check{{"truth", func() string { return missing }}, {"audit", func() string { return "" }}})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("/readyz"); code != 503 || !strings.Contains(body, "[-] truth: no revision verified") || strings.Contains(body, "audit") {
		t.Errorf("%d %s", code, body)
	}
	missing = ""
	if code, body := get("/readyz?verbose"); code != 200 || !strings.Contains(body, "[+] truth") {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := get("/livez"); code != 200 {
		t.Error(code)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(review(fluxUser, "blue", false)))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"DELETE","oldObject":{"metadata":[]}}}`))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","object":{"metadata":{"ownerReferences":[1,{"kind":2}]}}}}`))
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(config))
	if err != nil {
		f.Fatal(err)
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		f.Fatal(err)
	}
	gate := admit.New(cfg, types)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data)
		if err != nil {
			return
		}
		d := gate.Decide(context.Background(), r, admit.World{Truth: &snapshot.Truth{}, Live: &live.Store{}, Now: time.Now()})
		if d.Outcome == admit.Allow && d.Message != "" {
			t.Errorf("an allow with a refusal's words: %s", d.Message)
		}
	})
}

// mesh is a cluster whose admission adds a label, or that does not answer.
type mesh struct {
	made []map[string]any
	err  error
}

func (m *mesh) Of(*snapshot.Entry, *admit.Request) []map[string]any { return m.made }

func (m *mesh) Make(_ context.Context, e *snapshot.Entry, _ *admit.Request) (bool, error) {
	if m.err != nil || m.made != nil {
		return false, m.err
	}
	made := e.Account.Applied()
	made["metadata"].(map[string]any)["labels"] = map[string]any{"mesh": "on"}
	m.made = append(m.made, made)
	return true, nil
}

func TestWhatTheClusterAddsIsAskedFor(t *testing.T) {
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(config+"  serviceAccount: system:serviceaccount:commitgate:commitgate\n  dryRuns: [{kinds: [ConfigMap]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	request := func(labels string) *admit.Request {
		r, err := Decode([]byte(strings.Replace(review(fluxUser, "blue", false), `"uid":"1"`, `"uid":"1","labels":{`+labels+`}`, 1)))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, c := range map[string]struct {
		labels  string
		mesh    *mesh
		outcome admit.Outcome
		reason  v1alpha1.Reason
	}{
		"what the cluster adds":                   {`"mesh":"on"`, &mesh{}, admit.Allow, v1alpha1.ReasonFromGit},
		"what it does not add":                    {`"mesh":"off"`, &mesh{}, admit.Deny, v1alpha1.ReasonFieldsDiffer},
		"something beside what it adds":           {`"mesh":"on","evil":"yes"`, &mesh{}, admit.Deny, v1alpha1.ReasonFieldsDiffer},
		"nothing, where the cluster is not asked": {``, &mesh{err: errors.New("down")}, admit.Allow, v1alpha1.ReasonFromGit},
		"a cluster that does not answer":          {`"mesh":"on"`, &mesh{err: errors.New("down")}, admit.Retry, v1alpha1.ReasonDryRunUnanswered},
	} {
		f := newFixture(t)
		f.handler.Gate, f.handler.DryRuns = admit.New(cfg, f.types), c.mesh
		if d, _ := f.handler.Review(t.Context(), request(c.labels), time.Now()); d.Outcome != c.outcome || d.Reason != c.reason {
			t.Errorf("%s: %s %s (%s), want %s %s", name, d.Outcome, d.Reason, d.Message, c.outcome, c.reason)
		}
	}
}
