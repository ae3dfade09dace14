package manifest

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/git"
)

// kustomizationRoot is a root with a GitRepository and one Kustomization of the folder apps.
func kustomizationRoot(source, spec string) string {
	return `
  - agent: flux
    objects:
    - apiVersion: source.toolkit.fluxcd.io/v1
      kind: GitRepository
      metadata: {name: infra, namespace: flux-system}
      spec:
        url: https://git.example.com/org/infra
        ref: {branch: main}
` + indent(source) + `
    - apiVersion: kustomize.toolkit.fluxcd.io/v1
      kind: Kustomization
      metadata: {name: apps, namespace: flux-system}
      spec:
        path: apps
        prune: true
        sourceRef: {kind: GitRepository, name: infra}
` + indent(spec)
}

func TestObjectsAreWhatFluxMakesOfThem(t *testing.T) {
	tests := map[string]struct {
		source, spec, files string
		key, want           string
	}{
		"the two labels, and common metadata over what is there": {
			spec:  "commonMetadata: {labels: {env: prod}, annotations: {a: b}}",
			files: "-- apps/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop, creationTimestamp: null, labels: {env: test, x: z}}\n",
			key:   "ConfigMap shop/a",
			want: `
content: {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop, labels: {env: prod, x: z}, annotations: {a: b}}}
labels: {kustomize.toolkit.fluxcd.io/name: apps, kustomize.toolkit.fluxcd.io/namespace: flux-system}`,
		},
		"variables, from a ConfigMap in Git and over it from the Kustomization; a value may become a number": {
			spec: "postBuild: {substitute: {color: red}}",
			files: `
-- apps/vars.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: vars, namespace: flux-system}
data: {color: blue, count: "3"}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec:
  path: shop
  sourceRef: {kind: GitRepository, name: infra}
  postBuild: {substitute: {size: big}, substituteFrom: [{kind: ConfigMap, name: vars}, {kind: Secret, name: none, optional: true}]}
-- shop/a.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: a, namespace: shop, annotations: {color: "${color}-${size}-${other:=none}", kept: "$${color}"}}
spec:
  replicas: ${count}
  paused: false
---
apiVersion: v1
kind: ConfigMap
metadata: {name: untouched, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}}
data: {a: "${color}"}
`,
			key: "Deployment shop/a",
			want: `
content: {apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: shop, annotations: {color: blue-big-none, kept: "${color}"}}, spec: {replicas: 3, paused: false}}
labels: {kustomize.toolkit.fluxcd.io/name: shop, kustomize.toolkit.fluxcd.io/namespace: flux-system}`,
		},
		"a value that is encrypted with SOPS": {
			spec: "decryption: {provider: sops}",
			files: `
-- apps/secret.yaml --
apiVersion: v1
kind: Secret
metadata: {name: s, namespace: shop}
stringData:
  password: ENC[AES256_GCM,data:1,iv:2,tag:3,type:str]
  tls.crt: ENC[AES256_GCM,data:1,iv:2,tag:3,type:str]
  plain: text
sops: {mac: "ENC[AES256_GCM,data:4,iv:5,tag:6,type:str]", version: 3.9.0}
`,
			key: "Secret shop/s",
			want: `
content: {apiVersion: v1, kind: Secret, metadata: {name: s, namespace: shop}, stringData: {password: "ENC[AES256_GCM,data:1,iv:2,tag:3,type:str]", tls.crt: "ENC[AES256_GCM,data:1,iv:2,tag:3,type:str]", plain: text}}
labels: {kustomize.toolkit.fluxcd.io/name: apps, kustomize.toolkit.fluxcd.io/namespace: flux-system}
opaque: ["stringData.password", "stringData[tls.crt]"]`,
		},
		"files that .sourceignore and spec.ignore leave out": {
			source: "ignore: |\n  !/apps/kept.yaml",
			files: `
-- .sourceignore --
# what is no manifest
kept.yaml
/apps/generated/
-- apps/values.yaml --
not: a manifest
-- apps/.sourceignore --
values.yaml
-- apps/generated/x.yaml --
neither: this
-- apps/kept.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: kept, namespace: shop}
`,
			key: "ConfigMap shop/kept",
			want: `
content: {apiVersion: v1, kind: ConfigMap, metadata: {name: kept, namespace: shop}}
labels: {kustomize.toolkit.fluxcd.io/name: apps, kustomize.toolkit.fluxcd.io/namespace: flux-system}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := render(t.Context(), gate(t, kustomizationRoot(test.source, test.spec)), map[string]revision{"infra": newRepo(t).commit(test.files)})
			check(t, err)
			same(t, described(t, set, test.key), test.want)
		})
	}
}

func TestIgnoresAreThoseOfGit(t *testing.T) {
	tests := map[string]struct {
		patterns string
		out, in  []git.Path // a folder ends with /
	}{
		"a name at any depth":              {"x.yaml", []git.Path{"x.yaml", "a/b/x.yaml", "x.yaml/"}, []git.Path{"x.yml", "ax.yaml"}},
		"a path from the root":             {"/a/*.yaml", []git.Path{"a/x.yaml"}, []git.Path{"b/a/x.yaml", "a/b/x.yaml"}},
		"folders only":                     {"gen/", []git.Path{"gen/", "a/gen/"}, []git.Path{"gen"}},
		"any folders between":              {"a/**/z", []git.Path{"a/z", "a/b/c/z"}, []git.Path{"b/a/z"}},
		"everything below":                 {"a/**", []git.Path{"a/z", "a/b/z"}, []git.Path{"a/", "b"}},
		"everything but one":               {"/*\n!/deploy", []git.Path{"a", "b/"}, []git.Path{"deploy/"}},
		"comments and empty lines":         {"# x\n\n\\#y\n", []git.Path{"#y"}, []git.Path{"x", "# x"}},
		"a pattern that is none":           {"[", nil, []git.Path{"[", "a"}},
		"the last pattern that says so":    {"*.yaml\n!a.yaml\na.yaml", []git.Path{"a.yaml"}, nil},
		"many stars do not take for ever":  {strings.Repeat("**/", 12) + "z", []git.Path{"a/b/c/d/e/f/g/h/z"}, []git.Path{"a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q"}},
		"a space that belongs to the name": {"a\\ ", nil, []git.Path{"a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			is := parseIgnores(".", test.patterns)
			for want, paths := range map[bool][]git.Path{true: test.out, false: test.in} {
				for _, p := range paths {
					bare := git.Path(strings.TrimSuffix(string(p), "/"))
					if got := is.match(bare, bare != p); got != want {
						t.Errorf("%q leaves out %q: %v, want %v", test.patterns, p, got, want)
					}
				}
			}
		})
	}
}
