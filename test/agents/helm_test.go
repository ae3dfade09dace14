package agents

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// teamHelm is whom helm-controller impersonates for one HelmRelease.
const teamHelm = "system:serviceaccount:team:team-reconciler"

// TestFluxsHelmReleases has Flux's own helm-controller live a life behind the gate: what people had drifted before there was a gate, hooks and tests, new
// values and charts, definitions, an upgrade that fails and is rolled back, releases that are renamed, suspended, forced and uninstalled.
func TestFluxsHelmReleases(t *testing.T) {
	packed := serveChart(t)
	f := startFlux(t, "helm", "source-controller", "kustomize-controller", "helm-controller")
	f.released("", "cart", "plain", "team")
	f.driftReleases()
	f.guard(`  window: 1h
  charts: ` + packed.folder(t) + `
  agents:
  - {name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller", "system:serviceaccount:flux-system:helm-controller"], impersonates: ["` + teamHelm + `"]}
  roots:
  - {repository: infra, path: clusters/main, agent: flux}
`)
	f.start("helm-controller") // finds the drift, and puts it right
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image} {.spec.replicas}", "registry.example/cart:7 0")
	f.becomes("shop", "poddisruptionbudget/cart", "{.spec.maxUnavailable}", "1")
	f.released("what had drifted is put right")

	f.commit("another image and greeting", map[string]func(string) string{
		"releases/cart.yaml":     replace("cart:7", "cart:8"),
		"platform/platform.yaml": replace("Welcome", "Good day"),
		"releases/others.yaml": func(s string) string {
			return strings.NewReplacer("size: small", "size: large", "size: medium", "size: huge").Replace(s)
		},
	})
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}", "registry.example/cart:8")
	f.becomes("shop", "configmap/cart-hooked", "{.data.greeting}", "Good day")
	f.becomes("plains", "configmap/plain", "{.data.size}", "large")
	f.becomes("team", "configmap/plain", "{.data.size}", "huge")
	f.released("new values: an upgrade, hooks, tests; by force, and by impersonation")

	f.commit("another chart", map[string]func(string) string{
		"charts/cart/Chart.yaml":          replace("version: 1.0.0", "version: 1.1.0"),
		"charts/cart/crds/till.yaml":      replace("currency: {type: string}", "currency: {type: string}\n              depth: {type: integer}"),
		"charts/cart/templates/cart.yaml": replace("port: 80", "port: 8080"),
	})
	f.becomes("shop", "service/cart", "{.spec.ports[0].port}", "8080")
	f.becomes("", "customresourcedefinition/tills.shop.test", "{.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.depth.type}", "integer")
	f.released("a new version of a chart, with its definitions")

	f.commit("a chart from elsewhere", map[string]func(string) string{
		"charts.lock":        func(string) string { return packed.lock() },
		"releases/till.yaml": func(string) string { return packed.release() },
	})
	f.becomes("shop", "configmap/till", "{.data.drawers}", "3")
	f.released("a chart that is not in Git, whose digest is", "till")

	f.commit("an upgrade that fails", map[string]func(string) string{"releases/cart.yaml": func(s string) string {
		return strings.NewReplacer("cart:8", "cart:9", "region: ${region}", "region: ${region}\n    fails: true").Replace(s)
	}})
	f.becomes("shop", "helmrelease/cart", `{.status.conditions[?(@.type=="Remediated")].reason} {.status.conditions[?(@.type=="Stalled")].status}`, "RollbackSucceeded True")
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}", "registry.example/cart:8")
	f.becomes("shop", "configmap/cart-extra", "{.metadata.name}", "")
	f.expectNoRefusals("an upgrade that fails, and is rolled back")
	f.commit("an upgrade that does not", map[string]func(string) string{"releases/cart.yaml": replace("    fails: true\n", "")})
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}", "registry.example/cart:9")
	f.released("what was rolled back goes on")

	f.commit("a rest", map[string]func(string) string{"releases/cart.yaml": func(s string) string {
		return strings.NewReplacer("cart:9", "cart:10", "  commonMetadata:", "  suspend: true\n  commonMetadata:").Replace(s)
	}})
	f.applied("a release that is suspended")
	if image := f.get("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}"); image != "registry.example/cart:9" {
		t.Errorf("a release that is suspended changed: %s", image)
	}
	f.commit("no rest", map[string]func(string) string{"releases/cart.yaml": replace("  suspend: true\n", "")})
	f.becomes("shop", "deployment/cart", "{.spec.template.spec.containers[0].image}", "registry.example/cart:10")
	f.released("and goes on")

	f.commit("other names and places", map[string]func(string) string{
		"releases/others.yaml": func(s string) string {
			return strings.NewReplacer("releaseName: ours", "releaseName: theirs", "storageNamespace: records\n", "storageNamespace: shop\n").Replace(s)
		},
		"charts/cart/Chart.yaml": replace("name: cart\nversion: 1.1.0", "name: trolley\nversion: 1.2.0"),
	})
	f.becomes("team", "configmap/plain", "{.data.release}", "theirs")
	f.becomes("team", "service/ours-plain", "{.metadata.name}", "")
	f.becomes("records", "secrets", "{.items[*].metadata.name}", "")
	f.becomes("shop", "deployment/cart", `{.metadata.labels.helm\.sh/chart}`, "trolley-1.2.0")
	f.released("releases of another name, recorded elsewhere, of another chart: each is uninstalled, and installed again")

	f.commit("no team, nothing plain", map[string]func(string) string{"releases/others.yaml": func(string) string { return "" }})
	for _, namespace := range []string{"team", "plains"} {
		f.becomes(namespace, "configmap/plain", "{.metadata.name}", "")
		f.becomes(namespace, "services", "{.items[*].metadata.name}", "")
	}
	f.becomes("team", "helmreleases.helm.toolkit.fluxcd.io,secrets", "{.items[*].metadata.name}", "")
	f.becomes("shop", "helmrelease/plain", "{.metadata.name}", "")
	f.becomes("flux-system", "helmchart/team-team", "{.metadata.name}", "")
	f.released("releases that are uninstalled")

	f.resist()
	if out, status, err := f.Gate.Run(t.Context(), "audit", "verify", f.Gate.AuditLog()); err != nil || status != 0 {
		t.Errorf("commitgate audit verify: %v, exit status %d\n%s", err, status, out)
	}
}

