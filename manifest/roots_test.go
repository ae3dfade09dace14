package manifest

import (
	"strings"
	"testing"
)

// A bootstrap tool commits the agents' own object into the folder that it applies. A root that names that folder is that object: what it holds is
// declared once, as that object applies it.
func TestARootMayHoldTheObjectThatAppliesIt(t *testing.T) {
	const gotk = `
-- clusters/prod/flux-system/gotk-sync.yaml --
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {url: "https://git.example.com/org/infra", ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {path: ./clusters/prod, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
-- clusters/prod/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
`
	const bootstrapped = `
ConfigMap shop/a	infra:clusters/prod/a.yaml:1	flux/flux-system
Kustomization.kustomize.toolkit.fluxcd.io flux-system/flux-system	infra:clusters/prod/flux-system/gotk-sync.yaml:6	flux/flux-system
GitRepository.source.toolkit.fluxcd.io flux-system/flux-system	infra:clusters/prod/flux-system/gotk-sync.yaml:1	flux/flux-system
`
	const kustomization = `
-- clusters/prod/kustomization.yaml --
resources: [flux-system/gotk-sync.yaml, a.yaml]
`
	const twoSyncs = `
-- clusters/prod/more.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: again, namespace: flux-system}
spec: {path: ./clusters/prod, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
`
	tests := map[string]struct{ root, files, want, wrong string }{
		"flux bootstrap":                          {root: "path: clusters/prod, agent: flux", files: gotk, want: bootstrapped},
		"flux bootstrap, with a kustomization":    {root: "path: clusters/prod, agent: flux", files: gotk + kustomization, want: bootstrapped},
		"the root is only the folder of the sync": {root: "path: clusters/prod/flux-system, agent: flux", files: gotk, want: bootstrapped},
		"the root is its file":                    {root: "path: clusters/prod/flux-system/gotk-sync.yaml, agent: flux", files: gotk, want: bootstrapped},
		"Argo CD, an Application of its own folder": {
			root: "path: apps, agent: argocd",
			files: `
-- apps/root.yaml --
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: root, namespace: argocd}
spec:
  project: default
  destination: {server: "https://kubernetes.default.svc", namespace: argocd}
  source: {repoURL: "https://git.example.com/org/infra", targetRevision: main, path: apps}
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
`,
			want: `
ConfigMap shop/a	infra:apps/a.yaml:1	argocd/root	last-applied
Application.argoproj.io argocd/root	infra:apps/root.yaml:1	argocd/root	last-applied
`,
		},
		"another agent's object applies it, too: two would fight": {
			root: "path: clusters/prod, agent: ci", files: gotk,
			wrong: "infra:clusters/prod/a.yaml:1: ConfigMap shop/a is declared twice: in infra:clusters/prod/a.yaml:1 too, by the root infra and Kustomization.kustomize.toolkit.fluxcd.io flux-system/flux-system",
		},
		"two objects apply it: they would fight": {
			root: "path: clusters/prod, agent: flux", files: gotk + twoSyncs,
			wrong: "infra:clusters/prod/a.yaml:1: ConfigMap shop/a is declared twice: in infra:clusters/prod/a.yaml:1 too, by Kustomization.kustomize.toolkit.fluxcd.io flux-system/again and Kustomization.kustomize.toolkit.fluxcd.io flux-system/flux-system",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := render(t.Context(), gate(t, "  - {repository: infra, "+test.root+"}"), map[string]revision{"infra": newRepo(t).commit(test.files)})
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("%v\nwant %s", err, test.wrong)
				}
				return
			}
			check(t, err)
			if got := "\n" + lines(set); got != test.want {
				t.Errorf("got %s\nwant %s", got, test.want)
			}
		})
	}
}
