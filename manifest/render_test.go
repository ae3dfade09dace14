package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// gate is the configuration of a test: two agents, two trusted repositories, and roots.
func gate(t testing.TB, roots string) Input {
	t.Helper()
	c, err := v1alpha1.Parse("gate.yaml", []byte(`apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: infra}
spec:
  url: https://git.example.com/org/infra.git
  aliases: ["git@mirror.example.com:org/infra"]
  branch: main
  anchor: {commit: "0000000000000000000000000000000000000001"}
---
apiVersion: commitgate.dev/v1alpha1
kind: TrustedRepository
metadata: {name: apps}
spec:
  url: https://git.example.com/org/apps
  branch: main
  anchor: {commit: "0000000000000000000000000000000000000001"}
---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: test}
spec:
  cluster: prod
  agents:
  - {name: flux, preset: Flux, users: ["system:serviceaccount:flux-system:kustomize-controller"]}
  - {name: argocd, preset: ArgoCD, users: ["system:serviceaccount:argocd:argocd-application-controller"]}
  - {name: ci, preset: Pipeline, users: ["ci"]}
  roots:
`+roots))
	check(t, err)
	return Input{Gate: c.Gate.Spec, Repositories: c.Repositories, Engine: InProcess{}}
}

// lines are the objects of a set, a line each: what, where, and what the agent does with it.
func lines(s *Set) string {
	var b strings.Builder
	for _, o := range s.Objects {
		fmt.Fprintf(&b, "%s\t%s:%s:%d", o.Key, o.Source.Repository, o.Source.Path, o.Source.Line)
		if o.Owner.Kind != "" {
			fmt.Fprintf(&b, "\t%s/%s", o.Owner.Agent, o.Owner.Name)
		}
		for _, word := range []struct {
			on   bool
			name string
		}{
			{o.Apply.LastApplied, "last-applied"}, {o.Apply.Recreate, "recreate"}, {o.Apply.NoPrune, "no-prune"}, {o.Apply.Hook, "hook"}, {o.Apply.GenerateName, "generate-name"},
		} {
			if word.on {
				b.WriteString("\t" + word.name)
			}
		}
		b.WriteString("\n")
	}
	for _, p := range s.Unfollowed {
		fmt.Fprintf(&b, "unfollowed: %s\n", p)
	}
	return b.String()
}

