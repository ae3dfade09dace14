package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// hosts refuses an Ingress that takes the host of another one.
const hosts = `package commitgate.hosts

deny contains msg if {
	input.object.kind == "Ingress"
	some namespace, name
	other := data.inventory.namespace[namespace]["networking.k8s.io/v1"].Ingress[name]
	[namespace, name] != [input.request.namespace, input.request.name]
	some a in input.object.spec.rules
	some b in other.spec.rules
	a.host == b.host
	msg := sprintf("%s is taken by %s/%s", [a.host, namespace, name])
}
`

var ingressKind = Kind{"networking.k8s.io", "v1", "Ingress"}

func ingress(namespace, name, host string) map[string]any {
	return map[string]any{
		"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
		"metadata": map[string]any{
			"namespace": namespace, "name": name,
			"managedFields": []any{map[string]any{"manager": "x", "fieldsV1": map[string]any{"f:spec": map[string]any{}}}},
		},
		"spec": map[string]any{"rules": []any{map[string]any{"host": host, "http": map[string]any{"paths": []any{
			map[string]any{"path": "/", "pathType": "Prefix", "backend": map[string]any{
				"service": map[string]any{"name": "web", "port": map[string]any{"number": int64(80)}},
			}},
		}}}}},
	}
}

func hostRequest(t testing.TB, inv *Inventory) Input {
	in := create(t, "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: web, namespace: shop}, spec: {rules: [{host: a.example.com}]}}")
	in.Inventory = inv
	return in
}

// The inventory is complete or it is not there: a rule that compares objects is never asked about half of them.
func TestInventory(t *testing.T) {
	s := mustLoad(t, tree("hosts.rego", hosts))
	if len(s.Inventory()) != 1 || s.Inventory()[0] != ingressKind {
		t.Fatalf("wants %v", s.Inventory())
	}
	inv := NewInventory(0)
	expect := func(when, want string) {
		t.Helper()
		r := mustDecide(t, s, hostRequest(t, inv))
		if messages(r.Denials) != want || r.Allowed() != (want == "") {
			t.Errorf("%s: %q, want %q", when, messages(r.Denials), want)
		}
		if !r.Referential {
			t.Errorf("%s: the verdict depends on the cluster, and does not say so", when)
		}
	}
	const waiting = "no answer: the inventory of Ingress.networking.k8s.io/v1 is not there yet"
	expect("before the kind is there", waiting)
	if err := inv.Put(ingress("pay", "web", "a.example.com")); err != nil {
		t.Fatal(err)
	}
	expect("while it is coming", waiting)
	if err := inv.Replace(ingressKind, []map[string]any{ingress("pay", "web", "a.example.com"), ingress("shop", "web", "a.example.com")}); err != nil {
		t.Fatal(err)
	}
	expect("when it is there", "a.example.com is taken by pay/web")
	if err := inv.Put(ingress("pay", "web", "b.example.com")); err != nil {
		t.Fatal(err)
	}
	expect("after a change", "")
	if err := inv.Put(ingress("pay", "web", "a.example.com")); err != nil {
		t.Fatal(err)
	}
	if err := inv.Delete(ingress("pay", "web", "")); err != nil {
		t.Fatal(err)
	}
	expect("after a deletion", "")
	if n, _ := inv.Size(); n != 1 {
		t.Errorf("%d objects", n)
	}
	inv.Drop(ingressKind)
	expect("when it is no longer watched", waiting)
	if n, bytes := inv.Size(); n != 0 || bytes != 0 {
		t.Errorf("%d objects, %d bytes are left", n, bytes)
	}
	if err := inv.Replace(Kind{"", "v1", "Pod"}, []map[string]any{ingress("a", "b", "c")}); err == nil {
		t.Error("an Ingress is a Pod")
	}
}

func TestARequestThatWaitsForTheInventoryIsNotRefusedForGood(t *testing.T) {
	s := mustLoad(t, tree("hosts.rego", hosts))
	if r := mustDecide(t, s, hostRequest(t, NewInventory(0))); !r.Waiting() {
		t.Error("the inventory is not there yet")
	}
	s = mustLoad(t, tree("hosts.rego", hosts, "no.rego", "package commitgate.no\n\ndeny contains \"no\" if input.object\n"))
	if r := mustDecide(t, s, hostRequest(t, NewInventory(0))); r.Waiting() {
		t.Error("another rule denied: waiting changes nothing")
	}
	if (Result{}).Waiting() {
		t.Error("the zero value waits")
	}
}

// A flood of objects takes no more memory than the bound, and what it kept away is not mistaken for what is not there.
func TestAFullInventoryDenies(t *testing.T) {
	s := mustLoad(t, tree("hosts.rego", hosts))
	inv := NewInventory(64 << 10)
	var many []map[string]any
	for i := range 1000 {
		many = append(many, ingress("flood", fmt.Sprint("i", i), fmt.Sprintf("%d.example.com", i)))
	}
	if err := inv.Replace(ingressKind, many); !errors.Is(err, ErrInventoryFull) {
		t.Fatalf("got %v", err)
	}
	if _, bytes := inv.Size(); bytes > 64<<10 {
		t.Errorf("%d bytes", bytes)
	}
	r := mustDecide(t, s, hostRequest(t, inv))
	if r.Allowed() || !strings.Contains(messages(r.Denials), "bound of memory") || r.Waiting() {
		t.Errorf("%+v", r)
	}
	if err := inv.Replace(ingressKind, many[:10]); err != nil {
		t.Fatal(err)
	}
	if r := mustDecide(t, s, hostRequest(t, inv)); !r.Allowed() {
		t.Errorf("there is room again: %+v", r)
	}
}

