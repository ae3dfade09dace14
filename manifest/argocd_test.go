package manifest

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// application is a root that holds one Application with a spec.
func argoRoot(spec string) string {
	return `
  - agent: argocd
    objects:
    - apiVersion: argoproj.io/v1alpha1
      kind: Application
      metadata: {name: shop, namespace: argocd}
      spec:
        destination: {server: "https://kubernetes.default.svc", namespace: shop}
` + indent(spec)
}

func indent(s string) string {
	return "        " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n        ")
}

// described is an object with what its agent adds, as YAML that a test can say.
func described(t *testing.T, s *Set, key string) string {
	t.Helper()
	for _, o := range s.Objects {
		if o.Key.String() != key {
			continue
		}
		about := map[string]any{"content": o.Content.Map()}
		if m := o.Adds.Labels; m != nil {
			about["labels"] = m
		}
		if m := o.Adds.Annotations; m != nil {
			about["annotations"] = m
		}
		if o.Apply.Ignored != nil {
			about["ignored"] = o.Apply.Ignored
		}
		if o.Opaque != nil {
			about["opaque"] = o.Opaque
		}
		text, err := yaml.Marshal(about)
		check(t, err)
		return string(text)
	}
	t.Fatalf("no %s in\n%s", key, lines(s))
	return ""
}

// same compares YAML by what it says.
func same(t *testing.T, have, want string) {
	t.Helper()
	var a, b any
	check(t, yaml.Unmarshal([]byte(have), &a))
	check(t, yaml.Unmarshal([]byte(want), &b))
	if !reflect.DeepEqual(a, b) {
		t.Errorf("have\n%s\nwant\n%s", have, want)
	}
}

