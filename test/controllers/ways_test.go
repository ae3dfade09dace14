package controllers

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/test/cluster"
)

// withPipeline adds an agent that works with kubectl.
const withPipeline = `  - {name: ci, preset: Pipeline, users: [ci]}
`

const setup = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gears.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: gears, singular: gear, kind: Gear, listKind: GearList}
  conversion: {strategy: None}
  versions:
  - name: v1
    served: true
    storage: true
    schema: &schema
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: string, default: small}
              teeth: {type: integer}
              ratio: {x-kubernetes-int-or-string: true}
              axes:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, at: {type: integer, default: 1}}}
              pod: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
              notes: {type: object, x-kubernetes-preserve-unknown-fields: true}
              until: {type: string, nullable: true}
  - name: v2
    served: true
    storage: false
    schema: *schema
`

const gear = `
apiVersion: example.com/v1
kind: Gear
metadata: {name: first, namespace: shop}
spec:
  ratio: 50%
  axes: [{name: a}, {name: b, at: 3}]
  pod: {apiVersion: v1, kind: Pod, metadata: {name: inner}, spec: {anything: [1, two]}}
  notes: {deep: {er: [1.5, true, null]}}
  until: null
`

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "registry.example/web:1", resources: {limits: {cpu: 0.5, memory: 1024Mi}}, ports: [{containerPort: 8080}], env: [{name: A, value: a}, {name: B, value: b}]}
`

