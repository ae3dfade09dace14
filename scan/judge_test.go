package scan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/snapshot"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// judge makes a judge of a truth that declares these objects, applied by Flux.
func judge(t testing.TB, spec v1alpha1.GateSpec, declared ...string) *scan.Judge {
	t.Helper()
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	adds := agent.FluxLabels(agent.FluxKustomizeGroup, "flux-system", "shop")
	var entries []*snapshot.Entry
	for _, text := range declared {
		e := new(snapshot.Entry)
		content := parse(t, text)
		e.Key, e.Content, e.Adds = live.KeyOf(content), compact.Of(content), adds
		if e.Account, err = types.Declare(account.Declaration{Content: e.Content, Labels: adds.Labels}); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	gate := admit.New(&v1alpha1.Config{Gate: v1alpha1.Gate{Spec: spec}}, types)
	return &scan.Judge{Gate: gate, Truth: snapshot.New(snapshot.Parts{Types: types}, entries), Now: now}
}

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {color: red}
`

const liveSettings = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  namespace: shop
  uid: 0b7c6f0e-1111-4222-8333-444455556666
  resourceVersion: "7"
  creationTimestamp: "2026-11-21T08:00:00Z"
  labels: {kustomize.toolkit.fluxcd.io/name: shop, kustomize.toolkit.fluxcd.io/namespace: flux-system}
  managedFields:
  - {manager: kustomize-controller, operation: Apply, time: "2026-11-21T08:00:00Z"}
  - {manager: kubectl-edit, operation: Update, time: "2026-11-21T09:00:00Z"}
  - {manager: kubelet, operation: Update, subresource: status, time: "2026-11-21T10:00:00Z"}
data: {color: red}
`

const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

// Each object is in exactly one state; what anybody can write into an object explains nothing that gives rights.
func TestObject(t *testing.T) {
	tomorrow, yesterday := metav1.NewTime(now.Add(24*time.Hour)), metav1.NewTime(now.Add(-24*time.Hour))
	exempt := v1alpha1.GateSpec{Exemptions: []v1alpha1.Exemption{
		{Name: "caches", Namespaces: []string{"cache-*"}, Kinds: []string{"ConfigMap"}, Users: []string{"cacher"}, Expires: &tomorrow, Reason: "r"},
		{Name: "over", Namespaces: []string{"old"}, Users: []string{"cacher"}, Expires: &yesterday, Reason: "r"},
		{Name: "robot", Users: []string{"robot"}, Reason: "r"},
		{Name: "color", Kinds: []string{"ConfigMap"}, Names: []string{"settings"}, Fields: []string{"data[hue]"}, Reason: "r"},
	}}
	replace := func(text, old, with string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("the test's own object does not hold %q", old)
		}
		return strings.Replace(text, old, with, 1)
	}
	for name, c := range map[string]struct {
		spec   v1alpha1.GateSpec
		object string
		state  scan.State
		fields []string
		owned  bool
	}{
		"as Git declares it":                      {object: liveSettings, state: scan.InGit},
		"with another value":                      {object: replace(liveSettings, "color: red", "color: blue"), state: scan.Drifted, fields: []string{"data[color]"}},
		"with a value more":                       {object: replace(liveSettings, "color: red", "color: red, hue: x"), state: scan.Drifted, fields: []string{"data[hue]"}},
		"with an exempt value more":               {spec: exempt, object: replace(liveSettings, "color: red", "color: red, hue: x"), state: scan.InGit},
		"without a declared value":                {object: replace(liveSettings, "data: {color: red}", ""), state: scan.Drifted, fields: []string{"data[color]"}},
		"without a label that the agent will add": {object: replace(liveSettings, "kustomize.toolkit.fluxcd.io/name: shop, ", ""), state: scan.InGit},
		"with the label of another owner":         {object: replace(liveSettings, "io/name: shop", "io/name: other"), state: scan.Conflict, fields: []string{"metadata.labels[kustomize.toolkit.fluxcd.io/name]"}},
		"not declared":                            {object: replace(liveSettings, "name: settings", "name: notes"), state: scan.Untraced},
		"not declared, in the scope Declared":     {spec: v1alpha1.GateSpec{Scope: v1alpha1.ScopeDeclared}, object: replace(liveSettings, "name: settings", "name: notes"), state: scan.Unguarded},
		"exempt by name and namespace":            {spec: exempt, object: replace(liveSettings, "namespace: shop", "namespace: cache-1"), state: scan.Exempt},
		"exempt until yesterday":                  {spec: exempt, object: replace(liveSettings, "namespace: shop", "namespace: old"), state: scan.Untraced},
		"the cluster's authority":                 {object: "{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt, namespace: shop}}", state: scan.System},
		"a claim of a declared set":               {object: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data-db-0, namespace: shop}}", state: scan.Derived},
		"a claim like that of a declared set":     {object: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data-db-x, namespace: shop}}", state: scan.Untraced},
		"a pod that says whose it is": {
			object: "{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: shop, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: db, uid: u, controller: true}]}}",
			state:  scan.Untraced, owned: true,
		},
		"a default role": {
			object: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: 'system:node', labels: {kubernetes.io/bootstrapping: rbac-defaults}}}",
			state:  scan.System,
		},
		"a role that only says it is a default": {
			object: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: backdoor, labels: {kubernetes.io/bootstrapping: rbac-defaults}}}",
			state:  scan.Untraced,
		},
		"a binding of somebody that says it is a default": {
			object: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: 'system:node', labels: {kubernetes.io/bootstrapping: rbac-defaults}}, subjects: [{kind: User, name: mallory}]}",
			state:  scan.Untraced,
		},
		"a release that Helm keeps of nothing in Git": {
			object: "{apiVersion: v1, kind: Secret, type: helm.sh/release.v1, metadata: {name: sh.helm.release.v1.x.v1, namespace: shop, labels: {owner: helm, name: x}}}",
			state:  scan.Untraced,
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := judge(t, c.spec, settings, set)
			f, owner := j.Object(parse(t, c.object))
			if f.State != c.state || !slices.Equal(f.Fields, c.fields) || (owner != nil) != c.owned {
				t.Errorf("it is %s (%s) %q, owner %v", f.State, f.Why, f.Fields, owner)
			}
			if f.State.Finding() && f.Why == "" {
				t.Error("no reason is given")
			}
			if c.state == scan.Drifted && (f.Manager != "kubectl-edit" || f.Time.Hour() != 9) {
				t.Errorf("last written by %s at %s", f.Manager, f.Time)
			}
		})
	}
}

