package agents

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

const team = "system:serviceaccount:flux-system:team-reconciler" // what Flux impersonates for one Kustomization

// TestFluxItself has Flux's own source-controller and kustomize-controller live a life behind the gate: objects that people had drifted before
// there was a gate, new images, generators, force, pruning, impersonation, the end of a Kustomization. Whatever they ask for is allowed.
func TestFluxItself(t *testing.T) {
	f := startFlux(t, "flux", "source-controller", "kustomize-controller")
	f.drift()
	f.guard(`  agents:
  - {name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"], impersonates: ["` + team + `"]}
  roots:
  - {repository: infra, path: clusters/main, agent: flux}
`)
	f.start("kustomize-controller") // finds the drift, and puts it right
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image} {.spec.minReadySeconds} {.metadata.labels.mine}", "registry.example/cart:7  ")
	f.becomes("shop", "poddisruptionbudget/cart", "{.spec.maxUnavailable}", "1")
	f.becomes("shop", "tills.shop.test/front", "{.spec.currency} {.spec.drawers}", "EUR 2")
	f.becomes("team", "configmap/settings", "{.data.colour} {.data.size} {.metadata.labels.kustomize\\.toolkit\\.fluxcd\\.io/name}", "blue  team")
	f.applied("what had drifted is put right")

	f.commit("another image and greeting", map[string]func(string) string{
		"clusters/main/apps.yaml":         replace(`newTag: "7"`, `newTag: "8"`),
		"apps/shop/kustomization.yaml":    replace("Welcome", "Hello"),
		"platform/platform.yaml":          replace("data: {region: north}", "data: {region: south}"),
		"clusters/main/flux-system/x.txt": replace("", "no manifest"),
	})
	f.applied("a commit")
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}", "registry.example/cart:8")
	f.becomes("shop", "configmaps", "{.items[?(@.metadata.labels.team=='red')].data.text}", "Hello, south")

	uid := f.get("team", "job/import", "{.metadata.uid}")
	f.commit("another import", map[string]func(string) string{"apps/team/job.yaml": replace("import:1", "import:2")})
	f.applied("a Job whose template cannot change, forced")
	f.becomes("team", "job/import", "{.spec.template.spec.containers[0].image}", "registry.example/import:2")
	if f.get("team", "job/import", "{.metadata.uid}") == uid {
		t.Error("the Job is still the first")
	}

	f.commit("no settings, no till", map[string]func(string) string{
		"apps/team/job.yaml":           func(s string) string { return s[:strings.Index(s, "---")] },
		"apps/shop/kustomization.yaml": replace(", till.yaml", ""),
	})
	f.applied("what Git no longer declares is pruned")
	f.becomes("team", "configmaps", "{.items[?(@.metadata.name=='settings')].metadata.name}", "")
	f.becomes("shop", "tills.shop.test", "{.items[*].metadata.name}", "")

	f.commit("no team", map[string]func(string) string{"clusters/main/apps.yaml": func(s string) string { return s[:strings.LastIndex(s, "---")] }})
	f.becomes("team", "jobs", "{.items[*].metadata.name}", "")
	f.becomes("flux-system", "kustomizations.kustomize.toolkit.fluxcd.io", "{.items[?(@.metadata.name=='team')].metadata.name}", "")
	f.applied("a Kustomization ends, and takes with it what it made")

	for what, args := range map[string][]string{
		"a person's change":             {"--as=carol@shop.example", "set", "image", "deployment/cart", "cart=registry.example/miner", "--namespace=shop"},
		"an imitation of the agent":     {"--as=" + team, "create", "configmap", "extra", "--namespace=team"},
		"a Kustomization made by hand":  {"--as=carol@shop.example", "patch", "kustomization/shop", "--namespace=flux-system", "--type=merge", `--patch={"spec":{"path":"./elsewhere"}}`},
		"the source turned to another":  {"--as=carol@shop.example", "patch", "gitrepository/flux-system", "--namespace=flux-system", "--type=merge", `--patch={"spec":{"url":"https://evil.example/x"}}`},
		"a reconciliation, suspended":   {"--as=carol@shop.example", "patch", "kustomization/shop", "--namespace=flux-system", "--type=merge", `--patch={"spec":{"suspend":true}}`},
		"the variables, made by a hand": {"--as=carol@shop.example", "patch", "configmap/site", "--namespace=flux-system", "--type=merge", `--patch={"data":{"region":"mars"}}`},
	} {
		if _, err := f.Cluster.Kubectl(t.Context(), f.AdminConfig, "", args...); err == nil || !strings.Contains(err.Error(), lab.WebhookName) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if out, status, err := f.Gate.Run(t.Context(), "audit", "verify", f.Gate.AuditLog()); err != nil || status != 0 {
		t.Errorf("commitgate audit verify: %v, exit status %d\n%s", err, status, out)
	}
}

