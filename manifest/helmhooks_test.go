package manifest

import (
	"slices"
	"testing"
)

// What Git tells helm-controller to leave alone, somebody else sets: an autoscaler's number of replicas outlives an upgrade.
func TestWhatHelmControllerIgnoresIsLeftToOthers(t *testing.T) {
	const chart = `
-- charts/web/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- charts/web/templates/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {scaled: "yes"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db}
`
	for name, test := range map[string]struct {
		rule    string
		web, db []string
	}{
		"everywhere":              {"{paths: [/spec/replicas]}", []string{"spec.replicas**"}, []string{"spec.replicas**"}},
		"a kind":                  {"{paths: [/spec/replicas], target: {group: apps, version: v1, kind: Deploy.*}}", []string{"spec.replicas**"}, []string{"spec.replicas**"}},
		"another kind":            {"{paths: [/spec/replicas], target: {kind: Deploy}}", nil, nil},
		"a name":                  {"{paths: [/spec/replicas], target: {name: w.b}}", []string{"spec.replicas**"}, nil},
		"a namespace":             {"{paths: [/spec/replicas], target: {namespace: other}}", nil, nil},
		"labels":                  {"{paths: [/spec/replicas], target: {labelSelector: scaled=yes}}", []string{"spec.replicas**"}, nil},
		"annotations":             {"{paths: [/spec/replicas], target: {annotationSelector: '!scaled'}}", []string{"spec.replicas**"}, []string{"spec.replicas**"}},
		"a selector that is none": {"{paths: [/spec/replicas], target: {labelSelector: '((('}}", nil, nil},
		"a name that is none":     {"{paths: [/spec/replicas], target: {name: '((('}}", nil, nil},
		"the object as a whole":   {`{paths: [""]}`, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := kustomizationRoot("", "") + `
    - apiVersion: helm.toolkit.fluxcd.io/v2
      kind: HelmRelease
      metadata: {name: web, namespace: shop}
      spec:
        chart: {spec: {chart: ./charts/web, sourceRef: {kind: GitRepository, name: infra, namespace: flux-system}}}
        driftDetection: {mode: enabled, ignore: [` + test.rule + `]}
`
			set, err := render(t.Context(), gate(t, root), map[string]revision{"infra": newRepo(t).commit("-- apps/a.yaml --\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n" + chart)})
			check(t, err)
			for _, o := range set.Objects {
				want := map[string][]string{"web": test.web, "db": test.db}[o.Name]
				if o.Kind == "Deployment" && !slices.Equal(o.Apply.Ignored, want) {
					t.Errorf("of %s %q are ignored, want %q", o.Key, o.Apply.Ignored, want)
				}
			}
		})
	}
}

// Helm 3 keeps hooks from post-renderers, Helm 4 does not, and Flux has had both as its default: which of both a gate would have to know to refuse one.
func TestHooksAreDeclaredAsEachHelmMakesThem(t *testing.T) {
	const chart = `
-- charts/web/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- charts/web/templates/hooks.yaml --
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {helm.sh/hook: pre-upgrade}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
`
	const patch = `    postRenderers: [{kustomize: {patches: [{patch: '[{"op": "add", "path": "/metadata/annotations/patched", "value": "yes"}]', target: {kind: Job}}]}}]
        commonMetadata: {labels: {team: red}}
`
	const unfit = `    postRenderers: [{kustomize: {patches: [{patch: '[{"op": "remove", "path": "/spec/suspend"}]', target: {kind: Job}}]}}]
`
	const plain = "annotations: {helm.sh/hook: pre-upgrade}"
	const patched = `annotations: {helm.sh/hook: pre-upgrade, patched: "yes"}, labels: {team: red}`
	const labels = "\nlabels: {helm.toolkit.fluxcd.io/name: web, helm.toolkit.fluxcd.io/namespace: shop}"
	content := func(metadata string) string {
		return "content: {apiVersion: batch/v1, kind: Job, metadata: {name: migrate, namespace: shop, " + metadata + "}}"
	}
	for name, test := range map[string]struct{ spec, want, otherwise string }{
		"nothing said":              {patch, content(patched) + labels, content(plain)},
		"nothing rendered":          {"", content(plain) + labels, content(plain)},
		"combined":                  {patch + "        postRenderStrategy: combined\n", content(patched) + labels, ""},
		"separate":                  {patch + "        postRenderStrategy: separate\n", content(patched) + labels, ""},
		"nohooks":                   {patch + "        postRenderStrategy: nohooks\n", content(plain), ""},
		"nohooks, nothing rendered": {"    postRenderStrategy: nohooks\n", content(plain), ""},
		"a patch that fits no hook": {unfit, content(plain), ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := kustomizationRoot("", "") + `
    - apiVersion: helm.toolkit.fluxcd.io/v2
      kind: HelmRelease
      metadata: {name: web, namespace: shop}
      spec:
        chart: {spec: {chart: ./charts/web, sourceRef: {kind: GitRepository, name: infra, namespace: flux-system}}}
    ` + test.spec
			set, err := render(t.Context(), gate(t, root), map[string]revision{"infra": newRepo(t).commit("-- apps/a.yaml --\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n" + chart)})
			check(t, err)
			i := slices.IndexFunc(set.Objects, func(o *Object) bool { return o.Kind == "Job" })
			if i < 0 {
				t.Fatalf("no hook is declared:\n%s", lines(set))
			}
			same(t, described(t, set, "Job shop/migrate"), test.want)
			other := set.Objects[i].Otherwise
			if (other != nil) != (test.otherwise != "") {
				t.Fatalf("the other form is %v, want %q", other, test.otherwise)
			}
			if other != nil {
				same(t, described(t, &Set{Objects: []*Object{other}}, "Job shop/migrate"), test.otherwise)
			}
		})
	}
}