// A declared autoscaler sets the replicas that Git leaves out, and no others.
func TestAutoscaledReplicas(t *testing.T) {
	deployment := func(replicas string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart, namespace: shop}\nspec:\n" + replicas +
			"  selector: {matchLabels: {app: cart}}\n  template: {metadata: {labels: {app: cart}}, spec: {containers: [{name: cart, image: cart}]}}\n"
	}
	scaler := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: cart, namespace: shop}\n" +
		"spec: {maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: cart}}\n"
	running := strings.Replace(deployment("  replicas: 5\n"), "name: cart,", "name: cart, labels: {kustomize.toolkit.fluxcd.io/name: shop, kustomize.toolkit.fluxcd.io/namespace: flux-system},", 1)
	for name, c := range map[string]struct {
		declared []string
		state    scan.State
	}{
		"Git leaves them out": {[]string{deployment(""), scaler}, scan.InGit},
		"Git sets them":       {[]string{deployment("  replicas: 2\n"), scaler}, scan.Drifted},
		"Git leaves them out and declares no autoscaler": {[]string{deployment("")}, scan.Drifted},
	} {
		t.Run(name, func(t *testing.T) {
			if f, _ := judge(t, v1alpha1.GateSpec{}, c.declared...).Object(parse(t, running)); f.State != c.state {
				t.Errorf("it is %s: %s", f.State, f.Why)
			}
		})
	}
}

// What a Secret holds is named, never shown.
func TestDifferencesOfSecrets(t *testing.T) {
	secret := "{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: key, namespace: shop}, data: {token: c2VjcmV0, other: eA==}}"
	j := judge(t, v1alpha1.GateSpec{}, secret)
	object := parse(t, strings.Replace(secret, "c2VjcmV0", "b3RoZXI=", 1))
	f, _ := j.Object(object)
	var named bool
	for _, d := range j.Differences(f.Entry, object) {
		if d.Path == "data[token]" {
			named = d.Secret && d.Git == nil && d.Live == nil
		}
	}
	if !named {
		t.Errorf("differences are %+v", j.Differences(f.Entry, object))
	}
}

// BenchmarkObject is what one live object costs a scan, besides the listing.
func BenchmarkObject(b *testing.B) {
	j := judge(b, v1alpha1.GateSpec{}, settings, set)
	for name, text := range map[string]string{
		"declared": liveSettings, "undeclared": strings.Replace(liveSettings, "name: settings", "name: notes", 1),
	} {
		object := parse(b, text)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				j.Object(object)
			}
		})
	}
}