// flux is a stage whose agent is Flux itself.
type flux struct {
	*stage
}

// startFlux starts these controllers, on a repository that holds the files of testdata/NAME.
func startFlux(t *testing.T, name string, controllers ...string) *flux {
	t.Helper()
	const system = "clusters/main/flux-system/"
	f := &flux{start(t, name, controllers, map[string]string{system + "gotk-components.yaml": components(t, controllers)})}
	f.bootstrap("flux", system+"gotk-components.yaml", system+"gotk-sync.yaml") // what `flux bootstrap` does
	for _, controller := range controllers {
		var args []string
		if controller == "source-controller" {
			storage := freeAddress(t)
			args = []string{"--storage-path=" + t.TempDir(), "--storage-addr=" + storage, "--storage-adv-addr=" + storage}
		}
		f.start(controller, args...)
	}
	f.applied("")
	return f
}

// components is what a bootstrap generates: the kinds, the controllers' accounts and their rights.
func components(t *testing.T, controllers []string) string {
	t.Helper()
	crds, err := filepath.Glob(filepath.Join(bin(t, "flux"), "*.yaml"))
	check(t, err)
	parts := []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: flux-system}\n"}
	for _, crd := range crds {
		text, err := os.ReadFile(crd)
		check(t, err)
		parts = append(parts, strings.TrimPrefix(string(text), "---\n"))
	}
	for _, name := range controllers {
		parts = append(parts, fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: flux-system}\n", name), fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: flux-system}]
`, name))
	}
	return strings.Join(parts, "---\n")
}

// start runs one of Flux's controllers with its own account.
func (f *flux) start(controller string, args ...string) {
	f.t.Helper()
	f.run(controller, "flux-system", controller, []string{"RUNTIME_NAMESPACE=flux-system"}, append([]string{
		"--metrics-addr=" + freeAddress(f.t), "--health-addr=" + freeAddress(f.t), "--requeue-dependency=1s", "--events-addr=",
	}, args...))
}

// drift is what people did to Flux's objects while there was no gate, and Flux did not look.
func (f *flux) drift() {
	f.t.Helper()
	check(f.t, f.processes["kustomize-controller"].Kill())
	for _, args := range [][]string{
		{"set", "image", "deployment/cart", "cart=registry.example/cart:mine", "--namespace=shop"},
		{"patch", "deployment/cart", "--namespace=shop", `--patch={"spec":{"minReadySeconds":7}}`},
		{"label", "deployment/cart", "mine=yes", "--namespace=shop"},
		{"annotate", "service/cart", "owner=me", "--overwrite", "--namespace=shop"},
		{"delete", "poddisruptionbudget/cart", "--namespace=shop"},
		{"patch", "tills.shop.test/front", "--namespace=shop", "--type=merge", `--patch={"spec":{"currency":"XXX","drawers":9}}`},
		{"label", "configmap/settings", "kustomize.toolkit.fluxcd.io/name-", "--namespace=team"},
	} {
		_, err := f.Cluster.Kubectl(f.t.Context(), f.AdminConfig, "", args...)
		check(f.t, err)
	}
	const applied = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","namespace":"team"},"data":{"colour":"red","size":"XL"}}`
	_, err := f.Cluster.Kubectl(f.t.Context(), f.AdminConfig, applied, "apply", "--filename=-") // leaves its annotation and manager behind
	check(f.t, err)
}

// applied waits until every Kustomization has applied what the branch says, and then asks the gate whether it refused anything on the way.
func (f *flux) applied(what string) {
	f.t.Helper()
	head, err := f.Repository.Head(f.t.Context())
	check(f.t, err)
	f.eventually(what, func() error {
		const ready = `{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.lastAppliedRevision} {.status.conditions[?(@.type=="Ready")].message}{"\n"}{end}`
		out := f.get("flux-system", "kustomizations.kustomize.toolkit.fluxcd.io", ready)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		for _, line := range lines {
			if field := strings.Fields(line); len(field) < 3 || field[1] != "True" || !strings.HasSuffix(field[2], string(head)) {
				return fmt.Errorf("not all have applied %s:\n%s", head.Short(), out)
			}
		}
		return nil
	})
	f.expectNoRefusals(what)
}
