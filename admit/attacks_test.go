package admit

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// subresource asks for something about an object that a review does not show whole.
func subresource(u User, op Operation, resource, sub, namespace, name string, kind GroupVersionKind, body map[string]any) *Request {
	r := &Request{UID: "r1", User: u, Operation: op, Kind: kind, Resource: GroupVersionResource{Version: "v1", Resource: resource},
		Subresource: sub, Namespace: namespace, Name: name, Object: body}
	if op == Update {
		r.Old = body
	}
	return r
}

func kubelet(node string) User {
	return User{Name: "system:node:" + node, Groups: []string{"system:nodes"}, Extra: map[string][]string{claimCredential: {"X509SHA256=1"}}}
}

func TestKubeletsKeepToTheirOwnNode(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	pod := func(node string) map[string]any {
		return object(t, "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, uid: u}, spec: {nodeName: "+node+", serviceAccountName: cart}}")
	}
	w.live.Observe(pod("a"))
	w.live.Observe(object(t, "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, uid: u}}")) // a watch of the metadata
	token := func(u User, account, kind, podName string) *Request {
		return subresource(u, Create, "serviceaccounts", "token", "shop", account, GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"},
			object(t, "{spec: {boundObjectRef: {kind: "+kind+", name: "+podName+", uid: u}}}"))
	}
	w.want("a token for its own pod", token(kubelet("a"), "cart", "Pod", "p"), Allow, v1alpha1.ReasonController)
	w.want("a token for another node's pod", token(kubelet("b"), "cart", "Pod", "p"), Deny, v1alpha1.ReasonNotControllersBusiness)
	w.want("a token of another account, for its own pod", token(kubelet("a"), "admin", "Pod", "p"), Deny, v1alpha1.ReasonNotControllersBusiness)
	w.want("a token that is bound to no pod", token(kubelet("a"), "cart", "Secret", "p"), Deny, v1alpha1.ReasonNotControllersBusiness)

	w.want("it deletes its own pod", request(kubelet("a"), pod("a"), nil), Allow, v1alpha1.ReasonController)
	w.want("it deletes another node's pod", request(kubelet("b"), pod("a"), nil), Deny, v1alpha1.ReasonNotControllersBusiness)
	evict := GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}
	w.want("it evicts its own pod", subresource(kubelet("a"), Create, "pods", "eviction", "shop", "p", evict, map[string]any{}), Allow, v1alpha1.ReasonController)
	w.want("it evicts another node's pod", subresource(kubelet("b"), Create, "pods", "eviction", "shop", "p", evict, map[string]any{}), Deny, v1alpha1.ReasonNotControllersBusiness)

	mirror := object(t, "{apiVersion: v1, kind: Pod, metadata: {name: m, namespace: kube-system, annotations: {kubernetes.io/config.mirror: x}, ownerReferences: [{apiVersion: v1, kind: Node, name: a, uid: n, controller: true}]}, spec: {nodeName: a}}")
	w.want("the shadow of a static pod", request(kubelet("a"), nil, mirror), Allow, v1alpha1.ReasonController)
	w.want("the shadow of a static pod of another node", request(kubelet("b"), nil, mirror), Deny, v1alpha1.ReasonNotControllersBusiness)
	owned := clone(t, mirror)
	owned["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "r", "controller": true}}
	w.want("a mirror pod that a ReplicaSet would count as its own", request(kubelet("a"), nil, owned), Deny, v1alpha1.ReasonNotControllersBusiness)
	w.want("a pod that is no mirror", request(kubelet("a"), nil, pod("a")), Deny, v1alpha1.ReasonNotControllersBusiness)

	lease := func(name string) map[string]any {
		return object(t, "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: "+name+", namespace: kube-node-lease}}")
	}
	w.want("its own lease", request(kubelet("a"), nil, lease("a")), Allow, v1alpha1.ReasonNotAChange)
	w.want("a lease that makes another node look alive", request(kubelet("a"), nil, lease("b")), Deny, v1alpha1.ReasonNotControllersBusiness)

	csr := func(signer string) map[string]any {
		return object(t, "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: c}, spec: {signerName: "+signer+"}}")
	}
	w.want("its serving certificate", request(kubelet("a"), nil, csr("kubernetes.io/kubelet-serving")), Allow, v1alpha1.ReasonController)
	w.want("a certificate for any user", request(kubelet("a"), nil, csr("kubernetes.io/kube-apiserver-client")), Deny, v1alpha1.ReasonNotControllersBusiness)

	slice := object(t, "{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {name: s}, spec: {nodeName: a}}")
	w.want("devices of its own", request(kubelet("a"), nil, slice), Allow, v1alpha1.ReasonController)
	w.want("devices of another node", request(kubelet("b"), slice, nil), Deny, v1alpha1.ReasonNotControllersBusiness)
}

