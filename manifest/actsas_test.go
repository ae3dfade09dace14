package manifest

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// An account that the configuration does not list is told of when it is pushed, not when its first request is refused.
func TestWhoAnAgentActsAsIsToldOfBeforeItAsks(t *testing.T) {
	const source = `
-- clusters/source.yaml --
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: infra, namespace: flux-system}
spec: {url: "https://git.example.com/org/infra", ref: {branch: main}}
-- apps/cart.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cart, namespace: shop}
`
	const kustomization = source + `
-- clusters/shop.yaml --
# of the shop
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: teams}
spec: {path: apps, sourceRef: {kind: GitRepository, name: infra, namespace: flux-system}, serviceAccountName: deployer}
`
	const release = `
-- clusters/release.yaml --
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web, namespace: teams}
spec: {serviceAccountName: deployer, chart: {spec: {chart: web, sourceRef: {kind: GitRepository, name: infra, namespace: flux-system}}}}
-- web/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
`
	const application = `
-- clusters/app.yaml --
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: argocd}
spec: {project: shop, source: {repoURL: "https://git.example.com/org/infra", path: apps}, destination: {server: "https://kubernetes.default.svc", namespace: shop}}
-- apps/cart.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cart}
`
	const project = application + `
-- clusters/project.yaml --
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: shop, namespace: argocd}
spec:
  destinationServiceAccounts:
  - {server: "https://elsewhere.example", namespace: "*", defaultServiceAccount: other}
  - {server: "*", namespace: "sho?", defaultServiceAccount: deployer}
`
	const setting = `
-- clusters/argocd-cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm, namespace: argocd}
data: {application.sync.impersonation.enabled: "SWITCH"}
`
	const gitRepo = `
-- clusters/gitrepo.yaml --
apiVersion: fleet.cattle.io/v1alpha1
kind: GitRepo
metadata: {name: shop, namespace: fleet-local}
spec: {repo: "https://git.example.com/org/infra", branch: main, paths: [apps, more], serviceAccount: deployer}
-- apps/cart.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: cart, namespace: shop}
-- more/cart.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: more, namespace: shop}
`
	const syncs = `
-- clusters/sync.yaml --
apiVersion: configsync.gke.io/v1beta1
kind: RepoSync
metadata: {name: repo-sync, namespace: shop}
spec: {git: {repo: "https://git.example.com/org/infra", branch: main, dir: apps}}
---
apiVersion: configsync.gke.io/v1beta1
kind: RepoSync
metadata: {name: more, namespace: shop}
spec: {git: {repo: "https://git.example.com/org/infra", branch: main, dir: apps}}
---
apiVersion: configsync.gke.io/v1beta1
kind: RootSync
metadata: {name: root-sync, namespace: config-management-system}
spec: {sourceFormat: unstructured, git: {repo: "https://git.example.com/org/infra", branch: main, dir: base}}
---
apiVersion: configsync.gke.io/v1beta1
kind: RootSync
metadata: {name: base, namespace: config-management-system}
spec: {sourceFormat: unstructured, git: {repo: "https://git.example.com/org/infra", branch: main, dir: base}}
-- apps/README.md --
nothing
-- base/README.md --
nothing
`
	const (
		flux   = `{name: a, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"]`
		argo   = `{name: a, preset: ArgoCD, users: ["system:serviceaccount:argocd:argocd-application-controller"]`
		fleet  = `{name: a, preset: Fleet, users: ["system:serviceaccount:cattle-fleet-local-system:fleet-agent"]`
		config = `{name: a, preset: ConfigSync, users: ["system:serviceaccount:config-management-system:root-reconciler"`
	)
	tests := map[string]struct {
		agent, files string
		want         []string // each a piece of a finding, in their order
	}{
		"Flux: an account of the Kustomization's namespace": {flux + "}", kustomization, []string{
			"infra:clusters/shop.yaml:2: Kustomization.kustomize.toolkit.fluxcd.io teams/shop acts as system:serviceaccount:teams:deployer (spec.serviceAccountName), whom agent a does not list"}},
		"Flux: it is listed": {flux + `, impersonates: ["system:serviceaccount:teams:deployer"]}`, kustomization, nil},
		"Flux: among the users it would have to have a pod": {strings.Replace(flux, "]", `, "system:serviceaccount:teams:deployer"]`, 1) + "}", kustomization, []string{"add the user to impersonates of agent a"}},
		"Flux: the controller's own account":                {flux + "}", strings.Replace(kustomization, ", serviceAccountName: deployer", "", 1), nil},
		"Flux: what is for another cluster":                 {flux + "}", strings.Replace(kustomization, "serviceAccountName: deployer", "serviceAccountName: deployer, kubeConfig: {secretRef: {name: far}}", 1), nil},
		"Flux: a release by the same account is another object": {flux + "}", kustomization + release, []string{
			"infra:clusters/release.yaml:1: HelmRelease.helm.toolkit.fluxcd.io teams/web acts as system:serviceaccount:teams:deployer", "infra:clusters/shop.yaml:2"}},
		"Argo CD: the first destination of the project that fits": {argo + "}", project, []string{
			"infra:clusters/app.yaml:1: Application.argoproj.io argocd/shop acts as system:serviceaccount:shop:deployer (spec.destinationServiceAccounts of AppProject.argoproj.io argocd/shop)"}},
		"Argo CD: an account of another namespace":           {argo + "}", strings.Replace(project, "defaultServiceAccount: deployer", `defaultServiceAccount: "ops:deployer"`, 1), []string{"acts as system:serviceaccount:ops:deployer"}},
		"Argo CD: it is listed":                              {argo + `, impersonates: ["system:serviceaccount:shop:deployer"]}`, project, nil},
		"Argo CD: its settings switch it on":                 {argo + "}", project + strings.Replace(setting, "SWITCH", "true", 1), []string{"system:serviceaccount:shop:deployer"}},
		"Argo CD: its settings do not switch it on":          {argo + "}", project + strings.Replace(setting, "SWITCH", "false", 1), nil},
		"Argo CD: no destination fits":                       {argo + "}", strings.Replace(project, `"sho?"`, "other", 1), nil},
		"Argo CD: a project of which Git says nothing":       {argo + "}", application, nil},
		"Fleet: an account of the agent's namespace, once":   {fleet + "}", gitRepo, []string{"infra:clusters/gitrepo.yaml:1: GitRepo.fleet.cattle.io fleet-local/shop acts as system:serviceaccount:cattle-fleet-local-system:deployer"}},
		"Fleet: it is listed":                                {fleet + `, impersonates: ["system:serviceaccount:cattle-fleet-local-system:deployer"]}`, gitRepo, nil},
		"Fleet: a bundle's own, for a cluster that it names": {fleet + "}", strings.Replace(gitRepo, ", serviceAccount: deployer", "", 1) + "-- apps/fleet.yaml --\ntargetCustomizations: [{clusterName: local, serviceAccount: special}]\n", []string{"acts as system:serviceaccount:cattle-fleet-local-system:special"}},
		"Config Sync: each has a reconciler of its own": {config + "]}", syncs, []string{
			":1: RepoSync.configsync.gke.io shop/repo-sync acts as system:serviceaccount:config-management-system:ns-reconciler-shop (its reconciler)",
			"acts as system:serviceaccount:config-management-system:ns-reconciler-shop-more-4", "root-reconciler-base (its reconciler), whom agent a does not list: the gate takes it for anybody, who may bring what Git says, but prune nothing and run no hooks. Next: add the user to users of agent a"}},
		"Config Sync: they are listed": {config + `, "system:serviceaccount:config-management-system:ns-reconciler-shop", "system:serviceaccount:config-management-system:ns-reconciler-shop-more-4", "system:serviceaccount:config-management-system:root-reconciler-base"]}`, syncs, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := render(t.Context(), gateOf(t, tt.agent), map[string]revision{"infra": newRepo(t).commit(tt.files)})
			check(t, err)
			if len(set.Unlisted) != len(tt.want) {
				t.Fatalf("have %v, want %d", set.Unlisted, len(tt.want))
			}
			for i, want := range tt.want {
				if have := set.Unlisted[i].String(); !strings.Contains(have, want) {
					t.Errorf("have %s\nwant %s", have, want)
				}
			}
			if name == "Flux: a release by the same account is another object" {
				users := set.UnlistedUsers()
				if len(users) != 1 || !strings.HasPrefix(users[0], "infra:clusters/release.yaml:1: ") || !strings.HasSuffix(users[0], " (and 1 more)") {
					t.Errorf("by user: %q", users)
				}
			}
		})
	}
}

