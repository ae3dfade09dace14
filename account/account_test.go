package account

import (
	"maps"
	"slices"
	"strings"
	"testing"

	kjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/compact"
)

// flux is what kustomize-controller adds to everything.
var flux = map[string]string{"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}

const cart = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
  namespace: shop
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec:
      containers:
      - name: web
        image: registry.example/cart:1.2.3
        args: ["--listen", ":8080"]
        env:
        - {name: MODE, value: production}
        ports: [{containerPort: 8080}]
        resources: {limits: {cpu: 0.5, memory: 1024Mi}}
        volumeMounts: [{name: tmp, mountPath: /tmp}]
      volumes: [{name: tmp, emptyDir: {}}]
`

const cartLive = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart
  namespace: shop
  uid: 7c9f8a52-1f5e-4f0e-9a57-0e2f5b7f9f11
  creationTimestamp: "2026-11-21T06:20:39Z"
  generation: 1
  labels:
    kustomize.toolkit.fluxcd.io/name: shop
    kustomize.toolkit.fluxcd.io/namespace: flux-system
  managedFields:
  - {manager: kustomize-controller, operation: Apply, apiVersion: apps/v1, fieldsType: FieldsV1, fieldsV1: {}}
spec:
  replicas: 1
  progressDeadlineSeconds: 600
  revisionHistoryLimit: 10
  selector: {matchLabels: {app: cart}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}
  template:
    metadata: {labels: {app: cart}}
    spec:
      containers:
      - name: web
        image: registry.example/cart:1.2.3
        imagePullPolicy: IfNotPresent
        args: ["--listen", ":8080"]
        env:
        - {name: MODE, value: production}
        ports: [{containerPort: 8080, protocol: TCP}]
        resources: {limits: {cpu: 500m, memory: 1Gi}}
        terminationMessagePath: /dev/termination-log
        terminationMessagePolicy: File
        volumeMounts: [{name: tmp, mountPath: /tmp}]
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
      volumes: [{name: tmp, emptyDir: {}}]
status: {}
`

// parse reads a manifest as the gate does: numbers as Kubernetes' own JSON code gives them.
func parse(t testing.TB, manifest string) map[string]any {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := kjson.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func builtinTypes(t testing.TB) *Types {
	t.Helper()
	types, err := NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func declare(t testing.TB, types *Types, d Declaration) *Object {
	t.Helper()
	o, err := types.Declare(d)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// edit changes a manifest's text; it fails where the text is not there, so that no case tests nothing.
func edit(t testing.TB, manifest, old, new string) map[string]any {
	t.Helper()
	if !strings.Contains(manifest, old) {
		t.Fatalf("the manifest does not hold %q", old)
	}
	return parse(t, strings.Replace(manifest, old, new, 1))
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestAttacksOnADeployment(t *testing.T) {
	o := declare(t, builtinTypes(t), Declaration{Content: compact.Of(parse(t, cart)), Labels: flux})
	container := "spec.template.spec.containers[name=web]"
	cases := map[string]struct {
		old, new             string
		unexplained, missing []string
	}{
		"nothing is changed":                     {},
		"the node's network":                     {"      dnsPolicy:", "      hostNetwork: true\n      dnsPolicy:", []string{"spec.template.spec.hostNetwork"}, nil},
		"another image":                          {"image: registry.example/cart:1.2.3", "image: registry.example/cart:1.2.4", []string{container + ".image"}, []string{container + ".image"}},
		"a sidecar":                              {"      dnsPolicy:", "      - {name: miner, image: evil}\n      dnsPolicy:", []string{"spec.template.spec.containers[name=miner].image", "spec.template.spec.containers[name=miner].name"}, nil},
		"a label":                                {"  labels:\n", "  labels:\n    owner: eve\n", []string{"metadata.labels[owner]"}, nil},
		"another application's label":            {"name: shop\n", "name: bank\n", []string{"metadata.labels[kustomize.toolkit.fluxcd.io/name]"}, nil},
		"an owner, for the garbage collector":    {"  managedFields:", "  ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b}]\n  managedFields:", []string{"metadata.ownerReferences[uid=b].apiVersion", "metadata.ownerReferences[uid=b].kind", "metadata.ownerReferences[uid=b].name", "metadata.ownerReferences[uid=b].uid"}, nil},
		"a finalizer":                            {"  managedFields:", "  finalizers: [evil.example/stay]\n  managedFields:", []string{"metadata.finalizers[evil.example/stay]"}, nil},
		"an argument more":                       {`":8080"]`, `":8080", "--debug"]`, []string{container + ".args[2]"}, nil},
		"an argument less":                       {`"--listen", ":8080"]`, `"--listen"]`, nil, []string{container + ".args[1]"}},
		"a second variable of the same name":     {"        - {name: MODE, value: production}\n", "        - {name: MODE, value: production}\n        - {name: MODE, value: debug}\n", []string{container + ".env[name=MODE].name", container + ".env[name=MODE].value"}, nil},
		"a default that is not the default":      {"      dnsPolicy: ClusterFirst", "      dnsPolicy: Default", []string{"spec.template.spec.dnsPolicy"}, nil},
		"more replicas":                          {"  replicas: 1", "  replicas: 50", []string{"spec.replicas"}, nil},
		"a limit lifted":                         {"limits: {cpu: 500m, memory: 1Gi}", "limits: {cpu: 500m}", nil, []string{container + ".resources.limits[memory]"}},
		"the directory of a node for an empty":   {"volumes: [{name: tmp, emptyDir: {}}]", "volumes: [{name: tmp, hostPath: {path: /}}]", []string{"spec.template.spec.volumes[name=tmp].hostPath.path"}, []string{"spec.template.spec.volumes[name=tmp].emptyDir"}},
		"a finalizer with an escape sequence":    {"  managedFields:", "  finalizers: [\"\\e[2Jx\"]\n  managedFields:", []string{`metadata.finalizers["\x1b[2Jx"]`}, nil},
		"somebody's client-side apply":           {"  managedFields:", "  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}\n  managedFields:", []string{"metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]"}, nil},
		"a value of another type":                {"      volumes: [{name: tmp, emptyDir: {}}]", "      volumes: tmp", []string{"spec.template.spec.volumes"}, []string{"spec.template.spec.volumes"}},
		"no spec":                                {"\nspec:\n", "\nother:\n", nil, nil},
		"another kind":                           {"kind: Deployment", "kind: DaemonSet", []string{"kind"}, []string{"kind"}},
		"an unknown group":                       {"apiVersion: apps/v1", "apiVersion: evil/v1", []string{"apiVersion"}, []string{"apiVersion"}},
		"a security context for a container":     {"        terminationMessagePath:", "        securityContext: {privileged: true}\n        terminationMessagePath:", []string{container + ".securityContext.privileged"}, nil},
		"a selector that takes in other's pods":  {"  selector: {matchLabels: {app: cart}}", "  selector: {matchLabels: {app: cart}, matchExpressions: [{key: a, operator: Exists}]}", []string{"spec.selector.matchExpressions[0].key", "spec.selector.matchExpressions[0].operator"}, nil},
		"a service account that Git did not say": {"      restartPolicy:", "      serviceAccountName: admin\n      restartPolicy:", []string{"spec.template.spec.serviceAccountName"}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := o.Explain(Change{Object: edit(t, cartLive, c.old, c.new)})
			if name == "no spec" {
				if len(r.Missing) < 8 || len(r.Unexplained) < 8 {
					t.Errorf("missing %q, unexplained %q", r.Missing, r.Unexplained)
				}
				return
			}
			want(t, "unexplained", r.Unexplained, c.unexplained...)
			want(t, "missing", r.Missing, c.missing...)
		})
	}
}

func TestUpdates(t *testing.T) {
	o := declare(t, builtinTypes(t), Declaration{Content: compact.Of(parse(t, cart)), Labels: flux})
	drifted := strings.NewReplacer("  replicas: 1", "  replicas: 7\n  minReadySeconds: 5", "  labels:\n", "  labels:\n    team: blue\n",
		`args: ["--listen", ":8080"]`, `args: ["--listen", ":9090"]`, "cart:1.2.3", "cart:evil").Replace(cartLive)
	container := "spec.template.spec.containers[name=web]"
	cases := map[string]struct {
		old, object          string
		unexplained, missing []string
	}{
		"restoring what drifted":                                                                {drifted, cartLive, nil, nil},
		"keeping what others own, in a field that Git leaves out":                               {drifted, strings.NewReplacer("cart:evil", "cart:1.2.3", ":9090", ":8080").Replace(drifted), nil, nil},
		"keeping a drifted value that Git declares":                                             {drifted, strings.Replace(drifted, ":9090", ":8080", 1), []string{container + ".image"}, []string{container + ".image"}},
		"keeping a drifted list that Git declares":                                              {drifted, strings.Replace(drifted, "cart:evil", "cart:1.2.3", 1), []string{container + ".args[1]"}, []string{container + ".args[1]"}},
		"a new value in a field that others own":                                                {drifted, strings.NewReplacer("cart:evil", "cart:1.2.3", ":9090", ":8080", "minReadySeconds: 5", "minReadySeconds: 6").Replace(drifted), []string{"spec.minReadySeconds"}, nil},
		"a last-applied annotation that was there before (kubectl apply by a human, then Flux)": {withLastApplied(cartLive), withLastApplied(cartLive), nil, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := o.Explain(Change{Object: parse(t, c.object), Old: parse(t, c.old)})
			want(t, "unexplained", r.Unexplained, c.unexplained...)
			want(t, "missing", r.Missing, c.missing...)
		})
	}
}

func withLastApplied(manifest string) string {
	return strings.Replace(manifest, "  managedFields:", "  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}\n  managedFields:", 1)
}

func TestFieldsNameEveryLeaf(t *testing.T) {
	o := declare(t, builtinTypes(t), Declaration{Content: compact.Of(parse(t, cart)), Labels: flux})
	reasons := map[string]Why{}
	for _, f := range o.Fields(Change{Object: edit(t, cartLive, "      dnsPolicy:", "      hostPID: true\n      dnsPolicy:")}) {
		reasons[f.Path] = f.Why
	}
	for path, why := range map[string]Why{
		"metadata.uid":           Server,
		"metadata.managedFields": Server,
		"metadata.name":          Declared,
		"metadata.labels[kustomize.toolkit.fluxcd.io/name]": Agent,
		"spec.replicas": Default,
		"spec.template.spec.containers[name=web].image":                                           Declared,
		"spec.template.spec.containers[name=web].args[0]":                                         Declared,
		"spec.template.spec.containers[name=web].resources.limits[cpu]":                           Declared,
		"spec.template.spec.containers[name=web].ports[containerPort=8080,protocol=TCP].protocol": Default,
		"spec.template.spec.hostPID":                                                              "",
		"status":                                                                                  Server,
	} {
		if got, ok := reasons[path]; !ok || got != why {
			t.Errorf("%s: got %q (listed: %t), want %q", path, got, ok, why)
		}
	}
	if len(reasons) != 42 {
		t.Errorf("%d leaves: %q", len(reasons), slices.Sorted(maps.Keys(reasons)))
	}
}

func TestOrderHasAMeaning(t *testing.T) {
	const two = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec:
      initContainers:
      - {name: verify, image: verify:1}
      - {name: unpack, image: unpack:1}
      containers:
      - {name: web, image: web:1, env: [{name: HOST, value: a}, {name: URL, value: "http://$(HOST)"}]}
`
	swapped := strings.NewReplacer(
		"      - {name: verify, image: verify:1}\n      - {name: unpack, image: unpack:1}\n", "      - {name: unpack, image: unpack:1}\n      - {name: verify, image: verify:1}\n",
	).Replace(two)
	types := builtinTypes(t)
	o := declare(t, types, Declaration{Content: compact.Of(parse(t, two))})
	live := func(manifest string) map[string]any {
		k := types.builtin.kinds[o.gvk]
		m, err := k.normal(parse(t, manifest), o.gvk, o.gvk, true)
		if err != nil {
			t.Fatal(err)
		}
		delete(m, "status")
		return m
	}
	if r := o.Explain(Change{Object: live(two)}); !r.Faithful() {
		t.Fatalf("as declared: unexplained %q, missing %q", r.Unexplained, r.Missing)
	}
	want(t, "an init container before the one that verifies", o.Explain(Change{Object: live(swapped)}).Unexplained, "spec.template.spec.initContainers[name=verify]")
	want(t, "the order that this cluster's admission makes", o.Explain(Change{Object: live(swapped), Mutated: live(swapped)}).Unexplained)
	want(t, "a person's change of order", types.Differences(live(two), live(swapped)), "spec.template.spec.initContainers[name=verify]")
	variables := strings.Replace(two, `{name: HOST, value: a}, {name: URL, value: "http://$(HOST)"}`, `{name: URL, value: "http://$(HOST)"}, {name: HOST, value: a}`, 1)
	want(t, "a variable before the one that it is made of", o.Explain(Change{Object: live(variables)}).Unexplained, "spec.template.spec.containers[name=web].env[name=HOST]")
}

// A pull secret is added by the admission of service accounts where a pod has none, never to those that Git lists.
func TestAPullSecretMore(t *testing.T) {
	const pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, spec: {containers: [{name: a, image: 'a:1'}]%s}}"
	types := builtinTypes(t)
	live := func(secrets string) map[string]any {
		k := types.builtin.kinds[podKind]
		m, err := k.normal(parse(t, strings.Replace(pod, "%s", secrets, 1)), podKind, podKind, true)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	bare := declare(t, types, Declaration{Content: compact.Of(parse(t, strings.Replace(pod, "%s", "", 1)))})
	want(t, "those of the account", bare.Explain(Change{Object: live(", imagePullSecrets: [{name: registry}]")}).Unexplained)
	listed := declare(t, types, Declaration{Content: compact.Of(parse(t, strings.Replace(pod, "%s", ", imagePullSecrets: [{name: registry}]", 1)))})
	want(t, "one more than Git lists", listed.Explain(Change{Object: live(", imagePullSecrets: [{name: registry}, {name: evil}]")}).Unexplained, "spec.imagePullSecrets[name=evil].name")
}
