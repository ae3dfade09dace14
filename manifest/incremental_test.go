package manifest

import (
	"fmt"
	"strings"
	"testing"
)

const fluxRoot = `
  - agent: flux
    objects:
    - apiVersion: source.toolkit.fluxcd.io/v1
      kind: GitRepository
      metadata: {name: infra, namespace: flux-system}
      spec: {url: "https://git.example.com/org/infra", ref: {branch: main}}
    - apiVersion: kustomize.toolkit.fluxcd.io/v1
      kind: Kustomization
      metadata: {name: cluster, namespace: flux-system}
      spec: {path: ./cluster, prune: true, sourceRef: {kind: GitRepository, name: infra}}`

// manyApplications is a tree of n Flux Kustomizations with a Deployment and nine ConfigMaps each.
func manyApplications(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "-- cluster/app%d.yaml --\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: app%d, namespace: flux-system}\n"+
			"spec: {path: ./apps/app%d, prune: true, sourceRef: {kind: GitRepository, name: infra}}\n", i, i, i)
		fmt.Fprintf(&b, "-- apps/app%d/deployment.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app, namespace: ns%d}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: a}}\n"+
			"  template:\n    metadata: {labels: {app: a}}\n    spec: {containers: [{name: a, image: \"registry.test/a:1\", env: [{name: A, value: b}], resources: {limits: {memory: 64Mi}}}]}\n", i, i)
		for j := range 8 {
			fmt.Fprintf(&b, "-- apps/app%d/config%d.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: config%d, namespace: ns%d}\ndata: {key: value}\n", i, j, j, i)
		}
	}
	return b.String()
}

func pointers(s *Set) map[*Object]bool {
	m := make(map[*Object]bool, len(s.Objects))
	for _, o := range s.Objects {
		m[o] = true
	}
	return m
}

func TestAPushRendersOnlyWhatItReaches(t *testing.T) {
	files := manyApplications(3) + `
-- cluster/widgets.yaml --
apiVersion: example.com/v1
kind: Widget
metadata: {name: w}
-- cluster/more.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shared, namespace: flux-system}
spec:
  path: ./shared
  sourceRef: {kind: GitRepository, name: infra}
  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: vars, namespace: flux-system}
data: {color: red}
-- shared/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shared}
data: {color: "${color}"}
`
	tests := map[string]struct {
		push  string
		files int // read
		fresh []string
	}{
		"nothing": {push: "-- README.md --\nread me\n"},
		"one field of one file": {
			push:  "-- apps/app1/config3.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: config3, namespace: ns1}\ndata: {key: changed}\n",
			files: 1, fresh: []string{"ConfigMap ns1/config3"},
		},
		"a comment": {
			push:  "-- apps/app1/config3.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: config3, namespace: ns1}\ndata: {key: value} # as ever\n",
			files: 1,
		},
		"values that another Kustomization takes": {
			push: `-- cluster/more.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shared, namespace: flux-system}
spec:
  path: ./shared
  sourceRef: {kind: GitRepository, name: infra}
  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: vars, namespace: flux-system}
data: {color: green}
`,
			files: 1, fresh: []string{"ConfigMap flux-system/vars", "ConfigMap shared/a"},
		},
		"a definition that tells where a kind lives": {
			push: `-- cluster/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, names: {kind: Widget}, scope: Cluster}
`,
			files: 1, fresh: []string{"CustomResourceDefinition.apiextensions.k8s.io widgets.example.com"},
		},
		"a Kustomization that is gone": {push: "-- cluster/app2.yaml --\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in, repository := gate(t, fluxRoot), newRepo(t)
			first, err := render(t.Context(), in, map[string]revision{"infra": repository.commit(files)})
			check(t, err)
			after := map[string]revision{"infra": repository.commit(test.push)}
			in.Previous = first
			r := newRenderer(t.Context(), in, after, in.Limits.withDefaults())
			r.roots()
			check(t, r.renderUnits())
			r.settle()
			second := r.merge()
			if len(r.problems) > 0 {
				t.Fatal(r.problems)
			}
			if r.filesRead != test.files {
				t.Errorf("read %d files, want %d", r.filesRead, test.files)
			}
			old := pointers(first)
			var fresh []string
			for _, o := range second.Objects {
				if !old[o] {
					fresh = append(fresh, o.Key.String())
				}
			}
			if fmt.Sprint(fresh) != fmt.Sprint(test.fresh) {
				t.Errorf("made anew: %q, want %q", fresh, test.fresh)
			}
			// What is taken over must be what a rendering from nothing makes.
			in.Previous = nil
			whole, err := render(t.Context(), in, after)
			check(t, err)
			if have, want := lines(second), lines(whole); have != want {
				t.Errorf("with the set before:\n%s\nfrom nothing:\n%s", have, want)
			}
		})
	}
}

// manyOverlays is manyApplications with a kustomization each: an overlay of a common base that patches, generates and renames.
func manyOverlays(n int) string {
	var b strings.Builder
	b.WriteString("-- base/kustomization.yaml --\nresources: [all.yaml]\n-- base/all.yaml --\n")
	for j := range 8 {
		fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config%d}\ndata: {key: value}\n---\n", j)
	}
	b.WriteString("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: a}}\n" +
		"  template:\n    metadata: {labels: {app: a}}\n    spec: {containers: [{name: a, image: \"registry.test/a:1\", envFrom: [{configMapRef: {name: generated}}], resources: {limits: {memory: 64Mi}}}]}\n")
	for i := range n {
		fmt.Fprintf(&b, "-- cluster/app%d.yaml --\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: app%d, namespace: flux-system}\n"+
			"spec: {path: ./apps/app%d, prune: true, sourceRef: {kind: GitRepository, name: infra}}\n", i, i, i)
		fmt.Fprintf(&b, "-- apps/app%d/kustomization.yaml --\nresources: [../../base]\nnamespace: ns%d\nimages: [{name: registry.test/a, newTag: \"%d\"}]\nreplicas: [{name: app, count: 2}]\n"+
			"configMapGenerator: [{name: generated, literals: [color=red]}]\n", i, i, i)
	}
	return b.String()
}

// BenchmarkPush is a one-file change in a repository of 1,000 Kustomizations, against the rendering of all of it.
func BenchmarkPush(b *testing.B) {
	tests := map[string]struct {
		files, push string
		objects     int
	}{
		"plain": {manyApplications(1000), "-- apps/app7/config3.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: config3, namespace: ns7}\ndata: {key: changed}\n", 10_000},
		"kustomize": {manyOverlays(1000), "-- apps/app7/kustomization.yaml --\nresources: [../../base]\nnamespace: ns7\nimages: [{name: registry.test/a, newTag: changed}]\n" +
			"configMapGenerator: [{name: generated, literals: [color=blue]}]\n", 11_000},
	}
	for name, test := range tests {
		b.Run(name, func(b *testing.B) {
			in, repository := gate(b, fluxRoot), newRepo(b)
			first := map[string]revision{"infra": repository.commit(test.files)}
			b.Run("everything", func(b *testing.B) {
				for b.Loop() {
					_, err := render(b.Context(), in, first)
					check(b, err)
				}
			})
			before, err := render(b.Context(), in, first)
			check(b, err)
			in.Previous = before
			after := map[string]revision{"infra": repository.commit(test.push)}
			b.Run("one file", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s, err := render(b.Context(), in, after)
					check(b, err)
					if len(s.Objects) != test.objects {
						b.Fatal(len(s.Objects))
					}
				}
			})
		})
	}
}
