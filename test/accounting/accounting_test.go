// Package accounting holds the accounting to what a real API server does: every kind that it serves, grown field by field from its own
// OpenAPI schema, must come back explained.
package accounting

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }

const namespace = "accounting"

// server is a running API server and what it says about itself.
type server struct {
	client    *http.Client
	url       string
	docs      map[string]*openAPI // by group/version
	resources map[string]resource // by apiVersion kind
	updates   int                 // how many were explained
	tampered  int                 // how many single changes had to be refused
}

type resource struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"`
	Namespaced bool     `json:"namespaced"`
	Verbs      []string `json:"verbs"`
}

func start(t *testing.T) *server {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Config{Dir: t.TempDir()})
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	config := c.Admin()
	config.QPS = -1
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{client: client, url: c.URL(), docs: map[string]*openAPI{}, resources: map[string]resource{}}
	s.discover(t)
	s.create(t, map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace}})
	return s
}

func (s *server) discover(t *testing.T) {
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	s.get(t, "/openapi/v3", &index)
	for path := range index.Paths {
		gv, ok := strings.CutPrefix(path, "apis/")
		if path == "api/v1" {
			gv, ok = "v1", true
		}
		if !ok || gv != "v1" && !strings.Contains(gv, "/") {
			continue
		}
		var doc openAPI
		s.get(t, "/openapi/v3/"+path, &doc)
		s.docs[gv] = &doc
		var list struct{ Resources []resource }
		s.get(t, "/"+path, &list)
		for _, r := range list.Resources {
			if !strings.Contains(r.Name, "/") && slices.Contains(r.Verbs, "create") && slices.Contains(r.Verbs, "get") {
				s.resources[gv+" "+r.Kind] = r
			}
		}
	}
}

