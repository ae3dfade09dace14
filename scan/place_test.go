package scan_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/snapshot"
)

// shelf is an API server with a few objects, which may be taken away in the middle of a scan.
type shelf struct {
	t       *testing.T
	objects map[string][]string // by path of their list

	mu     sync.Mutex
	listed []string
	at     string // the list at which the scanner is killed
	kill   context.CancelFunc
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := func(name, kind string) string {
		return fmt.Sprintf(`{"name":%q,"kind":%q,"namespaced":true,"verbs":["list"]}`, name, kind)
	}
	answer := ""
	switch r.URL.Path {
	case "/api":
		answer = `{"kind":"APIVersions","versions":["v1"]}`
	case "/apis":
		answer = `{"kind":"APIGroupList","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}]}`
	case "/api/v1":
		answer = `{"kind":"APIResourceList","groupVersion":"v1","resources":[` + strings.Join([]string{resource("configmaps", "ConfigMap"), resource("pods", "Pod"), resource("secrets", "Secret")}, ",") + `]}`
	case "/apis/apps/v1":
		answer = `{"kind":"APIResourceList","groupVersion":"apps/v1","resources":[` + resource("replicasets", "ReplicaSet") + `]}`
	}
	w.Header().Set("Content-Type", "application/json")
	if answer != "" {
		_, _ = w.Write([]byte(answer))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := filepath.Base(r.URL.Path)
	s.listed = append(s.listed, name)
	if name == s.at {
		s.kill()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	items := []any{}
	for _, text := range s.objects[name] {
		items = append(items, parse(s.t, text))
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"kind": "List", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": "1"}, "items": items}); err != nil {
		s.t.Error(err)
	}
}

// scanned is a scan by a process of its own, which is killed when it lists at; "" lets it come to its end.
func (s *shelf) scan(j *scan.Judge, place, at string) (*scan.Result, []string) {
	s.t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	ctx, kill := context.WithCancel(s.t.Context())
	defer kill()
	s.listed, s.at, s.kill = nil, at, kill
	scanner, err := scan.New(scan.Config{
		Cluster: &rest.Config{Host: server.URL}, Gate: func() *admit.Gate { return j.Gate }, Truth: func() *snapshot.Truth { return &snapshot.Truth{Current: j.Truth} },
		Interval: time.Hour, Place: place, Now: func() time.Time { return now },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	result, err := scanner.Once(ctx)
	if (err != nil) != (at != "") {
		s.t.Fatalf("the scan: %v", err)
	}
	return result, s.listed
}

// A scan that is killed midway goes on where it was, with what it had found; unless what it compares with is another.
func TestAScanGoesOnWhereItWasKilled(t *testing.T) {
	object := func(kind, name, more string) string {
		version := "v1"
		if kind == "ReplicaSet" {
			version = "apps/v1"
		}
		return "{apiVersion: " + version + ", kind: " + kind + ", metadata: {name: " + name + ", namespace: shop, uid: " + name + more + "}}"
	}
	s := &shelf{t: t, objects: map[string][]string{
		"configmaps":  {strings.Replace(liveSettings, "color: red", "color: blue", 1), object("ConfigMap", "stray", "")},
		"pods":        {object("Pod", "p", ", ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: rs, uid: rs, controller: true}]")},
		"replicasets": {object("ReplicaSet", "rs", "")},
		"secrets":     {object("Secret", "s", "")},
	}}
	j := judge(t, v1alpha1.GateSpec{}, settings)
	whole, order := s.scan(j, "", "")
	if len(order) != 4 || whole.Count(scan.Drifted) != 1 || whole.Count(scan.Untraced) != 4 {
		t.Fatalf("a whole scan lists %v and finds %v", order, whole.Counts)
	}
	for i, at := range order {
		t.Run("killed at "+at, func(t *testing.T) {
			place := t.TempDir()
			if _, listed := s.scan(j, place, at); len(listed) != i+1 {
				t.Fatalf("listed %v", listed)
			}
			result, listed := s.scan(j, place, "")
			if !reflect.DeepEqual(listed, order[i:]) {
				t.Errorf("goes on with %v, want %v", listed, order[i:])
			}
			if !reflect.DeepEqual(result.Counts, whole.Counts) || !reflect.DeepEqual(result.Findings, whole.Findings) {
				t.Errorf("found %v\n%+v\nwant %v\n%+v", result.Counts, result.Findings, whole.Counts, whole.Findings)
			}
			if _, listed := s.scan(j, place, ""); len(listed) != len(order) {
				t.Errorf("the scan after one that ended lists %v", listed)
			}
		})
	}

	last := order[len(order)-1]
	for what, other := range map[string]func(file string) *scan.Judge{
		"another configuration": func(string) *scan.Judge { return judge(t, v1alpha1.GateSpec{Scope: v1alpha1.ScopeDeclared}, settings) },
		"another truth":         func(string) *scan.Judge { return judge(t, v1alpha1.GateSpec{}) },
		"a damaged file": func(file string) *scan.Judge {
			if err := os.WriteFile(file, []byte("{\n"), 0o600); err != nil {
				t.Error(err)
			}
			return j
		},
	} {
		place := t.TempDir()
		s.scan(j, place, last)
		if _, listed := s.scan(other(filepath.Join(place, "place.jsonl")), place, ""); len(listed) != len(order) {
			t.Errorf("%s: goes on with %v", what, listed)
		}
	}

	// Killed in the middle of a line: what it was about is listed again.
	place := t.TempDir()
	s.scan(j, place, last)
	file := filepath.Join(place, "place.jsonl")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "blue") {
		t.Errorf("the place holds a value:\n%s", text)
	}
	if err := os.WriteFile(file, text[:len(text)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	result, listed := s.scan(j, place, "")
	if !reflect.DeepEqual(listed, order[2:]) || !reflect.DeepEqual(result.Counts, whole.Counts) {
		t.Errorf("goes on with %v and finds %v", listed, result.Counts)
	}
}
