package controllers

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/commitgate/commitgate/test/cluster"
)

const withDryRuns = `
  serviceAccount: system:serviceaccount:commitgate:commitgate
  dryRuns: [{kinds: [Deployment.apps]}]
`

const mesh = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "registry.example/web:1"}]
`

// TestWhatAMeshInjectsIsExplained has a mutating webhook put a sidecar into every Deployment, as a service mesh does: what the agent applies then
// holds a container that Git does not declare. A dry-run of the declared object tells that the cluster adds it.
func TestWhatAMeshInjectsIsExplained(t *testing.T) {
	g := start(t, cluster.Config{}, withDryRuns)
	proxy := g.startMesh("proxy:1")
	k := g.person("flux")
	g.declare(mesh)
	image := "deployment/web={.spec.template.spec.containers[?(@.name=='proxy')].image}"
	g.eventually("the mesh injects", func() error {
		if err := k.try(mesh); err != nil {
			return err
		}
		if k.get(image) != "proxy:1" {
			return errors.New("not injected yet")
		}
		return nil
	})
	g.expectNoRefusals("the agent creates what the mesh changes")

	next := strings.Replace(mesh, "web:1", "web:2", 1)
	g.declare(next)
	k.apply(next)
	g.expectNoRefusals("the agent updates what the mesh changed")

	proxy.Store("proxy:2")
	k.apply(next)
	k.becomes(image, "proxy:2")
	g.expectNoRefusals("the mesh has another version")

	refuses := func(attack, manifest, field string) {
		t.Helper()
		if err := k.try(manifest); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v, want a refusal that names %s", attack, err, field)
		}
	}
	refuses("an image that Git does not say", strings.Replace(next, "web:2", "evil", 1), "containers[name=web].image")
	refuses("a sidecar of the attacker's own", strings.Replace(next, `[{name: web,`, `[{name: miner, image: evil}, {name: web,`, 1), "containers[name=miner]")
	refuses("the node's network", strings.Replace(next, "      containers:", "      hostNetwork: true\n      containers:", 1), "hostNetwork")
	g.refusals()

	if owners := k.get("deployment/web={.metadata.managedFields[*].manager}"); strings.Contains(owners, "commitgate") {
		t.Errorf("a dry-run left something behind: %s", owners)
	}
}

// startMesh registers a webhook that puts a container named proxy into every Deployment, with the image that the answer holds.
func (g *gate) startMesh(image string) *atomic.Value {
	g.t.Helper()
	var current atomic.Value
	current.Store(image)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		jsonPatch := admissionv1.PatchTypeJSONPatch
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, PatchType: &jsonPatch, Patch: inject(review.Request.Object.Raw, current.Load().(string))}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review)
	}))
	g.t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(g.cluster.Admin())
	if err != nil {
		g.t.Fatal(err)
	}
	url, none := server.URL, admissionregistrationv1.SideEffectClassNone
	_, err = client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(g.t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "mesh"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "inject.mesh.example", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	return &current
}

// inject is the patch that puts the proxy at the end of the containers, or gives the one that is there its image.
func inject(object []byte, image string) []byte {
	var d struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct{ Name string }
				}
			}
		}
	}
	if err := json.Unmarshal(object, &d); err != nil {
		return nil
	}
	const containers = "/spec/template/spec/containers/"
	operation := map[string]any{"op": "add", "path": containers + "-", "value": map[string]any{"name": "proxy", "image": image}}
	for i, c := range d.Spec.Template.Spec.Containers {
		if c.Name == "proxy" {
			operation = map[string]any{"op": "replace", "path": containers + string(rune('0'+i)) + "/image", "value": image}
		}
	}
	patch, err := json.Marshal([]any{operation})
	if err != nil {
		return nil
	}
	return patch
}