func (s *server) get(t *testing.T, path string, into any) {
	t.Helper()
	response, err := s.client.Get(s.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// send sends an object, and returns what the server made of it.
func (s *server) send(ctx context.Context, method, contentType, query string, object map[string]any) (map[string]any, error) {
	body, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	if method == http.MethodDelete || method == http.MethodGet {
		body = nil
	}
	return s.request(ctx, method, contentType, query, object, body)
}

func (s *server) request(ctx context.Context, method, contentType, query string, object map[string]any, body []byte) (map[string]any, error) {
	r := s.resources[fmt.Sprint(object["apiVersion"], " ", object["kind"])]
	metadata, _ := object["metadata"].(map[string]any)
	path := "/apis/"
	if object["apiVersion"] == "v1" {
		path = "/api/"
	}
	path += fmt.Sprint(object["apiVersion"])
	if r.Namespaced {
		path += "/namespaces/" + namespace
	}
	path += "/" + r.Name
	if method != http.MethodPost {
		path += "/" + fmt.Sprint(metadata["name"])
	}
	request, err := http.NewRequestWithContext(ctx, method, s.url+path+"?"+query, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %d: %s", method, path, response.StatusCode, answer)
	}
	var out map[string]any
	return out, kjson.Unmarshal(answer, &out)
}

func (s *server) dryRun(ctx context.Context, object map[string]any) (map[string]any, error) {
	return s.send(ctx, http.MethodPost, "application/json", "dryRun=All&fieldValidation=Strict", object)
}

func (s *server) create(t *testing.T, object map[string]any) map[string]any {
	t.Helper()
	out, err := s.send(t.Context(), http.MethodPost, "application/json", "", object)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kinds reads the small objects from which the test starts.
func kinds(t *testing.T) []map[string]any {
	t.Helper()
	data, err := os.ReadFile("testdata/kinds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.Replace(data, []byte("request: CSR"), []byte("request: "+certificateRequest(t)), 1)
	var out []map[string]any
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		out = append(out, parse(t, doc))
	}
	return out
}

func parse(t *testing.T, doc []byte) map[string]any {
	t.Helper()
	b, err := yaml.YAMLToJSON(doc)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := kjson.Unmarshal(b, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

func certificateRequest(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// TestEveryKindIsExplained grows an object of every kind and asks, for each that the server takes, whether all of what came back
// is explained.
func TestEveryKindIsExplained(t *testing.T) {
	s := start(t)
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{}
	for _, object := range kinds(t) {
		gvk := fmt.Sprint(object["apiVersion"], " ", object["kind"])
		tested[gvk] = true
		t.Run(strings.ReplaceAll(gvk, "/", ".")+" "+name(object), func(t *testing.T) { s.growAndExplain(t, types, object) })
	}
	if s.updates < 100 {
		t.Errorf("only %d updates were taken by the server", s.updates)
	}
	if s.tampered < 5000 {
		t.Errorf("only %d single changes were tried", s.tampered)
	}
	t.Logf("%d updates explained, %d single changes refused", s.updates, s.tampered)
	for gvk := range s.resources {
		if !tested[gvk] {
			t.Errorf("%s: testdata/kinds.yaml has no object of this kind", gvk)
		}
	}
}

func name(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	return fmt.Sprint(metadata["name"])
}

// metadataOfTheServer are the fields that a client need not try, and pod templates, which are grown once.
func metadataOfTheServer(path string) bool {
	switch path {
	case "apiVersion", "kind", "metadata.name", "metadata.generateName", "metadata.namespace", "status",
		"metadata.ownerReferences", "metadata.finalizers", "metadata.resourceVersion", "metadata.managedFields", "metadata.uid", "metadata.creationTimestamp",
		"metadata.generation", "metadata.selfLink", "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds":
		return true
	}
	return false
}

func (s *server) growAndExplain(t *testing.T, types *account.Types, object map[string]any) {
	gv, kind := fmt.Sprint(object["apiVersion"]), fmt.Sprint(object["kind"])
	group, version, ok := strings.Cut(gv, "/")
	if !ok {
		group, version = "", gv
	}
	properties := s.docs[gv].kind(group, version, kind)
	if properties == nil {
		t.Fatalf("no schema for %s %s", gv, kind)
	}
	failures := 0
	try := func(object map[string]any) bool {
		served, err := s.dryRun(t.Context(), object)
		if err != nil {
			return false
		}
		o, err := types.Declare(account.Declaration{Content: compact.Of(object)})
		if err != nil {
			t.Errorf("declare: %v", err)
			return false
		}
		if r := o.Explain(account.Change{Object: served}); !r.Faithful() {
			if failures++; failures < 5 {
				t.Errorf("unexplained %q, missing %q", r.Unexplained, r.Missing)
			}
			return false
		}
		return true
	}
	if served, err := s.dryRun(t.Context(), object); err != nil || !try(object) {
		t.Fatalf("the object to start from: %v\n%v", err, served)
	}
	g := &grower{doc: s.docs[gv], object: object, try: try}
	g.skip = func(path string) bool {
		return metadataOfTheServer(path) || strings.HasSuffix(path, "template.spec") && kind != "Deployment"
	}
	g.grow(properties, nil, 0)
	t.Logf("%d requests", g.tries)
	served, err := s.dryRun(t.Context(), g.object)
	if err != nil {
		t.Fatal(err)
	}
	s.tamper(t, types, g.object, served)
	s.update(t, types, named(object, "-u"), named(g.object, "-u"))
	s.update(t, types, named(g.object, "-v"), named(object, "-v"))
	s.clientSide(t, types, named(object, "-w"), named(g.object, "-w"))
	s.clientSide(t, types, named(g.object, "-x"), named(object, "-x"))
}

// update creates an object and changes it into another revision of itself, in the ways in which agents do. What cannot be changed is
// refused by the server, and no matter here.
func (s *server) update(t *testing.T, types *account.Types, before, after map[string]any) {
	t.Helper()
	live, err := s.send(t.Context(), http.MethodPatch, applyPatch, "fieldManager=kustomize-controller&force=true", before)
	if err != nil {
		t.Logf("not created: %v", err) // some names are given by the content
		return
	}
	o := s.declare(t, types, after, false)
	defer s.remove(t, before)
	s.explain(t, "server-side apply", live, o, func(map[string]any) (map[string]any, error) {
		return s.send(t.Context(), http.MethodPatch, applyPatch, "fieldManager=kustomize-controller&force=true&dryRun=All", after)
	})
	s.explain(t, "server-side apply by another manager", live, o, func(map[string]any) (map[string]any, error) {
		return s.send(t.Context(), http.MethodPatch, applyPatch, "fieldManager=another&force=true&dryRun=All", after)
	})
	s.explain(t, "replace", live, o, func(live map[string]any) (map[string]any, error) {
		replacement, _ := set(after, []any{"metadata", "resourceVersion"}, version(live)).(map[string]any)
		return s.send(t.Context(), http.MethodPut, "application/json", "dryRun=All", replacement)
	})
}

// explain makes a change and expects that all of it is explained. Controllers may write in between: then it starts again from what
// they made.
func (s *server) explain(t *testing.T, how string, live map[string]any, o *account.Object, change func(live map[string]any) (map[string]any, error)) {
	t.Helper()
	for {
		served, err := change(live)
		now, getErr := s.send(t.Context(), http.MethodGet, "application/json", "", live)
		if getErr != nil {
			t.Fatal(getErr)
		}
		if version(now) != version(live) {
			live = now
			continue
		}
		if err == nil {
			s.updates++
			expectFaithful(t, how, o.Explain(account.Change{Object: served, Old: live}))
		}
		return
	}
}

func version(object map[string]any) any { return get(object, []any{"metadata", "resourceVersion"}) }

const applyPatch = "application/apply-patch+yaml"

// clientSide does the same with a client-side apply: a three-way patch of what was applied before, what is to be, and what is.
func (s *server) clientSide(t *testing.T, types *account.Types, before, after map[string]any) {
	t.Helper()
	live, err := s.send(t.Context(), http.MethodPost, "application/json", "", withLastApplied(t, before))
	if err != nil {
		t.Logf("not created: %v", err)
		return
	}
	defer s.remove(t, before)
	expectFaithful(t, "client-side create", s.declare(t, types, before, true).Explain(account.Change{Object: live}))
	gv, err := schema.ParseGroupVersion(fmt.Sprint(after["apiVersion"]))
	if err != nil {
		t.Fatal(err)
	}
	typed, err := scheme.Scheme.New(gv.WithKind(fmt.Sprint(after["kind"])))
	if err != nil {
		t.Logf("no client-side apply: %v", err)
		return
	}
	meta, err := strategicpatch.NewPatchMetaFromStruct(typed)
	if err != nil {
		t.Fatal(err)
	}
	s.explain(t, "client-side apply", live, s.declare(t, types, after, true), func(live map[string]any) (map[string]any, error) {
		patch, err := strategicpatch.CreateThreeWayMergePatch(marshal(t, before), marshal(t, withLastApplied(t, after)), marshal(t, live), meta, true)
		if err != nil {
			return nil, err
		}
		return s.request(t.Context(), http.MethodPatch, "application/strategic-merge-patch+json", "fieldManager=argocd-controller&dryRun=All", after, patch)
	})
}

func (s *server) declare(t *testing.T, types *account.Types, content map[string]any, lastApplied bool) *account.Object {
	t.Helper()
	o, err := types.Declare(account.Declaration{Content: compact.Of(content), LastApplied: lastApplied})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (s *server) remove(t *testing.T, object map[string]any) {
	t.Helper()
	if _, err := s.send(t.Context(), http.MethodDelete, "application/json", "propagationPolicy=Background&gracePeriodSeconds=0", object); err != nil {
		t.Error(err)
	}
}

func expectFaithful(t *testing.T, how string, r account.Result) {
	t.Helper()
	if !r.Faithful() {
		t.Errorf("%s: unexplained %q, missing %q", how, r.Unexplained, r.Missing)
	}
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func withLastApplied(t *testing.T, object map[string]any) map[string]any {
	out, _ := set(object, []any{"metadata", "annotations", lastApplied}, string(marshal(t, object))+"\n").(map[string]any)
	return out
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// named is an object that does not meet the one it was made from.
func named(object map[string]any, suffix string) map[string]any {
	out, _ := set(object, []any{"metadata", "name"}, name(object)+suffix).(map[string]any)
	return out
}