func TestTheGarbageCollectorDeletesForNobodyElse(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	forged := applied(t, cart)
	forged["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "y"}}
	w.want("an owner that somebody put there before the gate came", request(garbage, forged, nil), Deny, v1alpha1.ReasonStillDeclared, "ConfigMap shop/gone", "apps/cart.yaml")

	terminating := func(finalizers, owners string) map[string]any {
		return object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: shop, deletionTimestamp: '2026-11-21T11:00:00Z', finalizers: ["+finalizers+"], ownerReferences: ["+owners+"]}}")
	}
	const a, b = "{apiVersion: v1, kind: Pod, name: a, uid: a, blockOwnerDeletion: true}", "{apiVersion: v1, kind: Pod, name: b, uid: b}"
	cases := map[string]struct {
		old, new map[string]any
		outcome  Outcome
	}{
		"its own finalizers":                    {terminating("keep, foregroundDeletion", a), terminating("keep", a), Allow},
		"a finalizer of somebody else":          {terminating("keep, orphan", a), terminating("orphan", a), Deny},
		"a finalizer more":                      {terminating("orphan", a), terminating("orphan, keep", a), Deny},
		"an owner that is gone":                 {terminating("", a+", "+b), terminating("", b), Allow},
		"an owner that no longer holds it back": {terminating("", a), terminating("", strings.Replace(a, "true", "false", 1)), Allow},
		"another owner":                         {terminating("", a), terminating("", b), Deny},
	}
	for name, c := range cases {
		reason := v1alpha1.ReasonController
		if c.outcome == Deny {
			reason = v1alpha1.ReasonNotControllersBusiness
		}
		w.want(name, request(garbage, c.old, c.new), c.outcome, reason)
	}
}

func TestWhatADeletionTakesAlong(t *testing.T) {
	const gateway = "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g, namespace: web}}"
	w := newWorld(t, declaredScope(), cart)
	w.want("a namespace that Git does not declare, with what it does", request(carol, object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"), nil), Deny, v1alpha1.ReasonNotFromSyncAgent, "ConfigMap shop/cart")
	w.want("a namespace with nothing of Git in it", request(carol, object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: empty}}"), nil), Allow, v1alpha1.ReasonNotGuarded)
	crd := object(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gateways.gateway.networking.k8s.io}, spec: {group: gateway.networking.k8s.io, names: {kind: Gateway, plural: gateways}}}")
	w.want("a kind that Git uses nowhere", request(carol, crd, nil), Allow, v1alpha1.ReasonNotGuarded)
	w.declareLoosely("c1", gateway)
	w.want("a kind that Git uses: no webhook is asked about its objects", request(carol, crd, nil), Deny, v1alpha1.ReasonNotFromSyncAgent, "Gateway.gateway.networking.k8s.io web/g")
}

func TestWaysToBecomeTheAgent(t *testing.T) {
	w := newWorld(t, declaredScope(), cart)
	role := func(kind, namespace, rule string) map[string]any {
		return object(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: "+kind+", metadata: {name: r, namespace: '"+namespace+"'}, rules: ["+rule+"]}")
	}
	const everything, accounts = "{apiGroups: ['*'], resources: ['*'], verbs: ['*']}", "{apiGroups: [''], resources: [serviceaccounts], verbs: ['*']}"
	w.want("a ClusterRole with every right", request(carol, nil, role("ClusterRole", "", everything)), Deny, v1alpha1.ReasonAgentIdentityGuarded, "impersonation")
	w.want("a Role with every right on accounts, where the agent lives", request(carol, nil, role("Role", "flux-system", accounts)), Deny, v1alpha1.ReasonAgentIdentityGuarded)
	w.want("the same elsewhere", request(carol, nil, role("Role", "blog", accounts)), Allow, v1alpha1.ReasonNotGuarded)
	w.want("every right on something harmless", request(carol, nil, role("ClusterRole", "", "{apiGroups: [apps], resources: ['*'], verbs: ['*']}")), Allow, v1alpha1.ReasonNotGuarded)
	binding := object(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, subjects: [{kind: User, name: eve}]}")
	w.want("somebody becomes cluster-admin", request(carol, nil, binding), Deny, v1alpha1.ReasonAgentIdentityGuarded, "cluster-admin")
}

// What is the kind of a scaled custom resource only its definition tells.
func TestTheAutoscalerScalesWhatGitDeclares(t *testing.T) {
	const crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {replicas: {type: integer}}}}}}}]
