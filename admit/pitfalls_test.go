package admit

import (
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/snapshot"
)

// pitfall is one way in which gates fail, as docs/pitfalls.md numbers them.
type pitfall struct {
	config   string // testConfig if it is empty
	declared []string
	// loose: Git declares kinds of which there is no schema.
	loose bool
	try   func(*testing.T, *world)
}

// TestPitfalls tries the ways in which admission gates are known to fail, as far as a single review shows them. Others are tried against a real API server.
func TestPitfalls(t *testing.T) {
	for name, p := range pitfalls() {
		t.Run(name, func(t *testing.T) {
			config := testConfig
			if p.config != "" {
				config = p.config
			}
			w := newWorld(t, config)
			if p.loose {
				w.declareLoosely("c1", p.declared...)
			} else {
				w = newWorld(t, config, p.declared...)
			}
			p.try(t, w)
		})
	}
}

const (
	widgetOfGit = "{apiVersion: example.com/v1, kind: Widget, metadata: {name: gear, namespace: shop}, spec: {size: 1}}"
	appOfGit    = "{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: shop, namespace: argocd}, spec: {source: {path: apps}}}"
)

func widgets(t *testing.T, conversion string) map[string]any {
	return object(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: widgets.example.com, uid: w}, "+
		"spec: {group: example.com, scope: Namespaced, names: {kind: Widget, plural: widgets}, conversion: {"+conversion+"}}}")
}

func apiService(t *testing.T, group, more string) map[string]any {
	return object(t, "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1."+group+", uid: a}, spec: {group: "+group+", version: v1, "+more+"}}")
}

func hook(bundle string) string {
	return "strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {caBundle: " + bundle + ", service: {name: evil, namespace: default}}}"
}

