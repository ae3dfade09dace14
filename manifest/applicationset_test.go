package manifest

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestApplicationSetsMakeApplications(t *testing.T) {
	const config = "-- apps/%/cm.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"
	trees := strings.ReplaceAll(config, "%", "cart") + strings.ReplaceAll(config, "%", "pay") + strings.ReplaceAll(config, "%", "Old.Shop") + `
-- env/prod/config.yaml --
name: prod
cluster: {region: eu, zones: [a, b]}
-- env/test/config.yaml --
- {name: test-1, cluster: {region: us}}
- {name: test-2, cluster: {region: us}}
`
	tests := map[string]struct {
		spec string
		want []string // objects but the ApplicationSet: what, of whom
	}{
		"a list, with plain templates": {
			spec: `
generators: [{list: {elements: [{name: cart, ns: shop}, {name: pay, ns: bank}]}}]
template:
  metadata: {name: 'app-{{name}}'}
  spec: {source: {repoURL: 'https://git.example.com/org/infra', path: 'apps/{{ name }}'}, destination: {name: in-cluster, namespace: '{{ns}}'}}`,
			want: []string{"Application.argoproj.io argocd/app-cart of set", "Application.argoproj.io argocd/app-pay of set", "ConfigMap bank/settings of app-pay", "ConfigMap shop/settings of app-cart"},
		},
		"folders, but for one": {
			spec: `
goTemplate: true
goTemplateOptions: ["missingkey=error"]
generators: [{git: {repoURL: 'https://git.example.com/org/infra', revision: HEAD, directories: [{path: apps/*}, {path: apps/pay, exclude: true}], values: {team: '{{ .path.basenameNormalized }}'}}}]
template:
  metadata: {name: '{{ index .path.segments 0 }}-{{ .path.basenameNormalized }}'}
  spec: {source: {repoURL: 'https://git.example.com/org/infra', path: '{{ .path.path }}'}, destination: {name: in-cluster, namespace: '{{ .values.team | replace "." "-" }}'}}`,
			want: []string{"Application.argoproj.io argocd/apps-cart of set", "Application.argoproj.io argocd/apps-old.shop of set", "ConfigMap cart/settings of apps-cart", "ConfigMap old-shop/settings of apps-old.shop"},
		},
		"files, of one object or several, with a selector and a patch": {
			spec: `
goTemplate: true
generators:
- git: {repoURL: 'https://git.example.com/org/infra', files: [{path: 'env/*.yaml'}]}
  selector: {matchExpressions: [{key: name, operator: NotIn, values: [test-2]}]}
template:
  metadata: {name: '{{ .name }}'}
  spec: {source: {repoURL: 'https://git.example.com/org/infra', path: apps/cart}, destination: {name: in-cluster}}
templatePatch: |
  spec:
    destination:
      namespace: {{ .cluster.region }}-{{ .path.basename }}-{{ .name }}`,
			want: []string{"Application.argoproj.io argocd/prod of set", "Application.argoproj.io argocd/test-1 of set", "ConfigMap eu-prod-prod/settings of prod", "ConfigMap us-test-test-1/settings of test-1"},
		},
		"a matrix, whose second generator uses the first": {
			spec: `
goTemplate: true
generators:
- matrix:
    generators:
    - list: {elements: [{dir: apps, tier: a}]}
    - git: {repoURL: 'https://git.example.com/org/infra', directories: [{path: '{{ .dir }}/c*'}]}
template:
  metadata: {name: '{{ .tier }}-{{ .path.basename }}'}
  spec: {source: {repoURL: 'https://git.example.com/org/infra', path: '{{ .path.path }}'}, destination: {name: in-cluster, namespace: x}}`,
			want: []string{"Application.argoproj.io argocd/a-cart of set", "ConfigMap x/settings of a-cart"},
		},
		"a merge by key": {
			spec: `
generators:
- merge:
    mergeKeys: [name]
    generators:
    - list: {elements: [{name: cart, ns: shop}, {name: pay, ns: bank}]}
    - list: {elements: [{name: pay, ns: vault}]}
template:
  metadata: {name: '{{name}}'}
  spec: {source: {repoURL: 'https://git.example.com/org/infra', path: 'apps/{{name}}'}, destination: {name: in-cluster, namespace: '{{ns}}'}}`,
			want: []string{"Application.argoproj.io argocd/cart of set", "Application.argoproj.io argocd/pay of set", "ConfigMap shop/settings of cart", "ConfigMap vault/settings of pay"},
		},
		"a generator that asks the cluster is told, the others count": {
			spec: `
generators: [{clusters: {}}, {list: {elements: [{name: cart}]}}]
template:
  metadata: {name: '{{name}}'}
  spec: {source: {repoURL: 'https://git.example.com/org/infra', path: 'apps/{{name}}'}, destination: {name: in-cluster, namespace: x}}`,
			want: []string{"Application.argoproj.io argocd/cart of set", "ConfigMap x/settings of cart",
				"unfollowed: infra:sets/set.yaml:1: ApplicationSet.argoproj.io argocd/set is not followed: generator clusters asks something other than Git"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set := "-- sets/set.yaml --\napiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: set, namespace: argocd}\nspec:\n" + indent(test.spec) + "\n"
			in, revisions := gate(t, argoRoot("source: {repoURL: 'https://git.example.com/org/infra', path: sets}")), map[string]revision{"infra": newRepo(t).commit(set + trees)}
			made, err := render(t.Context(), in, revisions)
			check(t, err)
			var have []string
			for _, o := range made.Objects {
				if o.Kind != "ApplicationSet" {
					have = append(have, o.Key.String()+" of "+o.Owner.Name)
				}
			}
			for _, p := range made.Unfollowed {
				have = append(have, "unfollowed: "+p.String())
			}
			slices.Sort(have)
			if !slices.Equal(have, test.want) {
				t.Errorf("made\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(test.want, "\n"))
			}
			in.Previous = made
			if again, err := render(t.Context(), in, revisions); err != nil || &again.Objects[0] != &made.Objects[0] {
				t.Errorf("a second rendering of the same commit is another: %v", err)
			}
		})
	}
}

func TestTemplatesThatWouldNotEndAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a loop that writes": `{{ range 1000000000 }}xxxxxxxxxxxxxxxx{{ end }}`,
		"a list without end": `{{ until 1000000000 }}`,
		"text without end":   `{{ repeat 1000000000 "x" }}`,
		"the environment":    `{{ env "HOME" }}`,
		"a name to look up":  `{{ getHostByName "localhost" }}`,
	} {
		t.Run(name, func(t *testing.T) {
			spec := "goTemplate: true\ngenerators: [{list: {elements: [{name: x}]}}]\ntemplate: {metadata: {name: '" + text + "'}}"
			set := "-- sets/set.yaml --\napiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: set, namespace: argocd}\nspec:\n" + indent(spec) + "\n"
			_, err := render(t.Context(), gate(t, argoRoot("source: {repoURL: 'https://git.example.com/org/infra', path: sets}")), map[string]revision{"infra": newRepo(t).commit(set)})
			var problems Problems
			if !errors.As(err, &problems) || problems[0].Path != "sets/set.yaml" {
				t.Errorf("error %v, want one that names the file", err)
			}
		})
	}
}