// An account that the next push takes out of Git is none any more: what was built before it is not gone by.
func TestAnAccountThatLeavesGitIsNotToldOf(t *testing.T) {
	in := gateOf(t, `{name: a, preset: ConfigSync, users: ["system:serviceaccount:config-management-system:root-reconciler"]}`)
	repository := newRepo(t)
	files := "-- apps/README.md --\nnothing\n-- clusters/sync.yaml --\napiVersion: configsync.gke.io/v1beta1\nkind: RepoSync\nmetadata: {name: repo-sync, namespace: shop}\n" +
		"spec: {git: {repo: \"https://git.example.com/org/infra\", branch: main, dir: apps}}\n"
	set, err := render(t.Context(), in, map[string]revision{"infra": repository.commit(files)})
	check(t, err)
	if len(set.Unlisted) != 1 {
		t.Fatalf("have %v", set.Unlisted)
	}
	in.Previous = set
	again, err := render(t.Context(), in, map[string]revision{"infra": repository.commit(files + "-- README.md --\nread me\n")})
	check(t, err)
	if len(again.Unlisted) != 1 {
		t.Errorf("of the commit after: %v", again.Unlisted)
	}
	in.Previous = again
	gone, err := render(t.Context(), in, map[string]revision{"infra": repository.commit("-- clusters/sync.yaml --\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")})
	check(t, err)
	if len(gone.Unlisted) != 0 {
		t.Errorf("it is gone: %v", gone.Unlisted)
	}
}

// gateOf is a gate with one agent, whose root is the folder clusters.
func gateOf(t *testing.T, agent string) Input {
	t.Helper()
	c, err := v1alpha1.Parse("gate.yaml", []byte(`apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra}
spec: {url: "https://git.example.com/org/infra", branch: main, anchor: {commit: "0000000000000000000000000000000000000001"}}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  agents: [`+agent+`]
  roots: [{repository: infra, path: clusters}]
`))
	check(t, err)
	return Input{Gate: c.Gate.Spec, Repositories: c.Repositories, Engine: InProcess{}}
}