// growth must not be too small: the bound would be exceeded.
func TestTheBoundOfTheInventoryIsOneOfMemory(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	inv := NewInventory(0)
	before := heap()
	for i := range 600 {
		if err := inv.Put(ingress(fmt.Sprint("ns", i%20), fmt.Sprint("i", i), fmt.Sprintf("host-%d.example.com", i))); err != nil {
			t.Fatal(err)
		}
		if err := inv.Put(object(t, strings.Replace(deployment(2), "name: cart\n", fmt.Sprintf("name: cart-%d\n", i), 1))); err != nil {
			t.Fatal(err)
		}
	}
	inv.current()
	used := heap() - before
	n, counted := inv.Size()
	t.Logf("%d objects: %d bytes of JSON, %d counted, %d used: %.1f times the JSON", n, counted/growth, counted, used, float64(used)*growth/float64(counted))
	if float64(used) > 1.1*float64(counted) {
		t.Errorf("%d bytes are used, and only %d counted", used, counted)
	}
	if float64(used) < 0.4*float64(counted) {
		t.Errorf("only %d bytes are used, and %d counted: the bound would waste memory", used, counted)
	}
	runtime.KeepAlive(inv)
}

// Which rules need the Namespace is found by what they read: without it they would see no labels and deny nothing.
func TestRulesThatLookAtTheNamespaceNeedIt(t *testing.T) {
	namespaces := Kind{"", "v1", "Namespace"}
	for name, files := range map[string][]string{
		"our own rule": {"a.rego", "package commitgate.a\n\ndeny contains \"no\" if input.namespaceObject.metadata.labels.frozen == \"yes\"\n"},
		"a template": {"t.yaml", gatekeeperTemplate(`violation[{"msg": "no"}] { input.review.namespaceObject.metadata.labels.frozen == "yes" }`),
			"c.yaml", "{apiVersion: constraints.gatekeeper.sh/v1beta1, kind: T, metadata: {name: c}}"},
		"a selector": {"t.yaml", gatekeeperTemplate(`violation[{"msg": "no"}] { true }`),
			"c.yaml", "{apiVersion: constraints.gatekeeper.sh/v1beta1, kind: T, metadata: {name: c}, spec: {match: {namespaceSelector: {matchLabels: {frozen: \"yes\"}}}}}"},
		"a template in CEL": {"t.yaml", celTemplate("{validations: [{expression: \"!has(namespaceObject.metadata.labels) || !('frozen' in namespaceObject.metadata.labels)\", message: no}]}"),
			"c.yaml", constraintWith("")},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustLoad(t, tree(files...))
			if len(s.Inventory()) != 1 || s.Inventory()[0] != namespaces {
				t.Fatalf("wants %v", s.Inventory())
			}
			inv := NewInventory(0)
			decide := func() Result {
				in := create(t, pod)
				in.Inventory = inv
				return mustDecide(t, s, in)
			}
			if r := decide(); r.Allowed() || !r.Waiting() {
				t.Errorf("without namespaces: %+v", r)
			}
			if err := inv.Replace(namespaces, nil); err != nil {
				t.Fatal(err)
			}
			if r := decide(); r.Allowed() || !r.Waiting() {
				t.Errorf("with all but this namespace, which the watch will show in a moment: %+v", r)
			}
			for labels, want := range map[string]string{"{frozen: \"yes\"}": "no", "{}": ""} {
				ns := object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: "+labels+"}}")
				if err := inv.Put(ns); err != nil {
					t.Fatal(err)
				}
				if r := decide(); messages(r.Denials) != want {
					t.Errorf("labels %s: %+v", labels, r)
				}
			}
		})
	}
}

func gatekeeperTemplate(rule string) string {
	return `
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {name: t}
spec:
  crd: {spec: {names: {kind: T}}}
  targets:
  - target: admission.k8s.gatekeeper.sh
    rego: |
      package t
      ` + rule + "\n"
}

func BenchmarkInventory(b *testing.B) {
	s := mustLoad(b, tree("hosts.rego", hosts))
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("one change among %d objects, and a decision", n), func(b *testing.B) {
			inv := NewInventory(0)
			var all []map[string]any
			for i := range n {
				all = append(all, ingress(fmt.Sprint("ns", i%100), fmt.Sprint("i", i), fmt.Sprintf("%d.example.com", i)))
			}
			if err := inv.Replace(ingressKind, all); err != nil {
				b.Fatal(err)
			}
			in := hostRequest(b, inv)
			b.ReportAllocs()
			for b.Loop() {
				if err := inv.Put(all[0]); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Decide(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One writer and many decisions at once, in Rego and in CEL: each decision sees one consistent state. Meant for the race detector.
func TestManyDecideWhileTheInventoryChanges(t *testing.T) {
	s := mustLoad(t, tree("hosts.rego", hosts, "c.yaml", constraintWith(""), "t.yaml",
		celTemplate("{validations: [{expression: 'object.kind == \"Ingress\" || object == null'}]}")))
	inv := NewInventory(0)
	if err := inv.Replace(ingressKind, nil); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			in := hostRequest(t, inv)
			for range 50 {
				r, err := s.Decide(context.Background(), in)
				if err != nil || len(r.Denials) > 0 && messages(r.Denials) != "a.example.com is taken by pay/web" {
					t.Errorf("%+v, %v", r, err)
					return
				}
			}
		})
	}
	for range 200 {
		if err := inv.Put(ingress("pay", "web", "a.example.com")); err != nil {
			t.Fatal(err)
		}
		if err := inv.Delete(ingress("pay", "web", "")); err != nil {
			t.Fatal(err)
		}
	}
	group.Wait()
}
