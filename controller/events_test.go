package controller

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/commitgate/commitgate/admit"
)

func TestRefusalsAreToldWherePeopleLook(t *testing.T) {
	object := map[string]any{"metadata": map[string]any{"name": "cart", "namespace": "shop", "uid": "u1"}, "data": map[string]any{"k": "canary"}}
	review := func(op admit.Operation, group, kind, resource, sub, namespace, name string, old map[string]any) *admit.Request {
		r := &admit.Request{Operation: op, Kind: admit.GroupVersionKind{Group: group, Version: "v1", Kind: kind}, Subresource: sub, Namespace: namespace, Name: name, Old: old,
			Resource: admit.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, User: admit.User{Name: "carol"}}
		if op != admit.Delete {
			r.Object = object
		}
		return r
	}
	for name, test := range map[string]struct {
		r    *admit.Request
		want corev1.ObjectReference
	}{
		"an object that is there":            {review(admit.Update, "apps", "Deployment", "deployments", "", "shop", "cart", object), corev1.ObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "cart", UID: "u1"}},
		"an object that is not":              {review(admit.Create, "", "ConfigMap", "configmaps", "", "shop", "cart", nil), corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Namespace: "shop", Name: "shop"}},
		"a pod that somebody wants to enter": {review(admit.Connect, "", "PodExecOptions", "pods", "exec", "shop", "cart-0", nil), corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "cart-0"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &Events{gate: "demo"}
			if got := *e.about(test.r); got != test.want {
				t.Errorf("about %+v, want %+v", got, test.want)
			}
		})
	}
}

// Whoever is refused a thousand times a second fills no etcd: what is too much is dropped, counted, and never waited for.
func TestEventsAreBounded(t *testing.T) {
	sent := record.NewFakeRecorder(1000)
	e := &Events{recorder: sent, gate: "demo", limit: flowcontrol.NewTokenBucketRateLimiter(totalRate, totalBurst)}
	for range 10 * totalBurst {
		e.tell(&corev1.ObjectReference{Kind: "Gate", Name: "demo"}, corev1.EventTypeWarning, "Test", "x")
	}
	got := len(sent.Events)
	if got < totalBurst || got > 5*totalBurst || e.dropped.Load() != uint64(10*totalBurst-got) {
		t.Errorf("%d were sent and %d dropped", got, e.dropped.Load())
	}
	var nobody *Events
	nobody.tell(nil, "", "", "") // no cluster: told to nobody
}

// A refusal of a Secret names it and nothing that is in it.
func TestEventsHoldNoValues(t *testing.T) {
	sent := record.NewFakeRecorder(1)
	e := &Events{recorder: sent, gate: "demo", limit: flowcontrol.NewFakeAlwaysRateLimiter()}
	object := map[string]any{"metadata": map[string]any{"name": "db", "namespace": "shop", "annotations": map[string]any{"note": "canary"}}, "data": map[string]any{"p": "canary"}}
	e.Refused(&admit.Request{Operation: admit.Update, Kind: admit.GroupVersionKind{Version: "v1", Kind: "Secret"}, Namespace: "shop", Name: "db", Object: object, Old: object,
		Resource: admit.GroupVersionResource{Version: "v1", Resource: "secrets"}, User: admit.User{Name: "carol", Extra: map[string][]string{"x": {"canary"}}}},
		admit.Decision{Reason: "FieldsDiffer", Message: "canary", Fields: []string{"data[canary]"}})
	got := <-sent.Events
	if strings.Contains(got, "canary") || !strings.Contains(got, "UPDATE of Secret shop/db by carol was refused") {
		t.Errorf("told: %s", got)
	}
}