`
	const widget = "{apiVersion: example.com/v1, kind: Widget, metadata: {name: gear, namespace: shop}, spec: {}}"
	const fixed = "{apiVersion: example.com/v1, kind: Widget, metadata: {name: fixed, namespace: shop}, spec: {replicas: 2}}"
	hpa := func(target string) string {
		return "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: " + target + ", namespace: shop}, spec: {maxReplicas: 5, scaleTargetRef: {apiVersion: example.com/v1, kind: Widget, name: " + target + "}}}"
	}
	w := newWorld(t, testConfig)
	w.withCRD(crd, widget, fixed, hpa("gear"), hpa("fixed"))
	scale := func(u User, name string) *Request {
		r := subresource(u, Update, "widgets", "scale", "shop", name, GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, object(t, "{spec: {replicas: 3}}"))
		r.Resource.Group, r.Old = "example.com", object(t, "{spec: {replicas: 1}}")
		return r
	}
	autoscaler := serviceAccount("kube-system", "horizontal-pod-autoscaler")
	w.want("where Git leaves the replicas out", scale(autoscaler, "gear"), Allow, v1alpha1.ReasonDerived)
	for name, replicas := range map[string]int64{"more than Git lets it": 6, "fewer than Git lets it": 0} {
		beyond := scale(autoscaler, "gear")
		beyond.Object = map[string]any{"spec": map[string]any{"replicas": replicas}}
		w.want(name, beyond, Deny, v1alpha1.ReasonNotFromOwner, "HorizontalPodAutoscaler")
	}
	w.want("where Git says how many", scale(autoscaler, "fixed"), Deny, v1alpha1.ReasonFieldsDiffer, "spec.replicas")
	w.want("what Git does not declare", scale(autoscaler, "other"), Deny, v1alpha1.ReasonOwnerNotDeclared)
	w.want("kubectl scale", scale(carol, "gear"), Deny, v1alpha1.ReasonNotFromSyncAgent, "scale Widget.example.com shop/gear", "apps/cart.yaml")
}

// A StatefulSet remakes a pod from the old revision while a new one is rolled out; nobody else makes pods of it.
func TestAPodOfAnOlderRevision(t *testing.T) {
	const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "db:2"}]}
`
	w := newWorld(t, testConfig, set)
	owned := "ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: db, uid: s, controller: true}]"
	live := object(t, set)
	live["metadata"].(map[string]any)["uid"] = "s"
	w.live.Observe(live)
	controller := serviceAccount("kube-system", "statefulset-controller")
	defaulted := func(image string) string {
		return "{containers: [{name: db, image: '" + image + "', imagePullPolicy: IfNotPresent, resources: {}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}], " +
			"dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30, enableServiceLinks: true}"
	}
	revision := func(image string) map[string]any {
		return object(t, "{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: db-1, namespace: shop, uid: c, "+owned+"}, revision: 1, data: {spec: {template: {$patch: replace, metadata: {labels: {app: db}}, spec: "+strings.Replace(defaulted(image), ", enableServiceLinks: true", "", 1)+"}}}}")
	}
	pod := func(image string) map[string]any {
		return object(t, "{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, uid: p, labels: {app: db, controller-revision-hash: db-1}, "+owned+"}, spec: "+defaulted(image)+"}")
	}
	w.want("a pod of a revision that nobody has seen", request(controller, nil, pod("db:1")), Deny, v1alpha1.ReasonNotFromOwner, "image")
	w.want("a revision that is not what the set says", request(controller, nil, revision("evil")), Deny, v1alpha1.ReasonNotFromOwner, "image")
	w.want("a revision of the set", request(controller, nil, revision("db:2")), Allow, v1alpha1.ReasonDerived)
	changed := clone(t, revision("db:1"))
	changed["data"] = revision("evil")["data"]
	w.want("a revision whose data change", request(controller, revision("db:1"), changed), Deny, v1alpha1.ReasonNotControllersBusiness)
	w.live.Observe(revision("db:1"))
	w.want("a pod of the older revision", request(controller, nil, pod("db:1")), Allow, v1alpha1.ReasonDerived)
	w.want("a pod of neither", request(controller, nil, pod("evil")), Deny, v1alpha1.ReasonNotFromOwner, "image")
}
