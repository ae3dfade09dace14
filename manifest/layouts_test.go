package manifest

import (
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"
)

// The layouts in which people keep their clusters: what an agent applies of each folder is what kubectl kustomize makes of it.
func TestUsualLayouts(t *testing.T) {
	if findProgram("kubectl") == "" {
		t.Skip("no kubectl to compare with")
	}
	tests := map[string]struct {
		roots, files string
		folders      map[string]string // by owner: what it builds
		unfollowed   string
	}{
		"a Flux monorepo: clusters, infrastructure, apps": {
			roots: `
  - agent: flux
    objects:
    - apiVersion: source.toolkit.fluxcd.io/v1
      kind: GitRepository
      metadata: {name: flux-system, namespace: flux-system}
      spec: {url: "https://git.example.com/org/infra", ref: {branch: main}}
    - apiVersion: kustomize.toolkit.fluxcd.io/v1
      kind: Kustomization
      metadata: {name: flux-system, namespace: flux-system}
      spec: {path: ./clusters/production, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}`,
			folders:    map[string]string{"infra-configs": "infrastructure/configs", "apps": "apps/production"},
			unfollowed: "infra:infrastructure/controllers/ingress.yaml:6: HelmRelease.helm.toolkit.fluxcd.io ingress/ingress is not followed: HelmRepository ingress/charts: chart ingress of https://charts.example.com comes from the network, and repository infra has no charts.lock with its digest",
			files: `
-- clusters/production/infrastructure.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: infra-controllers, namespace: flux-system}
spec: {path: ./infrastructure/controllers, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: infra-configs, namespace: flux-system}
spec: {dependsOn: [{name: infra-controllers}], path: ./infrastructure/configs, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
-- clusters/production/apps.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec: {dependsOn: [{name: infra-configs}], path: ./apps/production, prune: true, wait: true, sourceRef: {kind: GitRepository, name: flux-system}}
-- infrastructure/controllers/ingress.yaml --
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: ingress}
spec: {url: "https://charts.example.com", interval: 24h}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: ingress, namespace: ingress}
spec: {chart: {spec: {chart: ingress, sourceRef: {kind: HelmRepository, name: charts}}}}
-- infrastructure/configs/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [issuer.yaml]
-- infrastructure/configs/issuer.yaml --
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: letsencrypt}
spec: {acme: {email: ops@example.com}}
-- apps/base/podinfo/kustomization.yaml --
resources: [namespace.yaml, release.yaml]
-- apps/base/podinfo/namespace.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: podinfo}
-- apps/base/podinfo/release.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: podinfo, namespace: podinfo}
spec:
  selector: {matchLabels: {app: podinfo}}
  template: {metadata: {labels: {app: podinfo}}, spec: {containers: [{name: podinfo, image: "registry.test/podinfo:6", env: [{name: A, value: b}]}]}}
-- apps/production/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../base/podinfo]
patches:
- path: podinfo-values.yaml
  target: {kind: Deployment}
configMapGenerator:
- {name: settings, namespace: podinfo, literals: [env=production]}
-- apps/production/podinfo-values.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: podinfo}
spec: {replicas: 3, template: {spec: {containers: [{name: podinfo, resources: {limits: {memory: 64Mi}}, envFrom: [{configMapRef: {name: settings}}]}]}}}
`,
		},
		"Argo CD: an application of a folder with a kustomization": {
			roots:   argoRoot("source: {repoURL: 'https://git.example.com/org/infra', path: guestbook/overlays/prod}"),
			folders: map[string]string{"shop": "guestbook/overlays/prod"},
			files: `
-- guestbook/base/kustomization.yaml --
resources: [ui.yaml]
-- guestbook/base/ui.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: ui, namespace: shop}
spec: {selector: {matchLabels: {app: ui}}, template: {metadata: {labels: {app: ui}}, spec: {containers: [{name: ui, image: "registry.test/ui:1"}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: ui, namespace: shop}
spec: {selector: {app: ui}, ports: [{port: 80}]}
-- guestbook/overlays/prod/kustomization.yaml --
resources: [../../base]
namePrefix: prod-
images: [{name: registry.test/ui, newTag: "2"}]
`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := render(t.Context(), gate(t, test.roots), map[string]revision{"infra": newRepo(t).commit(test.files)})
			check(t, err)
			dir := unpack(t, txtar.Parse([]byte(test.files)).Files)
			build := builders(t)["kubectl kustomize"]
			for owner, folder := range test.folders {
				var have []map[string]any
				for _, o := range set.Objects {
					if o.Owner.Name == owner {
						have = append(have, o.Content.Map())
					}
				}
				want := canonical(t, build(t, filepath.Join(dir, filepath.FromSlash(folder))))
				if have := canonical(t, have); have != want {
					t.Errorf("%s\n%s", owner, difference(t, "kubectl kustomize "+folder, want, have))
				}
			}
			unfollowed := ""
			for _, p := range set.Unfollowed {
				unfollowed += p.String()
			}
			if unfollowed != test.unfollowed {
				t.Errorf("not followed: %s, want %s", unfollowed, test.unfollowed)
			}
		})
	}
}