func TestWhatIsPushedIsDeclaredAsTheAgentAppliesIt(t *testing.T) {
	tests := map[string]struct {
		roots string
		files string
		want  string // of lines
		wrong string // or: of the problems
	}{
		"a folder is read with all folders below, several documents a file": {
			roots: `  - {repository: infra, path: clusters, agent: ci}`,
			files: `
-- clusters/a.yaml --
# a comment
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
---
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, namespace: ignored}
-- clusters/deep/er/b.json --
{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "cart"}}
-- clusters/README.md --
no manifest
-- elsewhere/c.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: shop}
`,
			want: `
ConfigMap shop/a	infra:clusters/a.yaml:2	last-applied
Namespace shop	infra:clusters/a.yaml:7	last-applied
Deployment default/cart	infra:clusters/deep/er/b.json:1	last-applied
`,
		},
		"a list is taken apart": {
			roots: `  - {repository: infra, path: list.yaml, agent: ci}`,
			files: `
-- list.yaml --
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: a, namespace: shop}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: b, namespace: shop}
`,
			want: `
ConfigMap shop/a	infra:list.yaml:4	last-applied
ConfigMap shop/b	infra:list.yaml:7	last-applied
`,
		},
		"an object that stands twice is refused, both places named": {
			roots: `  - {repository: infra, path: ., agent: ci}`,
			files: `
-- a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
-- b.yaml --
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
`,
			wrong: `infra:b.yaml:2: ConfigMap shop/a is declared twice: in infra:a.yaml:1 too`,
		},
		"every mistake is named at once, with file and line": {
			roots: `  - {repository: infra, path: ., agent: flux}`,
			files: `
-- a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
data:
  x: "1"
  x: "2"
-- b.yaml --
just: values
-- c.yaml --
apiVersion: v1
kind: ConfigMap
metadata:
  name: c
  namespace: shop
 data: {}
-- d.yaml --
apiVersion: v1
kind: Service
metadata: {name: d}
`,
			wrong: `infra:a.yaml:6: the key "x" stands twice in one map, first in line 5: only one of them would count
infra:b.yaml:1: not a Kubernetes object: it has no kind
infra:c.yaml:5: did not find expected key
infra:d.yaml:1: Service d names no namespace: write it, or make the agent's own object the root`,
		},
		"Flux follows its own objects, and Kustomizations inside Kustomizations": {
			roots: `
  - agent: flux
    objects:
    - apiVersion: source.toolkit.fluxcd.io/v1
      kind: GitRepository
      metadata: {name: infra, namespace: flux-system}
      spec: {url: "ssh://git@mirror.example.com/org/infra.git", ref: {branch: main}}
    - apiVersion: kustomize.toolkit.fluxcd.io/v1
      kind: Kustomization
      metadata: {name: all, namespace: flux-system}
      spec: {path: ./clusters/prod, prune: true, sourceRef: {kind: GitRepository, name: infra}}`,
			files: `
-- clusters/prod/shop.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec: {path: apps/shop, force: true, sourceRef: {kind: GitRepository, name: infra}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: all, namespace: flux-system}
spec: {path: ./clusters/prod, prune: true, sourceRef: {kind: GitRepository, name: infra}}
-- apps/shop/cart.yml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
status: {replicas: 1}
-- apps/shop/other.json --
{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "not-read", "namespace": "shop"}}
`,
			want: `
Deployment shop/cart	infra:apps/shop/cart.yml:1	flux/shop	recreate	no-prune
Kustomization.kustomize.toolkit.fluxcd.io flux-system/all	infra:clusters/prod/shop.yaml:6	flux/all
Kustomization.kustomize.toolkit.fluxcd.io flux-system/shop	infra:clusters/prod/shop.yaml:1	flux/all
`,
		},
		"Argo CD reads one folder, leaves out what is no object, and fills in the destination's namespace": {
			roots: `
  - agent: argocd
    objects:
    - apiVersion: argoproj.io/v1alpha1
      kind: Application
      metadata: {name: root, namespace: argocd}
      spec:
        source: {repoURL: "https://git.example.com/org/infra", path: apps, targetRevision: HEAD}
        destination: {server: "https://kubernetes.default.svc", namespace: argocd}`,
			files: `
-- apps/shop.yaml --
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop}
spec:
  source: {repoURL: "https://git.example.com/org/infra", path: shop, directory: {recurse: true, exclude: "{skip/*,*no.yaml}"}}
  destination: {name: in-cluster, namespace: shop}
  syncPolicy: {syncOptions: [ServerSideApply=true]}
-- apps/elsewhere.yaml --
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: elsewhere}
spec:
  source: {repoURL: "https://git.example.com/org/infra", path: shop}
  destination: {server: "https://other.example.com", namespace: shop}
-- apps/values.yaml --
replicas: 2
-- apps/below/not-read.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: not-read}
-- shop/cart.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
-- shop/skip/no.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: skipped}
-- shop/deep/er/is-no.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: skipped-too}
-- shop/issuer.yaml --
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: le}
-- shop/certificate.yaml --
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: le}
-- shop/deep/migrate.yaml --
apiVersion: batch/v1
kind: Job
metadata:
  generateName: migrate-
  annotations: {argocd.argoproj.io/hook: PreSync}
`,
			want: `
Deployment shop/cart	infra:shop/cart.yaml:1	argocd/shop	last-applied
Application.argoproj.io argocd/elsewhere	infra:apps/elsewhere.yaml:1	argocd/root	last-applied
Application.argoproj.io argocd/shop	infra:apps/shop.yaml:1	argocd/root	last-applied
ClusterIssuer.cert-manager.io le	infra:shop/issuer.yaml:1	argocd/shop	last-applied
Certificate.cert-manager.io shop/le	infra:shop/certificate.yaml:1	argocd/shop	last-applied
Job shop/migrate-	infra:shop/deep/migrate.yaml:1	argocd/shop	last-applied	hook	generate-name
`,
		},
		"kustomizations are built, and each object knows its file": {
			roots: fluxRoot,
			files: `
-- cluster/shop.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec:
  path: overlays/prod
  prune: true
  sourceRef: {kind: GitRepository, name: infra}
  targetNamespace: shop
  patches:
  - patch: '[{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]'
    target: {kind: Service}
-- cluster/nested/kustomization.yaml --
resources: [b.yaml]
namePrefix: x-
-- cluster/nested/b.yaml --
---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, namespace: shop}
-- cluster/nested/ignored.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: ignored, namespace: shop}
-- overlays/prod/kustomization.yaml --
resources: [../../base]
configMapGenerator: [{name: conf, literals: [a=b]}]
-- base/kustomization.yaml --
resources: [both.yaml]
-- base/both.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec: {template: {spec: {containers: [{name: c, envFrom: [{configMapRef: {name: conf}}]}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
`,
			want: `
ConfigMap shop/conf-4h2mbtbbt6	infra:overlays/prod/kustomization.yaml:0	flux/shop
ConfigMap shop/x-b	infra:cluster/nested/b.yaml:2	flux/cluster
Deployment shop/cart	infra:base/both.yaml:1	flux/shop
Kustomization.kustomize.toolkit.fluxcd.io flux-system/shop	infra:cluster/shop.yaml:1	flux/cluster
Service shop/cart	infra:base/both.yaml:6	flux/shop
`,
		},
		"a Kustomization generates what is not there, and patches it": {
			roots: fluxRoot,
			files: `
-- cluster/shop.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec:
  path: plain
  prune: true
  sourceRef: {kind: GitRepository, name: infra}
  namePrefix: eu-
  targetNamespace: shop
-- plain/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
-- plain/deep/b.yml --
# b
apiVersion: v1
kind: ConfigMap
metadata: {name: b}
-- plain/k/kustomization.yml --
configMapGenerator: [{name: c, options: {disableNameSuffixHash: true}}]
-- plain/.sops.yaml --
creation_rules: []
`,
			want: `
ConfigMap shop/eu-a	infra:plain/a.yaml:1	flux/shop
ConfigMap shop/eu-b	infra:plain/deep/b.yml:2	flux/shop
ConfigMap shop/eu-c	infra:plain/k/kustomization.yml:0	flux/shop
Kustomization.kustomize.toolkit.fluxcd.io flux-system/shop	infra:cluster/shop.yaml:1	flux/cluster
`,
		},
		"what kustomize would fetch or run is refused": {
			roots: fluxRoot,
			files: `
-- cluster/a/kustomization.yaml --
resources: [github.com/evil/repo]
-- cluster/a/github.com/evil/repo/kustomization.yaml --
resources: []
-- cluster/b/kustomization.yaml --
resources: ["https://127.0.0.1:1/x.yaml"]
-- cluster/c/kustomization.yaml --
patches: [{path: "https://127.0.0.1:1/x.yaml"}]
-- cluster/d/kustomization.yaml --
configMapGenerator: [{name: x, files: ["k=http://127.0.0.1:1/x.yaml"]}]
-- cluster/e/kustomization.yaml --
transformers: [t.yaml]
-- cluster/e/t.yaml --
apiVersion: builtin
kind: PatchTransformer
metadata: {name: p}
path: http://127.0.0.1:1/patch.yaml
-- cluster/f/kustomization.yaml --
helmCharts: [{name: x, repo: "https://127.0.0.1:1"}]
-- cluster/g/kustomization.yaml --
resources: [../../../../etc/passwd]
-- cluster/h/kustomization.yaml --
generators: ["ssh://git@127.0.0.1:1/x"]
-- cluster/i/kustomization.yaml --
resources: []
resources: ["https://127.0.0.1:1/x.yaml"]
-- cluster/j/kustomization.yaml --
transformers:
- |-
  apiVersion: "bu\u0069ltin"
  kind: PatchTransformer
  metadata: {name: p}
  path: "\u0068ttp://127.0.0.1:1/patch.yaml"
-- cluster/k/kustomization.yaml --
transformers: [t]
-- cluster/k/t/kustomization.yaml --
resources: [t.yaml]
-- cluster/k/t/t.yaml --
apiVersion: builtin
kind: PatchTransformer
metadata: {name: p}
path: patch.yaml
`,
			wrong: `infra:cluster/a/kustomization.yaml:1: github.com/evil/repo: https://github.com/evil/repo is not the URL or an alias of a trusted repository, and nothing is fetched from elsewhere: trust it, or copy the base here
infra:cluster/b/kustomization.yaml:1: resources: https://127.0.0.1:1/x.yaml is not in this repository, and nothing is fetched from elsewhere
infra:cluster/c/kustomization.yaml:1: https://127.0.0.1:1/x.yaml is not in this repository, and nothing is fetched from elsewhere
infra:cluster/d/kustomization.yaml:1: http://127.0.0.1:1/x.yaml is not in this repository, and nothing is fetched from elsewhere
infra:cluster/e/t.yaml:1: http://127.0.0.1:1/patch.yaml is not in this repository, and nothing is fetched from elsewhere
infra:cluster/f/kustomization.yaml:1: helmCharts: kustomize would run helm and fetch a chart, which is not done here
infra:cluster/g/kustomization.yaml:1: resources: ../../../../etc/passwd is not in this repository, and nothing is fetched from elsewhere
infra:cluster/h/kustomization.yaml:1: generators: ssh://git@127.0.0.1:1/x is not in this repository, and nothing is fetched from elsewhere
infra:cluster/i/kustomization.yaml:2: the key "resources" stands twice in one map, first in line 1: only one of them would count
infra:cluster/j/kustomization.yaml:1: transformers: http://127.0.0.1:1/patch.yaml is not in this repository, and nothing is fetched from elsewhere
infra:cluster/k/kustomization.yaml:1: transformers: t is a folder: name the files that configure it`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := render(t.Context(), gate(t, test.roots), map[string]revision{"infra": newRepo(t).commit(test.files)})
			if test.wrong != "" {
				var problems Problems
				if !errors.As(err, &problems) || problems.Error() != test.wrong {
					t.Errorf("problems:\n%v\nwant:\n%s", err, test.wrong)
				}
				return
			}
			check(t, err)
			want := strings.Split(strings.TrimSpace(test.want), "\n")
			have := strings.Split(strings.TrimSpace(lines(set)), "\n")
			slices.Sort(want)
			slices.Sort(have)
			if !slices.Equal(have, want) {
				t.Errorf("declares:\n%s\nwant:\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}
