package agents

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// TestArgoCDItself has Argo CD's own application-controller and repo-server live a life behind the gate: an app of apps, client-side and
// server-side apply, hooks, replacement, the namespaces that it makes, drift, new commits, pruning, the end of an Application.
func TestArgoCDItself(t *testing.T) {
	a := startArgoCD(t)
	check(t, a.processes["argocd-application-controller"].Kill())
	for _, args := range [][]string{
		{"set", "image", "deployment/cart", "cart=registry.example/cart:mine", "--namespace=shop"},
		{"annotate", "service/cart", "argocd.argoproj.io/tracking-id-", "--namespace=shop"},
		{"delete", "poddisruptionbudget/cart", "--namespace=shop"},
		{"patch", "role/reader", "--namespace=shop", "--type=json", `--patch=[{"op":"add","path":"/rules/0/verbs/-","value":"delete"}]`},
		{"patch", "configmap/settings", "--namespace=billing", `--patch={"data":{"colour":"red"}}`},
		{"label", "namespace/billing", "team=ours", "--overwrite"},
		{"patch", "configmap/rates", "--namespace=shop", `--patch={"data":{"vat":"7"}}`},
	} {
		_, err := a.Cluster.Kubectl(t.Context(), a.AdminConfig, "", args...)
		check(t, err)
	}
	a.guard(`  agents:
  - {name: argocd, preset: ArgoCD, users: ["system:serviceaccount:argocd:argocd-application-controller"]}
  roots:
  - {repository: infra, path: cluster, agent: argocd}
`)
	a.controller()
	a.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}", "registry.example/cart:7")
	a.becomes("shop", "poddisruptionbudget/cart", "{.spec.maxUnavailable}", "1")
	a.becomes("shop", "role/reader", "{.rules[0].verbs}", `["get"]`)
	a.becomes("shop", "configmap/rates", "{.data.vat}", "19")
	a.becomes("billing", "configmap/settings", "{.data.colour}", "blue")
	a.becomes("", "namespace/billing", "{.metadata.labels.team}", "billing")
	a.applied("what had drifted is put right")

	a.commit("another image, rate and colour", map[string]func(string) string{
		"argo-shop/cart.yaml":       func(s string) string { return replace("cart:7", "cart:8")(replace(`vat: "19"`, `vat: "16"`)(s)) },
		"argo-billing/billing.yaml": replace("blue", "green"),
	})
	a.applied("a commit")
	a.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}", "registry.example/cart:8")
	a.becomes("billing", "configmap/settings", "{.data.colour}", "green")

	a.commit("no budget", map[string]func(string) string{"argo-shop/cart.yaml": func(s string) string { return s[:strings.Index(s, "---\napiVersion: policy/v1")] }})
	a.applied("what Git no longer declares is pruned")
	a.becomes("shop", "poddisruptionbudgets", "{.items[*].metadata.name}", "")
	a.becomes("shop", "configmaps", "{.items[?(@.metadata.name=='rates')].metadata.name}", "")

	a.commit("no billing", map[string]func(string) string{"cluster/billing.yaml": func(string) string { return "# none\n" }})
	a.becomes("billing", "statefulsets", "{.items[*].metadata.name}", "")
	a.becomes("argocd", "applications", "{.items[?(@.metadata.name=='billing')].metadata.name}", "")
	a.applied("an Application ends, and takes with it what it made")

	for what, args := range map[string][]string{
		"a person's change":             {"set", "image", "deployment/cart", "cart=registry.example/miner", "--namespace=shop"},
		"a source turned to another":    {"patch", "application/shop", "--namespace=argocd", "--type=merge", `--patch={"spec":{"source":{"path":"elsewhere"}}}`},
		"a sync of something else":      {"patch", "application/shop", "--namespace=argocd", "--type=merge", `--patch={"operation":{"sync":{"revision":"main","manifests":["{}"]}}}`},
		"an Application that Git lacks": {"create", "--filename=" + filepath.Join("testdata", "argocd", "cluster", "shop.yaml")},
	} {
		if _, err := a.Cluster.Kubectl(t.Context(), a.CarolConfig, "", args...); err == nil || !strings.Contains(err.Error(), lab.WebhookName) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// argoCD is a stage whose agent is Argo CD itself.
type argoCD struct {
	*stage
	redis, repositories string // addresses
}

func startArgoCD(t *testing.T) *argoCD {
	t.Helper()
	crds, err := filepath.Glob(filepath.Join(bin(t, "argocd"), "*.yaml"))
	check(t, err)
	parts := []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: argocd}\n"}
	for _, crd := range crds {
		text, err := os.ReadFile(crd)
		check(t, err)
		parts = append(parts, strings.TrimPrefix(string(text), "---\n"))
	}
	a := &argoCD{start(t, "argocd", []string{"argocd-application-controller", "argocd-repo-server", "argocd-redis"}, map[string]string{"crds.yaml": strings.Join(parts, "---\n")}), freeAddress(t), freeAddress(t)}
	a.bootstrap("kubectl", "crds.yaml", "install.yaml", "cluster/root.yaml")
	a.run("argocd-redis", "", "", nil, []string{a.redis})
	_, port, err := net.SplitHostPort(a.repositories)
	check(t, err)
	a.run("argocd-repo-server", "argocd", "argocd-application-controller", []string{"ARGOCD_GPG_ENABLED=false"}, []string{
		"--address=127.0.0.1", "--port=" + port, "--metrics-port=" + freePort(t), "--redis=" + a.redis, "--disable-tls", "--revision-cache-expiration=2s",
	})
	a.controller()
	a.applied("")
	return a
}

func (a *argoCD) controller() {
	a.t.Helper()
	// With the second variable the destination kubernetes.default.svc is the cluster of the kubeconfig.
	a.run("argocd-application-controller", "argocd", "argocd-application-controller", []string{"ARGOCD_APPLICATION_CONTROLLER_NAME=argocd-application-controller", "ARGOCD_FAKE_IN_CLUSTER=true"}, []string{
		"--repo-server=" + a.repositories, "--repo-server-plaintext", "--redis=" + a.redis, "--namespace=argocd", "--metrics-port=" + freePort(a.t),
		"--kubeconfig=" + a.kubeconfigs["argocd-repo-server"], "--app-resync=5", "--app-resync-jitter=0", "--self-heal-timeout-seconds=1", "--loglevel=warn",
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(freeAddress(t))
	check(t, err)
	return port
}

// applied waits until every Application has synced what the branch says, and then asks the gate whether it refused anything on the way.
func (a *argoCD) applied(what string) {
	a.t.Helper()
	head, err := a.Repository.Head(a.t.Context())
	check(a.t, err)
	a.eventually(what, func() error {
		const state = `{range .items[*]}{.metadata.name} {.status.sync.status} {.status.sync.revision} {.status.operationState.phase} {.status.conditions[*].message}{"\n"}{end}`
		out := a.get("argocd", "applications.argoproj.io", state)
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			if field := strings.Fields(line); len(field) < 4 || field[1] != "Synced" || field[2] != string(head) || field[3] != "Succeeded" {
				return fmt.Errorf("not all have synced %s:\n%s", head.Short(), out)
			}
		}
		if strings.Count(out, "\n") < 2 {
			return fmt.Errorf("the apps of the app are not there yet:\n%s", out)
		}
		return nil
	})
	a.expectNoRefusals(what)
}