// driftReleases is what people did to what Flux had released while there was no gate, and Flux did not look.
func (f *flux) driftReleases() {
	f.t.Helper()
	check(f.t, f.processes["helm-controller"].Kill())
	for _, args := range [][]string{
		{"set", "image", "deployment/cart", "cart=registry.example/cart:mine", "--namespace=shop"},
		{"scale", "deployment/cart", "--replicas=1", "--namespace=shop"},
		{"label", "service/cart", "mine=yes", "--namespace=shop"},
		{"patch", "configmap/cart-banner", "--namespace=shop", "--type=merge", `--patch={"data":{"text":"Go away"}}`},
		{"patch", "tills.shop.test/front", "--namespace=shop", "--type=merge", `--patch={"spec":{"currency":"XXX"}}`},
		{"delete", "poddisruptionbudget/cart", "--namespace=shop"},
	} {
		_, err := f.Cluster.Kubectl(f.t.Context(), f.AdminConfig, "", args...)
		check(f.t, err)
	}
}

// resist has people, and somebody who stole the tokens of helm-controller and of whom it impersonates, try what Git does not say.
func (f *flux) resist() {
	f.t.Helper()
	const person = "--as=carol@shop.example"
	record := func(name, namespace string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","type":"helm.sh/release.v1","metadata":{"name":"sh.helm.release.v1.%s.v99","namespace":%q,"labels":{"owner":"helm","name":%[1]q,"status":"deployed","version":"99"}}}`, name, namespace)
	}
	thief := f.kubeconfigs["helm-controller"]
	for what, attempt := range map[string]struct {
		kubeconfig, stdin string
		args              []string
	}{
		"a person's change":               {f.AdminConfig, "", []string{person, "set", "image", "deployment/cart", "cart=registry.example/miner", "--namespace=shop"}},
		"a person's HelmRelease":          {f.AdminConfig, "", []string{person, "patch", "helmrelease/cart", "--namespace=shop", "--type=merge", `--patch={"spec":{"values":{"image":"registry.example/miner"}}}`}},
		"a person's rest":                 {f.AdminConfig, "", []string{person, "patch", "helmrelease/cart", "--namespace=shop", "--type=merge", `--patch={"spec":{"suspend":true}}`}},
		"a person's chart":                {f.AdminConfig, "", []string{person, "patch", "helmchart/shop-cart", "--namespace=flux-system", "--type=merge", `--patch={"spec":{"chart":"./charts/evil"}}`}},
		"a person's values":               {f.AdminConfig, "", []string{person, "patch", "secret/cart-secret", "--namespace=shop", "--type=merge", `--patch={"stringData":{"token":"mine"}}`}},
		"a person's uninstall":            {f.AdminConfig, "", []string{person, "delete", "secret", "--selector=owner=helm", "--namespace=shop"}},
		"a person's record":               {f.AdminConfig, record("cart", "shop"), []string{person, "create", "--filename=-"}},
		"a stolen token's image":          {thief, "", []string{"set", "image", "deployment/cart", "cart=registry.example/miner", "--namespace=shop"}},
		"a stolen token's object":         {thief, "", []string{"create", "configmap", "mine", "--namespace=shop"}},
		"a stolen token's hook":           {thief, "", []string{"create", "job", "cart-pre-upgrade", "--image=registry.example/miner", "--namespace=shop"}},
		"a stolen token's release":        {thief, record("mine", "shop"), []string{"create", "--filename=-"}},
		"a stolen token's release, moved": {thief, record("cart", "records"), []string{"create", "--filename=-"}},
		"a stolen token's chart":          {thief, "", []string{"patch", "helmchart/shop-cart", "--namespace=flux-system", "--type=merge", `--patch={"spec":{"chart":"./charts/plain"}}`}},
		"a stolen token's HelmRelease":    {thief, "", []string{"patch", "helmrelease/cart", "--namespace=shop", "--type=merge", `--patch={"spec":{"values":{"image":"registry.example/miner"}}}`}},
		"a stolen token, impersonating":   {thief, "", []string{"--as=" + teamHelm, "create", "configmap", "mine", "--namespace=team"}},
	} {
		if _, err := f.Cluster.Kubectl(f.t.Context(), attempt.kubeconfig, attempt.stdin, attempt.args...); err == nil || !strings.Contains(err.Error(), lab.WebhookName) {
			f.t.Errorf("%s: %v", what, err)
		}
	}
}

// released waits until every HelmRelease is ready, those of these names among them, and then asks the gate whether it refused anything on the way.
func (f *flux) released(what string, names ...string) {
	f.t.Helper()
	f.applied(what)
	f.eventually(what, func() error {
		const ready = `{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.metadata.generation} {.status.conditions[?(@.type=="Ready")].observedGeneration} {.status.observedGeneration} {.status.conditions[?(@.type=="Ready")].message}{"\n"}{end}`
		out, err := f.Cluster.Kubectl(f.t.Context(), f.AdminConfig, "", "get", "helmreleases.helm.toolkit.fluxcd.io", "--all-namespaces", "--output=jsonpath="+ready)
		check(f.t, err)
		found := map[string]bool{}
		for line := range strings.Lines(out) {
			field := strings.Fields(line)
			if len(field) < 5 || field[1] != "True" || field[2] != field[3] || field[2] != field[4] {
				return fmt.Errorf("not all are released:\n%s", out)
			}
			found[field[0]] = true
		}
		for _, name := range names {
			if !found[name] {
				return fmt.Errorf("there is no HelmRelease %s:\n%s", name, out)
			}
		}
		return nil
	})
	f.expectNoRefusals(what)
}