func TestObjectsAreWhatArgoCDMakesOfThem(t *testing.T) {
	const cart = "-- apps/cart.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart}\nspec: {replicas: 1}\n"
	tests := map[string]struct {
		spec, files string
		key, want   string
	}{
		"the default: client-side apply, tracked by annotation": {
			spec:  "source: {repoURL: 'https://git.example.com/org/infra', path: apps}",
			files: cart, key: "Deployment shop/cart",
			want: `
content: {apiVersion: apps/v1, kind: Deployment, metadata: {name: cart, namespace: shop}, spec: {replicas: 1}}
annotations: {argocd.argoproj.io/tracking-id: "shop:apps/Deployment:shop/cart"}`,
		},
		"tracked by label, as argocd-cm in Git says": {
			spec: "source: {repoURL: 'https://git.example.com/org/infra', path: apps}",
			files: cart + `
-- apps/cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm, namespace: argocd}
data: {application.resourceTrackingMethod: annotation+label, application.instanceLabelKey: example.com/app, installationID: eu}
`, key: "Deployment shop/cart",
			want: `
content: {apiVersion: apps/v1, kind: Deployment, metadata: {name: cart, namespace: shop}, spec: {replicas: 1}}
annotations: {argocd.argoproj.io/tracking-id: "shop:apps/Deployment:shop/cart", argocd.argoproj.io/installation-id: eu}
labels: {example.com/app: shop}`,
		},
		"a namespace that Argo CD makes, with the labels that the application wants": {
			spec: `
source: {repoURL: 'https://git.example.com/org/infra', path: apps}
syncPolicy: {syncOptions: [CreateNamespace=true], managedNamespaceMetadata: {labels: {team: shop}}}`,
			files: cart, key: "Namespace shop",
			want: `content: {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: shop}, annotations: {argocd.argoproj.io/sync-options: ServerSideApply=true}}}`,
		},
		"a namespace that is declared goes before one that is made": {
			spec: `
source: {repoURL: 'https://git.example.com/org/infra', path: apps}
syncPolicy: {syncOptions: [CreateNamespace=true]}`,
			files: "-- apps/ns.yaml --\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n", key: "Namespace shop",
			want: `
content: {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {a: b}}}
annotations: {argocd.argoproj.io/tracking-id: "shop:/Namespace:shop/shop"}`,
		},
		"fields that the cluster may keep, said in three ways": {
			spec: `
source: {repoURL: 'https://git.example.com/org/infra', path: apps}
syncPolicy: {syncOptions: [RespectIgnoreDifferences=true]}
ignoreDifferences:
- {group: apps, kind: Deployment, jsonPointers: [/spec/replicas, /metadata/annotations/a~1b, /spec/template/spec/containers/0/image]}
- {group: apps, kind: Deployment, name: cart, jqPathExpressions: ['.spec.template.spec.containers[] | select(.name == "x") | .env', '.a["b/c"]', 'del(.x)']}
- {group: apps, kind: Deployment, name: other, jsonPointers: [/spec]}`,
			files: cart, key: "Deployment shop/cart",
			want: `
content: {apiVersion: apps/v1, kind: Deployment, metadata: {name: cart, namespace: shop}, spec: {replicas: 1}}
annotations: {argocd.argoproj.io/tracking-id: "shop:apps/Deployment:shop/cart"}
ignored: ["spec.replicas**", "metadata.annotations[a/b]**", "spec.template.spec.containers[*].image**", "spec.template.spec.containers[*].env**", "a[b/c]**"]`,
		},
		"kustomize with Argo CD's options": {
			spec: `
source:
  repoURL: 'https://git.example.com/org/infra'
  path: apps
  targetRevision: main
  kustomize:
    namePrefix: eu-
    images: ["nginx=registry.test/nginx:2"]
    replicas: [{name: cart, count: "3"}]
    commonAnnotations: {app: $ARGOCD_APP_NAME}
    commonAnnotationsEnvsubst: true
    commonLabels: {tier: front}
    labelWithoutSelector: true
    patches: [{patch: '[{"op": "add", "path": "/spec/paused", "value": true}]', target: {kind: Deployment}}]`,
			files: `
-- apps/kustomization.yaml --
resources: [cart.yaml]
-- apps/cart.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec: {replicas: 1, selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: c, image: nginx}]}}}
`, key: "Deployment shop/eu-cart",
			want: `
content:
  apiVersion: apps/v1
  kind: Deployment
  metadata: {name: eu-cart, namespace: shop, labels: {tier: front}, annotations: {app: shop}}
  spec: {replicas: 3, paused: true, selector: {matchLabels: {a: b}}, template: {metadata: {annotations: {app: shop}}, spec: {containers: [{name: c, image: "registry.test/nginx:2"}]}}}
annotations: {argocd.argoproj.io/tracking-id: "shop:apps/Deployment:shop/eu-cart"}`,
		},
		"parameters that Git lays over the source": {
			spec: "source: {repoURL: 'https://git.example.com/org/infra', path: apps, kustomize: {namePrefix: eu-}}",
			files: `
-- apps/kustomization.yaml --
resources: [a.yaml]
-- apps/a.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
-- apps/.argocd-source-shop.yaml --
kustomize: {nameSuffix: -green}
`, key: "ConfigMap shop/eu-a-green",
			want: `
content: {apiVersion: v1, kind: ConfigMap, metadata: {name: eu-a-green, namespace: shop}}
annotations: {argocd.argoproj.io/tracking-id: "shop:/ConfigMap:shop/eu-a-green"}`,
		},
		"a hook, which Argo CD may give a finalizer": {
			spec:  "source: {repoURL: 'https://git.example.com/org/infra', path: apps}",
			files: "-- apps/job.yaml --\napiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {argocd.argoproj.io/hook: PreSync}}\n", key: "Job shop/migrate",
			want: `
content: {apiVersion: batch/v1, kind: Job, metadata: {name: migrate, namespace: shop, annotations: {argocd.argoproj.io/hook: PreSync}}}
annotations: {argocd.argoproj.io/tracking-id: "shop:batch/Job:shop/migrate"}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in, revisions := gate(t, argoRoot(test.spec)), map[string]revision{"infra": newRepo(t).commit(test.files)}
			set, err := render(t.Context(), in, revisions)
			check(t, err)
			same(t, described(t, set, test.key), test.want)
			// Once more with the set before: nothing changes.
			in.Previous = set
			again, err := render(t.Context(), in, revisions)
			check(t, err)
			if !reflect.DeepEqual(pointers(again), pointers(set)) {
				t.Errorf("a second rendering of the same commit makes other objects:\n%s", lines(again))
			}
		})
	}
}

func TestWhatArgoCDCannotTakeFromGitIsNamed(t *testing.T) {
	tests := map[string]struct {
		spec, want string
	}{
		"a repository that nobody trusts": {"source: {repoURL: 'https://git.example.com/org/other', path: apps}", "https://git.example.com/org/other is not the URL or an alias of a trusted repository"},
		"a branch that is not verified":   {"source: {repoURL: 'https://git.example.com/org/infra', path: apps, targetRevision: feature}", `it follows "feature" of repository infra; what is verified there is branch main`},
		"a plugin":                        {"source: {repoURL: 'https://git.example.com/org/infra', path: apps, plugin: {name: x}}", "a config management plugin would run programs"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files := "-- apps/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
			// In the configuration it is a mistake; pushed to Git it is told, and the rest stays declared.
			_, err := render(t.Context(), gate(t, argoRoot(test.spec)), map[string]revision{"infra": newRepo(t).commit(files)})
			var problems Problems
			if want := "Application.argoproj.io argocd/shop is not followed: " + test.want; !errors.As(err, &problems) || problems.Error() != want {
				t.Errorf("error %v, want %s", err, want)
			}
			var spec map[string]any
			check(t, yaml.Unmarshal([]byte("destination: {name: in-cluster, namespace: shop}\n"+test.spec), &spec))
			app, err := json.Marshal(map[string]any{"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": map[string]any{"name": "found", "namespace": "argocd"}, "spec": spec})
			check(t, err)
			files += "-- apps/found.json --\n" + string(app) + "\n"
			set, err := render(t.Context(), gate(t, argoRoot("source: {repoURL: 'https://git.example.com/org/infra', path: apps}")), map[string]revision{"infra": newRepo(t).commit(files)})
			check(t, err)
			want := "infra:apps/found.json:1: Application.argoproj.io argocd/found is not followed: " + test.want
			if len(set.Unfollowed) != 1 || set.Unfollowed[0].String() != want || len(set.Objects) != 2 {
				t.Errorf("unfollowed %v of\n%s, want %s", set.Unfollowed, lines(set), want)
			}
		})
	}
}