func pitfalls() map[string]pitfall {
	cainjector := serviceAccount("cert-manager", "cert-manager-cainjector")
	server := serviceAccount("argocd", "argocd-server")
	return map[string]pitfall{
		"05 each subresource that writes has its rule": {declared: []string{deployment}, try: func(t *testing.T, w *world) {
			for _, s := range []struct{ resource, sub, kind string }{
				{"deployments", "scale", "Scale"}, {"deployments", "status", "Deployment"}, {"pods", "ephemeralcontainers", "Pod"}, {"pods", "resize", "Pod"},
				{"pods", "binding", "Binding"}, {"pods", "eviction", "Eviction"}, {"pods", "status", "Pod"}, {"serviceaccounts", "token", "TokenRequest"},
				{"certificatesigningrequests", "approval", "CertificateSigningRequest"}, {"namespaces", "finalize", "Namespace"}, {"nodes", "status", "Node"},
				{"persistentvolumeclaims", "status", "PersistentVolumeClaim"}, {"widgets", "anything", "Widget"},
			} {
				for who, u := range map[string]User{"a person": carol, "the agent": flux} {
					r := subresource(u, Update, s.resource, s.sub, "shop", "web", GroupVersionKind{Version: "v1", Kind: s.kind}, object(t, "{spec: {replicas: 9}}"))
					r.Old = object(t, "{spec: {replicas: 1}}")
					if d := w.decide(r); d.Outcome == Allow {
						t.Errorf("%s writes %s/%s: %s", who, s.resource, s.sub, d.Reason)
					}
				}
			}
			for _, sub := range []string{"exec", "attach", "portforward", "proxy"} {
				r := subresource(flux, Connect, "pods", sub, "shop", "web-1", GroupVersionKind{Version: "v1", Kind: "PodExecOptions"}, map[string]any{})
				w.want("the agent connects by "+sub, r, Deny, v1alpha1.ReasonConnectRefused)
			}
		}},
		"06 a question is no change": {try: func(t *testing.T, w *world) {
			w.want("may I", request(carol, nil, object(t, "{apiVersion: authorization.k8s.io/v1, kind: SelfSubjectAccessReview, metadata: {}}")), Allow, v1alpha1.ReasonNotAChange)
		}},
		"07 a mirror pod is a kubelet's own": {try: func(t *testing.T, w *world) {
			mirror := func(node string) map[string]any {
				return object(t, "{apiVersion: v1, kind: Pod, metadata: {name: p-a, namespace: kube-system, annotations: {kubernetes.io/config.mirror: x}}, spec: {nodeName: "+node+"}}")
			}
			w.want("of its node", request(kubelet("a"), nil, mirror("a")), Allow, v1alpha1.ReasonController)
			w.want("of another", request(kubelet("a"), nil, mirror("b")), Deny, v1alpha1.ReasonNotControllersBusiness)
			w.want("by a person", request(carol, nil, mirror("a")), Deny, v1alpha1.ReasonNotFromSyncAgent)
		}},
		"08 an APIService is guarded, and takes over no group of Git": {config: declaredScope(), declared: []string{cart, widgetOfGit}, loose: true, try: func(t *testing.T, w *world) {
			const service = "service: {name: evil, namespace: default}"
			w.want("a server for the group of a declared object", request(carol, nil, apiService(t, "example.com", service)), Deny, v1alpha1.ReasonNotFromSyncAgent, "Widget.example.com shop/gear")
			w.want("its service replaced", request(carol, apiService(t, "example.com", "service: {name: good, namespace: x}"), apiService(t, "example.com", service)), Deny, v1alpha1.ReasonNotFromSyncAgent)
			w.want("its authority injected", request(carol, apiService(t, "example.com", service), apiService(t, "example.com", service+", caBundle: eA==")), Allow, v1alpha1.ReasonNotGuarded)
			w.want("a group that Git does not use", request(carol, nil, apiService(t, "metrics.k8s.io", service)), Allow, v1alpha1.ReasonNotGuarded)
			everything := newWorld(t, testConfig, cart)
			everything.want("under scope Everything", request(carol, nil, apiService(t, "metrics.k8s.io", service)), Deny, v1alpha1.ReasonNotFromSyncAgent)
			everything.want("by the agent, undeclared", request(flux, nil, apiService(t, "metrics.k8s.io", service)), Deny, v1alpha1.ReasonNotDeclared)
		}},
		"09 a conversion webhook rewrites nothing of Git": {config: declaredScope(), declared: []string{widgetOfGit}, loose: true, try: func(t *testing.T, w *world) {
			w.want("a webhook that says what is stored", request(carol, widgets(t, "strategy: None"), widgets(t, hook("eA=="))), Deny, v1alpha1.ReasonNotFromSyncAgent, "Widget.example.com shop/gear")
			w.want("its authority injected", request(carol, widgets(t, hook("eA==")), widgets(t, hook("eQ=="))), Allow, v1alpha1.ReasonNotGuarded)
			declared := newWorld(t, testConfig)
			definition := strings.Replace(crdOfGit, "CONVERSION", "", 1)
			declared.withCRD(definition, definition)
			was, is := applied(t, definition), applied(t, strings.Replace(crdOfGit, "CONVERSION", ", conversion: {"+hook("eA==")+"}", 1))
			declared.want("by the agent's token", request(flux, was, is), Deny, v1alpha1.ReasonFieldsDiffer, "spec.conversion")
			declared.want("by a person", request(carol, was, is), Deny, v1alpha1.ReasonNotFromSyncAgent)
		}},
		"10 what a deletecollection deletes is read from the old object": {declared: []string{cart}, try: func(t *testing.T, w *world) {
			r := request(carol, applied(t, cart), nil)
			r.Name = ""
			w.want("an item without a name", r, Deny, v1alpha1.ReasonNotFromSyncAgent, "ConfigMap shop/cart")
			r = request(flux, applied(t, cart), nil)
			r.Name = "something-else"
			w.want("an item by another name", r, Deny, v1alpha1.ReasonStillDeclared, "ConfigMap shop/cart")
		}},
		"11 deleting a Namespace deletes all in it": {declared: []string{cart}, try: func(t *testing.T, w *world) {
			shop := object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, uid: n}}")
			w.want("a person", request(carol, shop, nil), Deny, v1alpha1.ReasonNotFromSyncAgent)
			w.live.Observe(shop)
			w.want("its controller, while it stays", request(namespaces, applied(t, cart), nil), Deny, v1alpha1.ReasonNotControllersBusiness)
		}},
		"12 an owner that the garbage collector would obey": {declared: []string{cart}, try: func(t *testing.T, w *world) {
			owned := applied(t, cart)
			owned["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "x"}}
			for _, u := range []User{carol, flux, argo, serviceAccount("kube-system", "deployment-controller"), garbage} {
				if d := w.decide(request(u, applied(t, cart), owned)); d.Outcome == Allow {
					t.Errorf("%s adds an owner: %s", u.Name, d.Reason)
				}
			}
			w.want("one that is there already", request(garbage, owned, nil), Deny, v1alpha1.ReasonStillDeclared)
		}},
		"13 an object under deletion is judged like any other": {declared: []string{cart}, try: func(t *testing.T, w *world) {
			going := applied(t, cart)
			going["metadata"].(map[string]any)["deletionTimestamp"] = "2026-11-21T11:30:00Z"
			going["metadata"].(map[string]any)["finalizers"] = []any{"example.com/keep"}
			changed, freed := clone(t, going), clone(t, going)
			changed["data"].(map[string]any)["color"] = "red"
			delete(freed["metadata"].(map[string]any), "finalizers")
			w.want("another value (CVE-2023-34091)", request(carol, going, changed), Deny, v1alpha1.ReasonNotFromSyncAgent)
			w.want("the last finalizer of somebody else: the real deletion", request(carol, going, freed), Deny, v1alpha1.ReasonNotFromSyncAgent)
			w.want("with the agent's token", request(flux, going, freed), Deny, v1alpha1.ReasonFieldsDiffer, "finalizers")
			w.want("by the garbage collector, whose it is not", request(garbage, going, freed), Deny, v1alpha1.ReasonNotControllersBusiness)
		}},
		"14 nothing is added to what Git says": {declared: []string{deployment}, try: func(t *testing.T, w *world) {
			full := applied(t, deployment)
			full["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["hostNetwork"] = true
			if d := w.decide(request(flux, nil, full)); d.Outcome == Allow || !strings.Contains(strings.Join(d.Fields, " "), "hostNetwork") {
				t.Errorf("hostNetwork passes: %s %v", d.Reason, d.Fields)
			}
		}},
		"15 nobody is believed for the manager that they name": {declared: []string{cart}, try: func(t *testing.T, w *world) {
			forged := applied(t, strings.Replace(cart, "blue", "red", 1))
			forged["metadata"].(map[string]any)["managedFields"] = []any{map[string]any{"manager": "kustomize-controller", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": map[string]any{"f:data": map[string]any{"f:color": map[string]any{}}}}}
			r := request(carol, applied(t, cart), forged)
			r.Options = object(t, "{kind: UpdateOptions, fieldManager: kustomize-controller}")
			w.want("the agent's field manager, by a person", r, Deny, v1alpha1.ReasonNotFromSyncAgent)
			r = request(flux, applied(t, cart), forged)
			w.want("with the agent's token", r, Deny, v1alpha1.ReasonFieldsDiffer)
		}},
		"17 what controllers make follows from Git": {declared: []string{deployment}, try: func(t *testing.T, w *world) {
			live := object(t, deployment)
			live["metadata"].(map[string]any)["uid"] = "d"
			w.live.Observe(live)
			owner := ownedBySomebody("Deployment", "web", "d")
			controller := serviceAccount("kube-system", "deployment-controller")
			w.want("its ReplicaSet", request(controller, nil, replicaSetOf(t, owner, "web:1")), Allow, v1alpha1.ReasonDerived)
			w.want("with another image", request(controller, nil, replicaSetOf(t, owner, "evil")), Deny, v1alpha1.ReasonNotFromOwner)
			w.want("by another controller", request(serviceAccount("kube-system", "job-controller"), nil, replicaSetOf(t, owner, "web:1")), Deny, v1alpha1.ReasonNotControllersBusiness)
			w.want("by an account of that name elsewhere", request(serviceAccount("evil", "deployment-controller"), nil, replicaSetOf(t, owner, "web:1")), Deny, v1alpha1.ReasonNotFromSyncAgent)
		}},
		"18 a tracking mark proves nothing of its copies": {declared: []string{deployment}, try: func(t *testing.T, w *world) {
			const copied = "annotations: {argocd.argoproj.io/tracking-id: 'shop:apps/Deployment:shop/web'}"
			rs := object(t, "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-1, namespace: shop, uid: r, "+copied+"}}")
			w.want("copied to a ReplicaSet", request(argo, rs, nil), Deny, v1alpha1.ReasonNotDeclared)
			secret := object(t, "{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop, uid: s, "+copied+"}}")
			w.want("on something else", request(argo, secret, nil), Deny, v1alpha1.ReasonNotDeclared)
		}},
		"19 an operator makes what an exemption says": {config: withExemption("{name: operator, users: ['system:serviceaccount:db:operator'], kinds: [StatefulSet.apps], namespaces: [db], reason: makes databases, expires: '2027-01-01T00:00:00Z'}"),
			declared: []string{cart}, try: func(t *testing.T, w *world) {
				set := func(namespace string) map[string]any {
					return object(t, "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: "+namespace+", uid: s}}")
				}
				operator := serviceAccount("db", "operator")
				w.want("its kind, in its namespace", request(operator, nil, set("db")), Allow, v1alpha1.ReasonExempt)
				w.want("elsewhere", request(operator, nil, set("shop")), Deny, v1alpha1.ReasonNotFromSyncAgent)
				w.want("another kind", request(operator, nil, object(t, "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: db}}")), Deny, v1alpha1.ReasonNotFromSyncAgent)
				w.want("another identity", request(serviceAccount("db", "other"), nil, set("db")), Deny, v1alpha1.ReasonNotFromSyncAgent)
				w.Now = w.Now.AddDate(1, 0, 0)
				w.want("after its end", request(operator, nil, set("db")), Deny, v1alpha1.ReasonNotFromSyncAgent)
			}},
		"20 cainjector writes the bundle and nothing else": {config: withExemption("{name: cainjector, users: ['" + cainjector.Name + "'], kinds: [CustomResourceDefinition, APIService], operations: [UPDATE], " +
			"fields: [spec.caBundle, spec.conversion.webhook.clientConfig.caBundle], reason: injects authorities, expires: '2027-01-01T00:00:00Z'}"),
			declared: []string{cart}, try: func(t *testing.T, w *world) {
				moved := widgets(t, strings.Replace(hook("eQ=="), "name: evil", "name: other", 1))
				w.want("the bundle of a CRD", request(cainjector, widgets(t, hook("eA==")), widgets(t, hook("eQ=="))), Allow, v1alpha1.ReasonExempt)
				w.want("and whom it asks", request(cainjector, widgets(t, hook("eA==")), moved), Deny, v1alpha1.ReasonNotFromSyncAgent)
				service := "service: {name: a, namespace: b}"
				w.want("the bundle of an APIService", request(cainjector, apiService(t, "x.io", service), apiService(t, "x.io", service+", caBundle: eA==")), Allow, v1alpha1.ReasonExempt)
				w.want("and where it is", request(cainjector, apiService(t, "x.io", service), apiService(t, "x.io", "service: {name: evil, namespace: b}, caBundle: eA==")), Deny, v1alpha1.ReasonNotFromSyncAgent)
				w.want("a new one", request(cainjector, nil, apiService(t, "x.io", service)), Deny, v1alpha1.ReasonNotFromSyncAgent)
				w.want("the same by somebody else", request(serviceAccount("evil", "cert-manager-cainjector"), widgets(t, hook("eA==")), widgets(t, hook("eQ=="))), Deny, v1alpha1.ReasonNotFromSyncAgent)
			}},
		"22 no label opts an object out": {declared: []string{cart}, try: func(t *testing.T, w *world) {
			const out = "labels: {admission.gatekeeper.sh/ignore: x, commitgate.dev/ignore: 'true', admissions.enforcer/disabled: 'true'}"
			w.want("on an object", request(carol, nil, object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: shop, "+out+"}}")), Deny, v1alpha1.ReasonNotFromSyncAgent)
			w.want("on a namespace", request(carol, object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, uid: n}}"), object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, uid: n, "+out+"}}")), Deny, v1alpha1.ReasonNotFromSyncAgent)
		}},
		"23 an object without a label is judged too": {declared: []string{cart}, try: func(t *testing.T, w *world) {
			w.want("created without the agent's labels, with the agent's token", request(flux, nil, object(t, strings.Replace(cart, "cart,", "bare,", 1))), Deny, v1alpha1.ReasonNotDeclared)
		}},
		"32 a confused agent applies nothing that Git does not say": {declared: []string{cart, appOfGit}, loose: true, try: func(t *testing.T, w *world) {
			changed := applied(t, strings.Replace(cart, "blue", "red", 1))
			w.want("argocd-server patches what Git declares, for somebody at its UI", request(server, applied(t, cart), changed), Deny, v1alpha1.ReasonNotFromSyncAgent)
			w.want("argocd-server deletes it", request(server, applied(t, cart), nil), Deny, v1alpha1.ReasonNotFromSyncAgent)
			app, elsewhere, asked := object(t, appOfGit), object(t, strings.Replace(appOfGit, "path: apps", "path: evil", 1)), object(t, appOfGit)
			asked["operation"] = map[string]any{"sync": map[string]any{"manifests": []any{"{}"}}}
			w.want("somebody points the Application elsewhere", request(carol, app, elsewhere), Deny, v1alpha1.ReasonNotFromSyncAgent)
			w.want("the controller's token does", request(argo, app, elsewhere), Deny, v1alpha1.ReasonWrongAgent)
			w.want("somebody has it sync manifests of their own", request(carol, app, asked), Deny, v1alpha1.ReasonNotFromSyncAgent)
			w.want("what it would then apply", request(argo, nil, object(t, strings.Replace(cart, "cart,", "evil,", 1))), Deny, v1alpha1.ReasonNotDeclared)
		}},
		"33 a status is no evidence": {declared: []string{cart, appOfGit}, loose: true, try: func(t *testing.T, w *world) {
			app, forged := object(t, appOfGit), object(t, appOfGit)
			forged["status"] = map[string]any{"sync": map[string]any{"status": "Synced", "revision": strings.Repeat("ab", 20)}}
			forged["spec"].(map[string]any)["project"] = "other" // or it would be a status alone
			w.want("forged by somebody", request(carol, app, forged), Deny, v1alpha1.ReasonNotFromSyncAgent)
			delete(forged["spec"].(map[string]any), "project")
			w.want("written by the agent", request(argo, app, forged), Allow, v1alpha1.ReasonBookkeeping)
			w.want("helps nobody", request(argo, nil, object(t, strings.Replace(cart, "cart,", "evil,", 1))), Deny, v1alpha1.ReasonNotDeclared)
		}},
		"34 nothing is rolled back through the API": {declared: []string{strings.Replace(cart, "blue", "green", 1)}, try: func(t *testing.T, w *world) {
			w.Truth = &snapshot.Truth{Current: w.Truth.Current, Recent: []*snapshot.Snapshot{w.snapshot("c0", testTime.Add(-time.Hour), cart)}}
			w.Now = testTime.Add(10 * time.Minute)
			for who, u := range map[string]User{"the agent": flux, "a person": carol} {
				if d := w.decide(request(u, applied(t, strings.Replace(cart, "blue", "green", 1)), applied(t, cart))); d.Outcome == Allow {
					t.Errorf("%s applies what a signed commit said long ago: %s", who, d.Reason)
				}
			}
		}},
	}
}

func withExemption(exemption string) string {
	return strings.Replace(testConfig, "spec:\n  serviceAccount", "spec:\n  exemptions: ["+exemption+"]\n  serviceAccount", 1)
}

const crdOfGit = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, scope: Namespaced, names: {plural: widgets, kind: Widget}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}] CONVERSION}
`