const role = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
`

const hook = `
apiVersion: batch/v1
kind: Job
metadata: {generateName: migrate-, namespace: shop}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: migrate, image: "registry.example/migrate:1"}]}
`

// TestTheWaysOfAnAgent has an agent change the cluster in every way that kubectl knows, for what Git says, and for what it does not.
func TestTheWaysOfAnAgent(t *testing.T) {
	g := start(t, cluster.Config{}, withPipeline)
	ci := g.person("ci")
	web2, role2 := strings.NewReplacer("web:1", "web:2", "value: b", "value: c", "replicas: 1", "replicas: 2").Replace(web), strings.Replace(role, "[get, list]", "[get]", 1)
	evil := func(manifest string) string { return strings.Replace(manifest, "registry.example/web", "evil", 1) }
	git := func(documents ...string) {
		t.Helper()
		g.publish(declared{documents: strings.Join(documents, "\n---\n"), agent: "ci", lastApplied: true})
	}
	// ways runs kubectl for what Git does not say, which must be refused by a message that names the field; then for what it says.
	ways := func(what, attack, manifest, field string, args ...string) {
		t.Helper()
		t.Log(what)
		if attack != "" {
			if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, attack, args...); err == nil || !strings.Contains(err.Error(), "denied the request") || !strings.Contains(err.Error(), field) {
				t.Errorf("%s, with what Git does not say: got %v, want a refusal that names %q", what, err, field)
			}
			g.refusals()
		}
		if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, manifest, args...); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		g.expectNoRefusals(what)
	}

	git(setup, gear, web, role)
	ways("client-side apply creates", "", setup, "", "apply", "-f", "-")
	ways("client-side apply creates a workload", evil(web), web, "containers[name=web].image", "apply", "-f", "-")
	ways("server-side dry-run", evil(web), web, "containers[name=web].image", "apply", "--dry-run=server", "-f", "-")
	g.eventually("the custom resource is served", func() error {
		_, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, "", "get", "gears.v2.example.com", "-n", "shop")
		return err
	})
	ways("a custom resource", strings.Replace(gear, "deep: {er", "deep: {est", 1), gear, "spec.notes[deep].est", "apply", "-f", "-")
	ways("its embedded object", strings.Replace(gear, "[1, two]", "[1, three]", 1), gear, "spec.pod.spec.anything", "apply", "-f", "-")
	ways("kubectl auth reconcile", strings.Replace(role, "[get, list]", "['*']", 1), role, "rules", "auth", "reconcile", "-f", "-")
	ways("apply after auth reconcile, which kept no last-applied", "", role, "", "apply", "-f", "-")

	other := func(ratio string) (string, error) {
		return g.cluster.Kubectl(t.Context(), ci.kubeconfig, "", "patch", "gears.v2.example.com/first", "-n", "shop", "--type=merge", `--patch={"spec":{"ratio":"`+ratio+`"}}`)
	}
	git(setup, strings.Replace(gear, "50%", "70%", 1), web2, role2)
	if _, err := other("60%"); err == nil || !strings.Contains(err.Error(), "spec.ratio") {
		t.Errorf("another version of a custom resource, with what Git does not say: %v", err)
	}
	g.refusals()
	if _, err := other("70%"); err != nil {
		t.Errorf("another version of a custom resource: %v", err)
	}
	g.expectNoRefusals("another version of a custom resource")
	ways("client-side apply updates", evil(web2), web2, "containers[name=web].image", "apply", "-f", "-")
	ways("auth reconcile takes a verb away", "", role2, "", "auth", "reconcile", "--remove-extra-permissions", "-f", "-")
	ways("server-side apply over client-side, with its csaupgrade", evil(web2), web2, "containers[name=web].image", "apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-")
	ways("replace", evil(web2), web2, "containers[name=web].image", "replace", "-f", "-")

	git(setup, gear, web, role2)
	patch := func(kind, value string) []string {
		return []string{"patch", "deployment/web", "-n", "shop", "--type=" + kind, "--patch=" + value}
	}
	whole := `{"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"web","image":"%s","env":[{"name":"B","value":"b"}]}]}}}}`
	if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, "", patch("strategic", fmt.Sprintf(whole, "evil"))...); err == nil || !strings.Contains(err.Error(), "containers[name=web].image") {
		t.Errorf("a strategic patch to what Git does not say: %v", err)
	}
	g.refusals()
	ways("a strategic patch to what Git says", "", "", "", patch("strategic", fmt.Sprintf(whole, "registry.example/web:1"))...)
	if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, "", patch("json", `[{"op":"remove","path":"/spec/template/spec/containers/0/resources"}]`)...); err == nil || !strings.Contains(err.Error(), "resources") {
		t.Errorf("a JSON patch that takes the limits away: %v", err)
	}
	g.refusals()
	ways("a JSON patch that changes nothing", "", "", "", patch("json", `[{"op":"replace","path":"/spec/replicas","value":1}]`)...)
	ways("a merge patch of managedFields alone", "", "", "", patch("merge", `{"metadata":{"managedFields":[{}]}}`)...)

	if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, web, "replace", "--force", "-f", "-"); err == nil || !strings.Contains(err.Error(), "StillDeclared") {
		t.Errorf("a forced replacement that Git does not say: %v", err)
	}
	g.refusals()
	g.publish(declared{documents: setup, agent: "ci"}, declared{documents: web, agent: "ci", apply: agent.Apply{Recreate: true}}, declared{documents: hook, agent: "ci", apply: agent.Apply{Hook: true, GenerateName: true}})
	ways("a forced replacement that Git says", "", web, "", "replace", "--force", "-f", "-")
	g.startNode()
	ways("a hook whose name the server completes", strings.Replace(hook, "migrate:1", "evil", 1), hook, "containers[name=migrate].image", "create", "-f", "-")
	ci.becomes("jobs={.items[0].status.succeeded}", "1")
	if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, "", "delete", "deployments", "--all", "-n", "shop"); err != nil {
		t.Errorf("a deletion of what may be replaced: %v", err)
	}
	g.expectNoRefusals("a deletecollection")
}

const secret = `
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: default}
stringData: {password: "ENC[AES256_GCM,data:x]", user: shop}
`

// TestAnEncryptedValueIsExplainedByItsShape: whoever decrypts may write any value there, and nothing beside it.
func TestAnEncryptedValueIsExplainedByItsShape(t *testing.T) {
	g := start(t, cluster.Config{}, withPipeline)
	ci := g.person("ci")
	g.publish(declared{documents: secret, agent: "ci", opaque: []string{"stringData[password]"}})
	decrypted := strings.Replace(secret, "ENC[AES256_GCM,data:x]", "hunter2", 1)
	for what, manifest := range map[string]string{
		"a value that Git holds in the clear": strings.Replace(decrypted, "user: shop", "user: eve", 1),
		"a key more":                          strings.Replace(decrypted, "user: shop", "user: shop, more: x", 1),
	} {
		_, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, manifest, "apply", "--server-side", "-f", "-")
		if err == nil || !strings.Contains(err.Error(), "FieldsDiffer") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	g.refusals()
	if _, err := g.cluster.Kubectl(t.Context(), ci.kubeconfig, decrypted, "apply", "--server-side", "-f", "-"); err != nil {
		t.Error(err)
	}
	g.expectNoRefusals("the decrypted value")
}
