package admit

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

var testTime = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const testConfig = `
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: shop}
spec: {url: https://git.example.org/shop.git, branch: main, anchor: {commit: abcdef6789012345678901234567890123456789}, staleAfter: 1h}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  serviceAccount: system:serviceaccount:commitgate:commitgate
  roots: [{repository: shop, path: apps, agent: flux}]
  agents:
  - {name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"], impersonates: ["system:serviceaccount:team-a:deployer"]}
  - {name: argo, preset: ArgoCD, users: ["system:serviceaccount:argocd:argocd-application-controller"]}
`

// declaredScope is the test's configuration, where what Git does not declare is left to RBAC.
func declaredScope() string {
	return strings.Replace(testConfig, "spec:\n  serviceAccount", "spec:\n  scope: Declared\n  serviceAccount", 1)
}

// world is a gate with declared objects, for tests.
type world struct {
	t     testing.TB
	gate  *Gate
	types *account.Types
	World
	live  *live.Store
	loose bool // kinds without a schema may be declared
}

func newWorld(t testing.TB, config string, declared ...string) *world {
	t.Helper()
	cfg, err := v1alpha1.Parse("gate.yaml", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	store := &live.Store{}
	w := &world{t: t, gate: New(cfg, types), types: types, live: store, World: World{Live: store, Now: testTime}}
	w.Truth = &snapshot.Truth{Current: w.snapshot("c1", testTime.Add(-time.Minute), declared...)}
	return w
}

// snapshot is a revision of repository shop that declares objects for Flux.
func (w *world) snapshot(id string, published time.Time, declared ...string) *snapshot.Snapshot {
	w.t.Helper()
	rev := &snapshot.Revision{Repository: "shop", Branch: "main", Commit: &git.Commit{ID: git.ID(strings.Repeat(id, 20))}, Fetched: published}
	var entries []*snapshot.Entry
	for _, text := range declared {
		content := object(w.t, text)
		labels := map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
		acc, err := w.types.Declare(account.Declaration{Content: compact.Of(content), Labels: labels})
		if err != nil && !(w.loose && errors.Is(err, account.ErrNoSchema)) {
			w.t.Fatal(err)
		}
		m := manifest.Object{Key: live.KeyOf(content), Content: compact.Of(content), Owner: agent.Owner{Agent: "flux"}, Source: manifest.Source{Repository: "shop", Path: "apps/cart.yaml", Line: 1}}
		entries = append(entries, &snapshot.Entry{Object: m, Account: acc, Revision: rev, Changed: rev.Commit})
	}
	return snapshot.New(snapshot.Parts{Revisions: map[string]*snapshot.Revision{"shop": rev}, Types: w.types, Published: published}, entries)
}

func (w *world) decide(r *Request) Decision {
	w.t.Helper()
	return w.gate.Decide(context.Background(), r, w.World)
}

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// clone copies an object deeply, so that a test may change it.
func clone(t *testing.T, m map[string]any) map[string]any {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Users.
var (
	flux       = serviceAccount("flux-system", "kustomize-controller")
	argo       = serviceAccount("argocd", "argocd-application-controller")
	garbage    = serviceAccount("kube-system", "generic-garbage-collector")
	namespaces = serviceAccount("kube-system", "namespace-controller")
	carol      = User{Name: "carol", Groups: []string{"system:masters", "system:authenticated"}}
)

func serviceAccount(namespace, name string) User {
	return User{
		Name: "system:serviceaccount:" + namespace + ":" + name, UID: "u-" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
		Extra:  map[string][]string{claimCredential: {"JTI=1"}},
	}
}

const cart = `
apiVersion: v1
kind: ConfigMap
metadata: {name: cart, namespace: shop}
data: {color: blue}
`

// applied is an object as the API server shows it after the agent applied it.
func applied(t testing.TB, text string) map[string]any {
	m := object(t, text)
	meta := m["metadata"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]any{}
	}
	labels["kustomize.toolkit.fluxcd.io/name"] = "apps"
	labels["kustomize.toolkit.fluxcd.io/namespace"] = "flux-system"
	meta["labels"] = labels
	meta["uid"] = "11111111-1111-1111-1111-111111111111"
	meta["creationTimestamp"] = "2026-11-21T11:00:00Z"
	return m
}

// request asks for a change of an object: old nil is a CREATE, new nil a DELETE.
func request(u User, old, new map[string]any) *Request {
	r := &Request{UID: "r1", User: u, Object: new, Old: old, Operation: Update}
	o := new
	switch {
	case old == nil:
		r.Operation = Create
	case new == nil:
		r.Operation, o = Delete, old
	}
	k := live.KeyOf(o)
	r.Kind = GroupVersionKind{Group: k.Group, Version: "v1", Kind: k.Kind}
	r.Resource = GroupVersionResource{Group: k.Group, Version: "v1", Resource: strings.ToLower(k.Kind) + "s"}
	r.Namespace, r.Name = k.Namespace, k.Name
	return r
}

func (w *world) want(name string, r *Request, outcome Outcome, reason v1alpha1.Reason, words ...string) Decision {
	w.t.Helper()
	d := w.decide(r)
	if d.Verdict != outcome || d.Reason != reason {
		w.t.Errorf("%s: have %s %s (%s), want %s %s", name, d.Verdict, d.Reason, d.Message, outcome, reason)
	}
	for _, word := range words {
		if !strings.Contains(d.Message, word) {
			w.t.Errorf("%s: message lacks %q:\n%s", name, word, d.Message)
		}
	}
	return d
}

func TestTheZeroValueRefuses(t *testing.T) {
	var d Decision
	if d.Outcome != Deny || d.Outcome.Code() != 403 {
		t.Error("the zero value of a decision must be a denial")
	}
}

func TestAgent(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	asApplied := applied(t, cart)

	d := w.want("what Git says", request(flux, nil, asApplied), Allow, v1alpha1.ReasonFromGit)
	if d.Agent != "flux" || d.Role != RoleAgent || d.Entry == nil {
		t.Errorf("provenance is missing: %+v", d)
	}

	changed := clone(t, asApplied)
	changed["data"].(map[string]any)["color"] = "red"
	d = w.want("a stolen token changes a value", request(flux, asApplied, changed), Deny, v1alpha1.ReasonFieldsDiffer, "data[color]", "apps/cart.yaml")
	if !d.Ahead {
		t.Error("a newer revision could say this: the mirror should be asked")
	}

	labelled := clone(t, asApplied)
	labelled["metadata"].(map[string]any)["labels"].(map[string]any)["evil"] = "yes"
	// The branch is ahead of what is believed: whoever reads the refusal learns why their commit is not what Git says. What a stranger wrote into it is tamed.
	stranger := &snapshot.Unbelieved{Commit: git.ID(strings.Repeat("ab", 20)), Why: "it is signed by \x1b[31m" + strings.Repeat("mallory ", 40)}
	w.Truth.Current.Revisions["shop"].Unbelieved = stranger
	d = w.want("with a commit that nobody believes", request(flux, asApplied, changed), Deny, v1alpha1.ReasonFieldsDiffer, "main is at abababa, which is not believed: it is signed by [31mmallory", "mallory …")
	if strings.ContainsRune(d.Message, '\x1b') || len(d.Message) > 800 || strings.Count(d.Message, "\n") != 2 {
		t.Errorf("%q", d.Message)
	}
	w.Truth.Current.Revisions["shop"].Unbelieved = nil
	w.want("a stolen token adds a label", request(flux, asApplied, labelled), Deny, v1alpha1.ReasonFieldsDiffer, "metadata.labels[evil]")

	owned := clone(t, asApplied)
	owned["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "y"}}
	w.want("an owner is added so that the garbage collector deletes", request(flux, asApplied, owned), Deny, v1alpha1.ReasonFieldsDiffer, "metadata.ownerReferences")

	other := applied(t, strings.Replace(cart, "name: cart", "name: evil", 1))
	w.want("an object that Git does not declare", request(flux, nil, other), Deny, v1alpha1.ReasonNotDeclared)
	w.want("an object in another namespace", request(flux, nil, applied(t, strings.Replace(cart, "namespace: shop", "namespace: bank", 1))), Deny, v1alpha1.ReasonNotDeclared)
	w.want("another agent's object", request(argo, nil, asApplied), Deny, v1alpha1.ReasonWrongAgent)
	w.want("deleting what Git declares", request(flux, asApplied, nil), Deny, v1alpha1.ReasonStillDeclared, "Git still declares it")
	w.want("pruning what Git dropped", request(flux, other, nil), Allow, v1alpha1.ReasonPruned)

	foreign := object(t, strings.Replace(cart, "name: cart", "name: coredns", 1))
	w.want("deleting what the agent never applied", request(flux, foreign, nil), Deny, v1alpha1.ReasonNotDeclared)

	impersonated := flux
	impersonated.UID, impersonated.Extra = "", nil
	w.want("somebody impersonates the agent", request(impersonated, nil, asApplied), Deny, v1alpha1.ReasonImpersonated)

	deletecollection := request(flux, other, nil)
	deletecollection.Name = ""
	w.want("an item of a deletecollection has no name of its own", deletecollection, Allow, v1alpha1.ReasonPruned)
}

func TestPeople(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	asApplied := applied(t, cart)
	changed := clone(t, asApplied)
	changed["data"].(map[string]any)["color"] = "red"

	w.want("kubectl edit", request(carol, asApplied, changed), Deny, v1alpha1.ReasonNotFromSyncAgent, "apps/cart.yaml", "let flux apply it")
	w.want("kubectl delete", request(carol, asApplied, nil), Deny, v1alpha1.ReasonNotFromSyncAgent, "apps/cart.yaml")
	w.want("kubectl create of something else", request(carol, nil, object(t, strings.Replace(cart, "name: cart", "name: mine", 1))), Deny, v1alpha1.ReasonNotFromSyncAgent, "declare it in Git")
	w.want("a write that changes nothing", request(carol, asApplied, clone(t, asApplied)), Allow, v1alpha1.ReasonUnchanged)
	w.want("a restore of what Git says", request(carol, changed, asApplied), Allow, v1alpha1.ReasonFromGit)

	managed := clone(t, changed)
	managed["metadata"].(map[string]any)["managedFields"] = []any{map[string]any{"manager": "x"}}
	w.want("managedFields alone, over drifted values", request(flux, changed, managed), Allow, v1alpha1.ReasonUnchanged)

	terminating := clone(t, asApplied)
	terminating["metadata"].(map[string]any)["deletionTimestamp"] = "2026-11-21T11:30:00Z"
	terminatingChanged := clone(t, terminating)
	terminatingChanged["data"].(map[string]any)["color"] = "red"
	w.want("an object under deletion is judged like any other (CVE-2023-34091)", request(carol, terminating, terminatingChanged), Deny, v1alpha1.ReasonNotFromSyncAgent)

	exec := &Request{UID: "1", User: carol, Operation: Connect, Kind: GroupVersionKind{Version: "v1", Kind: "PodExecOptions"},
		Resource: GroupVersionResource{Version: "v1", Resource: "pods"}, Subresource: "exec", Namespace: "shop", Name: "cart-1", Object: map[string]any{}}
	w.want("kubectl exec", exec, Deny, v1alpha1.ReasonConnectRefused, "exec into Pod shop/cart-1")

	unknown := request(carol, asApplied, changed)
	unknown.Subresource = "frobnicate"
	w.want("a subresource that nobody listed", unknown, Deny, v1alpha1.ReasonNotFromSyncAgent)
}

func TestDeclaredScope(t *testing.T) {
	w := newWorld(t, declaredScope(), cart)
	asApplied := applied(t, cart)
	mine := object(t, strings.Replace(cart, "name: cart", "name: mine", 1))

	w.want("what Git declares is guarded", request(carol, asApplied, nil), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("the rest is left to RBAC", request(carol, nil, mine), Allow, v1alpha1.ReasonNotGuarded)
	if d := w.want("the agent may be ahead of the mirror", request(flux, nil, mine), Allow, v1alpha1.ReasonNotGuarded); !d.Ahead {
		t.Error("the mirror must be asked before an agent's object counts as undeclared")
	}
	token := &Request{UID: "1", User: carol, Operation: Create, Kind: GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"},
		Resource: GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}, Subresource: "token", Namespace: "flux-system", Name: "kustomize-controller", Object: map[string]any{"spec": map[string]any{}}}
	w.want("a token of the agent", token, Deny, v1alpha1.ReasonAgentIdentityGuarded, "make a token for ServiceAccount flux-system/kustomize-controller")
	pod := object(t, "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: flux-system}, spec: {serviceAccountName: kustomize-controller}}")
	w.want("a pod that runs as the agent", request(carol, nil, pod), Deny, v1alpha1.ReasonAgentIdentityGuarded)
	secret := object(t, "{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: s, namespace: flux-system, annotations: {kubernetes.io/service-account.name: kustomize-controller}}}")
	w.want("a Secret that the token controller fills", request(carol, nil, secret), Deny, v1alpha1.ReasonAgentIdentityGuarded)
	role := object(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, rules: [{apiGroups: [''], resources: [serviceaccounts], verbs: [impersonate]}]}")
	w.want("a role that lets somebody impersonate", request(carol, nil, role), Deny, v1alpha1.ReasonAgentIdentityGuarded)
}

func TestControllers(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	pod := object(t, "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, uid: u, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: rs, uid: r, controller: true}]}}")
	bare := object(t, "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop, uid: u}}")

	w.want("the garbage collector deletes what has an owner", request(garbage, pod, nil), Allow, v1alpha1.ReasonController)
	w.want("the garbage collector has no business with what has none", request(garbage, bare, nil), Deny, v1alpha1.ReasonNotControllersBusiness)
	posing := garbage
	posing.UID, posing.Extra = "", nil
	w.want("an admin poses as the garbage collector", request(posing, pod, nil), Deny, v1alpha1.ReasonImpersonated)

	w.want("the namespace controller in a namespace that nobody has seen", request(namespaces, bare, nil), Retry, v1alpha1.ReasonOwnerUnknown)
	w.live.Observe(object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, uid: n}}"))
	w.want("the namespace controller in a namespace that stays", request(namespaces, bare, nil), Deny, v1alpha1.ReasonNotControllersBusiness)
	w.live.Observe(object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, uid: n, deletionTimestamp: '2026-11-21T11:00:00Z'}}"))
	w.want("the namespace controller in a namespace that goes", request(namespaces, bare, nil), Allow, v1alpha1.ReasonController)

	replicaset := serviceAccount("kube-system", "replicaset-controller")
	w.want("a pod of an owner that nobody has seen", request(replicaset, nil, pod), Retry, v1alpha1.ReasonOwnerUnknown)
	w.live.Observe(object(t, "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: rs, namespace: shop, uid: r}}"))
	w.want("a pod whose owners end outside Git", request(replicaset, nil, pod), Deny, v1alpha1.ReasonOwnerNotDeclared)
}

