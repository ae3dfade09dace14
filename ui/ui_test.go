package ui

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

const (
	commit  = git.ID("3f2c1d9aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	hostile = `<script>alert(1)</script>"'‮`
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// newSources is a gate that has declared one Deployment, scanned the cluster, and judged some requests.
func newSources(t *testing.T) Sources {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(audit.Config{Dir: dir, Origin: "gate.example/test", Writer: audit.Writer{Name: "gate-0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	remember := func(r audit.Record) {
		if _, err := log.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	decision := func(user, role, namespace, name, outcome, reason string) audit.Record {
		return audit.Record{
			Type:    audit.TypeDecision,
			Request: &audit.Request{UID: "1", Operation: "UPDATE", Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments", Namespace: namespace, Name: name},
			Actor:   &audit.Actor{Username: user, Role: role}, Decision: &audit.Decision{Outcome: outcome, Verdict: outcome, Mode: "Enforce", Reason: reason},
			Origin: &audit.Origin{Repository: "infra", Branch: "main", Revision: commit, Commit: commit, Path: "apps/shop/cart.yaml"},
		}
	}
	remember(decision("system:serviceaccount:flux-system:kustomize-controller", "agent", "shop", "cart", "allow", "FromGit"))
	remember(decision("carol@shop.example", "other", "shop", "cart", "deny", "NotFromSyncAgent"))
	remember(decision(hostile, "other", hostile, hostile, "deny", "NotFromSyncAgent"))
	for i := range 2 * pageSize {
		remember(decision("system:serviceaccount:kube-system:deployment-controller", "controller", "shop", fmt.Sprintf("busy-%d", i), "allow", "Controller"))
	}

	c := &git.Commit{ID: commit, Author: git.Person{Name: "Bob Baker", Email: "bob@shop.example", When: now}, Message: "cart 1.5.0\n\nmore"}
	signed := []signing.Signature{{Principal: "bob@shop.example", Kind: signing.KindSSH, Key: "SHA256:abc"}}
	revision := &snapshot.Revision{Repository: "infra", Branch: "main", Commit: c, Signatures: signed, Fetched: now}
	cart := &snapshot.Entry{
		Object: manifest.Object{
			Key: manifest.Key{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "cart"}, Version: "v1",
			Content: compact.Of(map[string]any{"spec": map[string]any{"canary": "this value stays in Git"}}),
			Source:  manifest.Source{Repository: "infra", Path: "apps/shop/cart.yaml", Line: 3},
			Owner:   agent.Owner{Agent: "flux", Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization", Namespace: "flux-system", Name: "shop"},
		},
		Revision: revision, Changed: c, Signatures: signed,
	}
	truth := &snapshot.Truth{Current: snapshot.New(snapshot.Parts{Revisions: map[string]*snapshot.Revision{"infra": revision}, Published: now}, []*snapshot.Entry{cart})}
	found := &scan.Result{
		Ended: now.Add(-5 * time.Minute), Revisions: map[string]git.ID{"infra": commit},
		Counts: map[scan.Group]int{
			{Namespace: "shop", APIGroup: "apps", Kind: "Deployment", State: scan.Drifted}: 1, {Namespace: "shop", Kind: "Pod", State: scan.Untraced}: 1,
		},
		Findings: []scan.Finding{
			{Key: cart.Key, State: scan.Drifted, Why: "one field is not as declared", Fields: []string{"spec.replicas"}, Entry: cart},
			{Key: manifest.Key{Kind: "Pod", Namespace: "shop", Name: "stray"}, State: scan.Untraced, Why: "nothing explains it"},
		},
	}
	expires := metav1.NewTime(now.Add(48 * time.Hour))
	return Sources{
		Gate: func() *v1alpha1.Gate {
			return &v1alpha1.Gate{ObjectMeta: metav1.ObjectMeta{Name: "production"}, Spec: v1alpha1.GateSpec{
				Cluster: "eu-1", Exemptions: []v1alpha1.Exemption{{Name: "autoscaler", Reason: "replicas are its own", Fields: []string{"spec.replicas"}, Expires: &expires}},
			}}
		},
		Repositories: func() []track.Status {
			return []track.Status{{Repository: "infra", Branch: "main", Published: commit, Heard: now.Add(-3 * time.Second),
				Refused: &track.Refusal{Repository: "infra", Commit: "beef", Stage: track.StageVerify, Why: "nobody signed it", Since: now}}}
		},
		Truth: func() *snapshot.Truth { return truth }, AuditLog: dir,
		Grants: func(time.Time) []breakglass.Standing {
			return []breakglass.Standing{{Grant: breakglass.Grant{Name: "incident-7", Spec: v1alpha1.GrantSpec{Users: []string{"carol"}, Reason: "database down"}}, State: breakglass.Active, Uses: 2}}
		},
		Scan: func() *scan.Result { return found }, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	}
}

func get(t *testing.T, s Sources, target string) (int, string) {
	t.Helper()
	h, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	r.Host = "localhost:8081"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestPages(t *testing.T) {
	s := newSources(t)
	tests := map[string]struct {
		target    string
		code      int
		want, not []string
	}{
		"the overview says what is the truth, what differs, and who was refused": {"/", 200,
			[]string{"1 objects are declared", "cart 1.5.0", "bob@shop.example", "nobody signed it", "1 Drifted", "50 %", "incident-7", "autoscaler", "ends in 2 d", "carol@shop.example", "kustomize-controller (flux-system)"},
			[]string{"deployment-controller"}},
		"changes, newest first, and the way to older ones": {"/changes", 200, []string{"busy-199", "busy-100", "before=106"}, []string{"busy-99<"}},
		"older changes":                                        {"/changes?before=106", 200, []string{"busy-99<", "busy-0<"}, []string{"busy-100<"}},
		"what a person was refused":                            {"/changes?person=CAROL&outcome=deny", 200, []string{"carol@shop.example", "NotFromSyncAgent"}, []string{"busy"}},
		"what agents did":                                      {"/changes?role=agent", 200, []string{"kustomize-controller"}, []string{"carol@", "busy"}},
		"a search that finds nothing says so":                  {"/changes?namespace=elsewhere", 200, []string{"Nothing found"}, []string{"busy"}},
		"a type of record that there is not":                   {"/changes?type=x", 400, []string{"no records of type"}, nil},
		"a record, whole":                                      {"/changes/4", 200, []string{"carol@shop.example", "apps/shop/cart.yaml", "The record as it lies in the log"}, nil},
		"a record that is not there":                           {"/changes/9999", 404, []string{"does not hold record 9999"}, nil},
		"a record by another word":                             {"/changes/last", 404, nil, nil},
		"declared objects":                                     {"/objects?find=CART", 200, []string{"apps/shop/cart.yaml", "3f2c1d9", "Bob Baker"}, nil},
		"declared objects of another namespace":                {"/objects?namespace=payments", 200, []string{"0 of 1 objects"}, []string{"Bob Baker"}},
		"an object: where it comes from and what became of it": {"/object?group=apps&kind=Deployment&namespace=shop&name=cart", 200, []string{"infra:apps/shop/cart.yaml:3", "SHA256:abc", "flux-system/shop", "Drifted", "spec.replicas", "carol@"}, nil},
		"an object that Git does not declare":                  {"/object?kind=Pod&namespace=shop&name=stray", 200, []string{"does not declare", "Untraced"}, nil},
		"an object without a name":                             {"/object?kind=Pod", 404, nil, nil},
		"the scan":                                             {"/scan", 200, []string{"stray", "spec.replicas", "5 min ago", "Deployment.apps"}, nil},
		"the scan of one state":                                {"/scan?state=Untraced", 200, []string{"stray"}, []string{"one field is not as declared"}},
		"ways around Git":                                      {"/exceptions", 200, []string{"database down", "replicas are its own", "soon"}, nil},
		"a page that there is not":                             {"/secrets", 404, []string{"no such page"}, nil},
		"the style":                                            {"/style.css", 200, []string{"color-scheme"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, body := get(t, s, tt.target)
			if code != tt.code {
				t.Errorf("%d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(body, want) {
					t.Errorf("the page lacks %q:\n%s", want, body)
				}
			}
			for _, not := range append(tt.not, "<script", "this value stays in Git", "‮", "<nil>", "ZgotmplZ", "no value") {
				if strings.Contains(body, not) {
					t.Errorf("the page holds %q", not)
				}
			}
		})
	}
}

// TestLinks follows every link of every page: none leads nowhere or outside, also those of hostile names.
func TestLinks(t *testing.T) {
	s := newSources(t)
	href := regexp.MustCompile(`(?:href|action)="([^"]*)"`)
	seen := map[string]bool{}
	queue := []string{"/"}
	for len(queue) > 0 && len(seen) < 150 {
		target := queue[0]
		queue = queue[1:]
		code, body := get(t, s, target)
		if code != http.StatusOK {
			t.Errorf("%s: %d", target, code)
		}
		for _, m := range href.FindAllStringSubmatch(body, -1) {
			link, _, _ := strings.Cut(strings.ReplaceAll(m[1], "&amp;", "&"), "#")
			u, err := url.Parse(link)
			if err != nil || u.Host != "" || u.Scheme != "" {
				t.Errorf("%s leads outside: %s", target, link)
			}
			if !seen[link] {
				seen[link] = true
				queue = append(queue, link)
			}
		}
	}
}

func TestNothingYet(t *testing.T) {
	s := newSources(t)
	s.Truth = func() *snapshot.Truth { return &snapshot.Truth{} }
	s.Repositories = func() []track.Status { return []track.Status{{Repository: "infra", FetchError: "no route to host"}} }
	s.Scan, s.Grants, s.AuditLog = nil, nil, t.TempDir()
	for target, want := range map[string]string{
		"/": "no route to host", "/changes": "Nothing has been asked yet", "/objects": "Nothing has been verified yet", "/scan": "switched off", "/exceptions": "no break-glass",
	} {
		if code, body := get(t, s, target); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, want %q in:\n%s", target, code, want, body)
		}
	}
	s.AuditLog += "/gone"
	if code, body := get(t, s, "/changes"); code != http.StatusInternalServerError || strings.Contains(body, s.AuditLog) {
		t.Errorf("a log that cannot be read: %d\n%s", code, body)
	}
}

func TestGuard(t *testing.T) {
	s := newSources(t)
	s.Hosts = []string{"gate.internal"}
	h, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		method, host string
		code         int
	}{
		"localhost":                              {http.MethodGet, "localhost:8081", 200},
		"a loopback address":                     {http.MethodGet, "[::1]:8081", 200},
		"a name that was allowed":                {http.MethodGet, "gate.internal", 200},
		"only the header":                        {http.MethodHead, "127.0.0.1", 200},
		"DNS rebinding: a foreign name":          {http.MethodGet, "evil.example:8081", 421},
		"DNS rebinding: a name that looks local": {http.MethodGet, "localhost.evil.example", 421},
		"no name":                                {http.MethodGet, "", 421},
		"a form of a foreign page":               {http.MethodPost, "localhost", 405},
		"a method that would delete":             {http.MethodDelete, "localhost", 405},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/", nil)
			r.Host = tt.host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.code {
				t.Errorf("%d, want %d", w.Code, tt.code)
			}
			if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("content security policy: %q", csp)
			}
		})
	}
}
