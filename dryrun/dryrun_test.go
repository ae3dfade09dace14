package dryrun

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// apiServer answers dry-runs; what a real one makes of them test/controllers shows.
type apiServer struct {
	answer func(w http.ResponseWriter, req *http.Request)
	asked  atomic.Int32
	wrote  atomic.Int32
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.asked.Add(1)
	if req.URL.Query().Get("dryRun") != "All" {
		s.wrote.Add(1)
	}
	w.Header().Set("Content-Type", "application/json")
	s.answer(w, req)
}

func object(version string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cart","namespace":"shop","resourceVersion":"`+version+`","labels":{"mesh":"on"}}}`)
	}
}

func refusal(code string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		status := map[string]int{"Forbidden": 403, "Invalid": 422, "InternalError": 500, "TooManyRequests": 429}[code]
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"`+code+`","code":`+map[int]string{403: "403", 422: "422", 500: "500", 429: "429"}[status]+`,"message":"hunter2"}`)
	}
}

type fixture struct {
	*Runner
	server *apiServer
	entry  *snapshot.Entry
	now    time.Time
	log    *strings.Builder
}

func newFixture(t *testing.T, answer func(http.ResponseWriter, *http.Request)) *fixture {
	t.Helper()
	f := &fixture{server: &apiServer{answer: answer}, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), log: &strings.Builder{}}
	server := httptest.NewServer(f.server)
	t.Cleanup(server.Close)
	var err error
	if f.Runner, err = New(&rest.Config{Host: server.URL, QPS: -1}, slog.New(slog.NewTextHandler(f.log, nil)), func() time.Time { return f.now }); err != nil {
		t.Fatal(err)
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "cart", "namespace": "shop"}}
	prepared, err := types.Declare(account.Declaration{Content: compact.Of(content), Labels: map[string]string{"agent": "flux"}})
	if err != nil {
		t.Fatal(err)
	}
	f.entry = &snapshot.Entry{Object: manifest.Object{Key: live.KeyOf(content), Content: compact.Of(content)}, Account: prepared}
	return f
}

func request(operation admit.Operation, version string) *admit.Request {
	r := &admit.Request{Operation: operation, Resource: admit.GroupVersionResource{Version: "v1", Resource: "configmaps"}}
	if version != "" {
		r.Old = map[string]any{"metadata": map[string]any{"resourceVersion": version}}
	}
	return r
}

func (f *fixture) want(t *testing.T, what string, r *admit.Request, learned bool, answers int) {
	t.Helper()
	got, err := f.Make(t.Context(), f.entry, r)
	if err != nil || got != learned {
		t.Errorf("%s: learned %t, %v; want %t", what, got, err, learned)
	}
	if n := len(f.Of(f.entry, r)); n != answers {
		t.Errorf("%s: %d answers hold, want %d", what, n, answers)
	}
}

func TestAnAnswerHoldsForItsOwnMoment(t *testing.T) {
	f := newFixture(t, object("7"))
	f.want(t, "a creation", request(admit.Create, ""), true, 1)
	f.want(t, "the same a moment later", request(admit.Create, ""), false, 1)
	f.want(t, "an update", request(admit.Update, "7"), true, 2)
	if n := len(f.Of(f.entry, request(admit.Update, "8"))); n != 1 {
		t.Errorf("%d answers hold for another version of the live object, want that of the creation alone: somebody's drift is not the cluster's own", n)
	}
	f.now = f.now.Add(time.Minute)
	f.want(t, "a creation much later", request(admit.Create, ""), true, 1)
	if n := f.server.asked.Load(); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
	if n := f.server.wrote.Load(); n != 0 {
		t.Errorf("%d requests were no dry-runs", n)
	}
}

func TestARefusalTeachesNothing(t *testing.T) {
	for _, code := range []string{"Forbidden", "Invalid"} {
		f := newFixture(t, refusal(code))
		f.want(t, code, request(admit.Create, ""), false, 0)
		f.want(t, code+" again", request(admit.Create, ""), false, 0)
		if n := f.server.asked.Load(); n != 1 {
			t.Errorf("%s: asked %d times", code, n)
		}
		if !strings.Contains(f.log.String(), code) || strings.Contains(f.log.String(), "hunter2") {
			t.Errorf("%s: the log says %q", code, f.log)
		}
	}
}

func TestNoAnswerIsAnError(t *testing.T) {
	f := newFixture(t, refusal("InternalError"))
	if _, err := f.Make(t.Context(), f.entry, request(admit.Create, "")); err == nil {
		t.Error("an API server that breaks was taken for one that answers")
	}
	f = newFixture(t, object("8"))
	if _, err := f.Make(t.Context(), f.entry, request(admit.Update, "7")); err == nil {
		t.Error("the answer for another version of the live object was taken for one")
	}
	if n := len(f.Of(f.entry, request(admit.Update, "7"))); n != 0 {
		t.Errorf("%d answers are remembered", n)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Make(stopped, f.entry, request(admit.Create, "")); !errors.Is(err, context.Canceled) {
		t.Errorf("past the request's deadline: %v", err)
	}
}

func TestOneDryRunForAllWhoWait(t *testing.T) {
	release := make(chan struct{})
	f := newFixture(t, func(w http.ResponseWriter, req *http.Request) { <-release; object("7")(w, req) })
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := f.Make(t.Context(), f.entry, request(admit.Create, "")); err != nil {
				t.Error(err)
			}
		})
	}
	for f.server.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	group.Wait()
	if n := f.server.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