func TestOwnIdentity(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	gate := serviceAccount("commitgate", "commitgate")
	dry := request(gate, nil, applied(t, cart))
	dry.DryRun = true
	w.want("a dry-run", dry, Allow, v1alpha1.ReasonOwnWork)
	d := w.want("a stolen token of the gate", request(gate, nil, applied(t, cart)), Deny, v1alpha1.ReasonOwnIdentity)
	if d.Role != RoleGate {
		t.Errorf("have role %s", d.Role)
	}

	own := func(op Operation, group, kind, resource, subresource, namespace string) *Request {
		object := map[string]any{"metadata": map[string]any{"name": "x"}}
		r := &Request{UID: "1", User: gate, Operation: op, Kind: GroupVersionKind{group, "v1", kind}, Resource: GroupVersionResource{group, "v1", resource}, Subresource: subresource, Namespace: namespace, Name: "x"}
		if op != Delete {
			r.Object = object
		}
		if op != Create {
			r.Old = object
		}
		return r
	}
	const ours, leases = "commitgate.dev", "coordination.k8s.io"
	w.want("its status", own(Update, ours, "Gate", "gates", "status", ""), Allow, v1alpha1.ReasonOwnWork)
	w.want("its Lease", own(Create, leases, "Lease", "leases", "", "commitgate"), Allow, v1alpha1.ReasonOwnWork)
	w.want("an Event", own(Create, "", "Event", "events", "", "shop"), Allow, v1alpha1.ReasonOwnWork)
	w.want("the same Event again", own(Update, "", "Event", "events", "", "shop"), Allow, v1alpha1.ReasonOwnWork)
	w.want("its own configuration", own(Update, ours, "Gate", "gates", "", ""), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("a repository of its own making", own(Create, ours, "TrustedRepository", "trustedrepositories", "", ""), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("a grant of its own making", own(Create, ours, "Grant", "grants", "", ""), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("a status of somebody else's", own(Update, "apps", "Deployment", "deployments", "status", "shop"), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("another's Lease", own(Update, leases, "Lease", "leases", "", "kube-system"), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("the end of its Lease", own(Delete, leases, "Lease", "leases", "", "commitgate"), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("hiding an Event", own(Delete, "", "Event", "events", "", "shop"), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("what is called events elsewhere", own(Create, "example.org", "Event", "events", "", "shop"), Deny, v1alpha1.ReasonOwnIdentity)
}

// The job that replaces the gate's certificate authority passes before anything is known of Git, and whoever has its token can do nothing else.
func TestRotationOfTheAuthority(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	job := serviceAccount("commitgate", "commitgate-certificates")
	update := func(user User, namespace, name, key string) *Request {
		secret := func(value string) map[string]any {
			return object(t, "{apiVersion: v1, kind: Secret, metadata: {name: "+name+", namespace: "+namespace+"}, data: {"+key+": "+value+"}}")
		}
		return request(user, secret("b2xk"), secret("bmV3"))
	}
	impersonated, elsewhere := job, serviceAccount("shop", "commitgate-certificates")
	impersonated.UID = ""
	w.want("its Secret", update(job, "commitgate", "commitgate-ca", "tls.crt"), Allow, v1alpha1.ReasonOwnWork)
	w.want("another Secret", update(job, "commitgate", "commitgate-stream", "token"), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("a Secret of that name elsewhere", update(job, "shop", "commitgate-ca", "tls.crt"), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("an end of its Secret", request(job, update(job, "commitgate", "commitgate-ca", "tls.crt").Object, nil), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("what Git declares", request(job, nil, applied(t, cart)), Deny, v1alpha1.ReasonOwnIdentity)
	w.want("somebody by its name", update(impersonated, "commitgate", "commitgate-ca", "tls.crt"), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("its namesake of a team", update(elsewhere, "commitgate", "commitgate-ca", "tls.crt"), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.Truth = new(snapshot.Truth)
	w.want("its Secret, before anything is known", update(job, "commitgate", "commitgate-ca", "tls.crt"), Allow, v1alpha1.ReasonOwnWork)
}

func TestNotReady(t *testing.T) {
	w := newWorld(t, testConfig, cart)
	asApplied := applied(t, cart)
	w.Now = testTime.Add(2 * time.Hour)
	w.want("too long without news from the Git host", request(flux, nil, asApplied), Retry, v1alpha1.ReasonStale)
	w.Now = testTime
	w.Truth = &snapshot.Truth{}
	w.want("nothing verified yet", request(flux, nil, asApplied), Retry, v1alpha1.ReasonNotReady)
	w.want("people are refused rather than told to wait", request(carol, nil, asApplied), Deny, v1alpha1.ReasonNotFromSyncAgent)
	scheduler := User{Name: "system:kube-scheduler", Extra: map[string][]string{claimCredential: {"X509SHA256=1"}}}
	binding := &Request{UID: "1", User: scheduler, Operation: Create, Kind: GroupVersionKind{Version: "v1", Kind: "Binding"}, Subresource: "binding",
		Resource: GroupVersionResource{Version: "v1", Resource: "pods"}, Namespace: "shop", Name: "p", Object: map[string]any{}}
	w.want("a cluster lives on without the truth", binding, Allow, v1alpha1.ReasonController)
}

func TestWindow(t *testing.T) {
	w := newWorld(t, testConfig, strings.Replace(cart, "blue", "green", 1))
	current := w.Truth.Current
	w.Truth = &snapshot.Truth{Current: current, Recent: []*snapshot.Snapshot{w.snapshot("c0", testTime.Add(-time.Hour), cart)}}
	w.want("an agent that lags behind, inside the window", request(flux, nil, applied(t, cart)), Allow, v1alpha1.ReasonFromGit)
	w.Now = testTime.Add(10 * time.Minute)
	w.want("a replay of what was superseded long ago", request(flux, nil, applied(t, cart)), Deny, v1alpha1.ReasonFieldsDiffer)
}

func TestModes(t *testing.T) {
	asApplied := applied(t, cart)
	for mode, warned := range map[v1alpha1.Mode]bool{v1alpha1.ModeWarn: true, v1alpha1.ModeAudit: false} {
		w := newWorld(t, strings.Replace(testConfig, "spec:\n  serviceAccount", "spec:\n  mode: "+string(mode)+"\n  serviceAccount", 1), cart)
		d := w.want("computes what an enforcing gate computes", request(carol, asApplied, nil), Deny, v1alpha1.ReasonNotFromSyncAgent)
		if d.Outcome != Allow || (len(d.Warnings) > 0) != warned {
			t.Errorf("%s: have outcome %s, warnings %q", mode, d.Outcome, d.Warnings)
		}
		for _, warning := range d.Warnings {
			if len([]rune(warning)) > maxWarning {
				t.Errorf("a warning of %d characters", len([]rune(warning)))
			}
		}
	}
	w := newWorld(t, strings.Replace(testConfig, "spec:\n  serviceAccount", "spec:\n  overrides: [{namespaces: [shop], reasons: [NotFromSyncAgent], mode: Audit}]\n  serviceAccount", 1), cart)
	if d := w.decide(request(carol, asApplied, nil)); d.Outcome != Allow || d.Mode != v1alpha1.ModeAudit {
		t.Errorf("an override by namespace and reason: have %+v", d)
	}
}

func TestExemptions(t *testing.T) {
	exemptions := `spec:
  exemptions:
  - {name: oncall, users: [carol], namespaces: [shop], operations: [DELETE], reason: on call, expires: "2026-11-22T00:00:00Z"}
  - {name: recolor, users: [carol], fields: ["data.color"], reason: the color is hers}
  serviceAccount`
	w := newWorld(t, strings.Replace(testConfig, "spec:\n  serviceAccount", exemptions, 1), cart)
	asApplied := applied(t, cart)
	recolored, resized := clone(t, asApplied), clone(t, asApplied)
	recolored["data"].(map[string]any)["color"] = "red"
	resized["data"].(map[string]any)["size"] = "L"

	if d := w.want("covered", request(carol, asApplied, nil), Allow, v1alpha1.ReasonExempt); d.Rule != "oncall" || d.Role != RoleExempt {
		t.Errorf("have %+v", d)
	}
	if d := w.want("only its fields", request(carol, asApplied, recolored), Allow, v1alpha1.ReasonExempt); len(d.Warnings) > 0 {
		t.Errorf("an exemption without an end warns: %q", d.Warnings)
	}
	w.want("another field", request(carol, asApplied, resized), Deny, v1alpha1.ReasonNotFromSyncAgent)
	warned := func(d Decision, want ...string) {
		t.Helper()
		if !slices.Equal(d.Warnings, want) {
			t.Errorf("have warnings %q, want %q", d.Warnings, want)
		}
	}
	warned(w.decide(request(carol, asApplied, nil)), "commitgate: exemption oncall, by which this passes, ends 2026-11-22T00:00:00Z")
	w.Now = testTime.Add(24 * time.Hour)
	warned(w.want("expired", request(carol, asApplied, nil), Deny, v1alpha1.ReasonNotFromSyncAgent), "commitgate: exemption oncall, which was for this, ended 2026-11-22T00:00:00Z")
	warned(w.want("never its business", request(carol, asApplied, resized), Deny, v1alpha1.ReasonNotFromSyncAgent))
	w.Now = testTime.Add(-30 * 24 * time.Hour)
	warned(w.want("long before its end", request(carol, asApplied, nil), Allow, v1alpha1.ReasonExempt))
}

// An agent that relied on the exemption of a field learns that it ended, and not only that the field differs.
func TestExemptionOfAFieldEnded(t *testing.T) {
	exemptions := `spec:
  exemptions:
  - {name: recolor, fields: ["data.color"], reason: a controller paints it, expires: "2026-11-20T00:00:00Z"}
  - {name: resize, fields: ["data.size"], reason: another field, expires: "2026-11-20T00:00:00Z"}
  serviceAccount`
	w := newWorld(t, strings.Replace(testConfig, "spec:\n  serviceAccount", exemptions, 1), cart)
	asApplied := applied(t, cart)
	recolored := clone(t, asApplied)
	recolored["data"].(map[string]any)["color"] = "red"
	d := w.want("the agent", request(flux, asApplied, recolored), Deny, v1alpha1.ReasonFieldsDiffer)
	if want := []string{"commitgate: exemption recolor, which was for this, ended 2026-11-20T00:00:00Z"}; !slices.Equal(d.Warnings, want) {
		t.Errorf("have warnings %q, want %q", d.Warnings, want)
	}
}

// TestNoDenialMakesAnAgentDelete: Flux and kubectl --force take 409, 422 or the word for a reason to delete and re-create the object.
func TestNoDenialMakesAnAgentDelete(t *testing.T) {
	for _, o := range []Outcome{Deny, Retry, Error} {
		if code := o.Code(); code == 409 || code == 422 || code < 400 {
			t.Errorf("%s answers %d", o, code)
		}
	}
	w := newWorld(t, testConfig, cart)
	asApplied := applied(t, cart)
	for _, r := range []*Request{request(flux, asApplied, nil), request(carol, asApplied, nil), request(argo, nil, asApplied), {UID: "1"}} {
		d := w.decide(r)
		if strings.Contains(strings.ToLower(d.Message), "immutable") || d.Outcome == Allow {
			t.Errorf("%s: %s", d.Outcome, d.Message)
		}
		if lines := strings.Split(d.Message, "\n"); len(lines) > 3 {
			t.Errorf("a message of %d lines:\n%s", len(lines), d.Message)
		}
	}
}

// TestTheTableIsSane finds rows that cannot match: a typing error in the table of controllers would refuse a controller its work.
func TestTheTableIsSane(t *testing.T) {
	for _, r := range slices.Concat(controllerTable(), nodeTable()) {
		if strings.Trim(r.ops, "CUD") != "" || r.ops == "" || r.must == nil || r.what == "" || strings.HasPrefix(r.what, "/") {
			t.Errorf("row %+v", r)
		}
	}
}

// declareLoosely makes these documents the truth, of kinds that need no schema.
func (w *world) declareLoosely(id string, declared ...string) {
	w.t.Helper()
	w.loose = true
	w.Truth = &snapshot.Truth{Current: w.snapshot(id, testTime.Add(-time.Minute), declared...)}
}

// withCRD makes these documents the truth of a cluster that serves a custom resource.
func (w *world) withCRD(crd string, declared ...string) {
	w.t.Helper()
	types, err := account.NewTypes([]map[string]any{object(w.t, crd)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.types = types
	w.Truth = &snapshot.Truth{Current: w.snapshot("c1", testTime.Add(-time.Minute), declared...)}
}
