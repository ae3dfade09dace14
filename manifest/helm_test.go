package manifest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// webChart is a chart with what charts have: helpers, values, a subchart, hooks, definitions, notes, and a password made up anew each time.
const webChart = `
-- charts/web/Chart.yaml --
apiVersion: v2
name: web
version: 1.2.3
dependencies:
- {name: lib, version: 0.1.0, repository: "file://../lib"}
- {name: extra, version: 0.1.0, condition: extra.enabled}
-- charts/web/values.yaml --
replicas: 1
image: nginx
extra: {enabled: false}
-- charts/web/templates/_helpers.tpl --
{{- define "web.name" -}}{{ .Release.Name }}-{{ .Chart.Name }}{{- end }}
-- charts/web/templates/deployment.yaml --
{{- if .Capabilities.APIVersions.Has "example.com/v1/Widget" }}
# a comment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "web.name" . }}
  labels: {app.kubernetes.io/managed-by: {{ .Release.Service }}}
spec:
  replicas: {{ .Values.replicas }}
  template: {spec: {containers: [{name: web, image: {{ .Values.image }}}]}}
{{- end }}
-- charts/web/templates/secret.yaml --
apiVersion: v1
kind: Secret
metadata: {name: {{ include "web.name" . }}}
stringData: {password: {{ randAlphaNum 12 }}, user: admin}
-- charts/web/templates/hook.yaml --
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {helm.sh/hook: "pre-install,pre-upgrade"}
---
apiVersion: v1
kind: Pod
metadata: {name: try, annotations: {helm.sh/hook: test}}
-- charts/web/templates/NOTES.txt --
Well done: not YAML at all {{ .Release.Name }}
-- charts/web/crds/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.com}
spec: {group: example.com, names: {kind: Gadget}, scope: Cluster}
-- charts/web/.helmignore --
*.bak
-- charts/web/templates/x.bak --
{{ fail "not to be rendered" }}
-- charts/web/charts/extra/Chart.yaml --
apiVersion: v2
name: extra
version: 0.1.0
-- charts/web/charts/extra/templates/x.yaml --
{{ fail "not enabled" }}
-- charts/lib/Chart.yaml --
apiVersion: v2
name: lib
version: 0.1.0
-- charts/lib/templates/service.yaml --
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}-lib, namespace: other, labels: {a: b, a: c}}
spec: {type: {{ .Values.type | default "ClusterIP" }}}
-- crds/widgets.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, names: {kind: Widget}, scope: Namespaced, versions: [{name: v1}]}
`

func TestChartsAreRenderedAsTheirAgentDoes(t *testing.T) {
	flux := kustomizationRoot("", "") + `
    - apiVersion: helm.toolkit.fluxcd.io/v2
      kind: HelmRelease
      metadata: {name: web, namespace: flux-system}
      spec:
        targetNamespace: shop
        chart: {spec: {chart: ./charts/web, sourceRef: {kind: GitRepository, name: infra}, valuesFiles: [charts/web/values.yaml, big.yaml]}}
        install: {createNamespace: true}
        valuesFrom: [{kind: ConfigMap, name: values}, {kind: ConfigMap, name: values, valuesKey: type, targetPath: lib.type}]
        values: {image: "web:2"}
        postRenderers: [{kustomize: {patches: [{patch: '[{"op": "add", "path": "/spec/paused", "value": true}]', target: {kind: Deployment}}]}}]
`
	const more = `
-- big.yaml --
replicas: 5
-- apps/all.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: values, namespace: flux-system}
data: {values.yaml: "image: ignored\nreplicas: 7\n", type: NodePort}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: crds, namespace: flux-system}
spec: {path: crds, sourceRef: {kind: GitRepository, name: infra}}
`
	argo := argoRoot(`
sources:
- repoURL: https://git.example.com/org/infra
  path: charts/web
  helm:
    valueFiles: [$values/big.yaml, missing.yaml]
    ignoreMissingValueFiles: true
    valuesObject: {image: "web:2"}
    parameters: [{name: lib.type, value: NodePort}]
- {repoURL: https://git.example.com/org/infra, ref: values}
- {repoURL: https://git.example.com/org/infra, path: crds}`)
	tests := map[string]struct {
		roots, files string
		want         map[string]string
		absent       []string
	}{
		"helm-controller": {
			roots: flux, files: webChart + more,
			want: map[string]string{
				"Deployment shop/shop-web-web": `
content:
  apiVersion: apps/v1
  kind: Deployment
  metadata: {name: shop-web-web, namespace: shop, labels: {app.kubernetes.io/managed-by: Helm}}
  spec: {replicas: 7, paused: true, template: {spec: {containers: [{name: web, image: "web:2"}]}}}
labels: {helm.toolkit.fluxcd.io/name: web, helm.toolkit.fluxcd.io/namespace: flux-system, app.kubernetes.io/managed-by: Helm}
annotations: {meta.helm.sh/release-name: shop-web, meta.helm.sh/release-namespace: shop}`,
				"Service other/shop-web-lib": `
content: {apiVersion: v1, kind: Service, metadata: {name: shop-web-lib, namespace: other, labels: {a: c}}, spec: {type: NodePort}}
labels: {helm.toolkit.fluxcd.io/name: web, helm.toolkit.fluxcd.io/namespace: flux-system, app.kubernetes.io/managed-by: Helm}
annotations: {meta.helm.sh/release-name: shop-web, meta.helm.sh/release-namespace: shop}`,
				"Job shop/migrate": `
content: {apiVersion: batch/v1, kind: Job, metadata: {name: migrate, namespace: shop, annotations: {helm.sh/hook: "pre-install,pre-upgrade"}}}
labels: {helm.toolkit.fluxcd.io/name: web, helm.toolkit.fluxcd.io/namespace: flux-system}`,
				"CustomResourceDefinition.apiextensions.k8s.io gadgets.example.com": `
content: {apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgets.example.com}, spec: {group: example.com, names: {kind: Gadget}, scope: Cluster}}
labels: {helm.toolkit.fluxcd.io/name: web, helm.toolkit.fluxcd.io/namespace: flux-system}`,
				"Namespace shop": `content: {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {name: shop}}}`,
			},
			absent: []string{"Pod shop/try"},
		},
		"Argo CD": {
			roots: argo, files: webChart + "-- big.yaml --\nreplicas: 5\n",
			want: map[string]string{
				"Deployment shop/shop-web": `
content:
  apiVersion: apps/v1
  kind: Deployment
  metadata: {name: shop-web, namespace: shop, labels: {app.kubernetes.io/managed-by: Helm}}
  spec: {replicas: 5, template: {spec: {containers: [{name: web, image: "web:2"}]}}}
annotations: {argocd.argoproj.io/tracking-id: "shop:apps/Deployment:shop/shop-web"}`,
				"Job shop/migrate": `
content: {apiVersion: batch/v1, kind: Job, metadata: {name: migrate, namespace: shop, annotations: {helm.sh/hook: "pre-install,pre-upgrade"}}}
annotations: {argocd.argoproj.io/tracking-id: "shop:batch/Job:shop/migrate"}`,
				"Service other/shop-lib": `
content: {apiVersion: v1, kind: Service, metadata: {name: shop-lib, namespace: other, labels: {a: c}}, spec: {type: NodePort}}
annotations: {argocd.argoproj.io/tracking-id: "shop:/Service:other/shop-lib"}`,
				"CustomResourceDefinition.apiextensions.k8s.io gadgets.example.com": `
content: {apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gadgets.example.com}, spec: {group: example.com, names: {kind: Gadget}, scope: Cluster}}`,
			},
			absent: []string{"Pod shop/try"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in, revisions := gate(t, test.roots), map[string]revision{"infra": newRepo(t).commit(test.files)}
			set, err := render(t.Context(), in, revisions)
			check(t, err)
			for key, want := range test.want {
				same(t, described(t, set, key), want)
			}
			for _, o := range set.Objects {
				if slices.Contains(test.absent, o.Key.String()) {
					t.Errorf("%s is declared", o.Key)
				}
				if o.Kind == "Secret" && !slices.Equal(o.Opaque, []string{"stringData.password"}) {
					t.Errorf("what cannot be known of %s: %q, want the password", o.Key, o.Opaque)
				}
				if want := "infra:charts/web/templates/deployment.yaml"; o.Kind == "Deployment" && o.Source.place() != want {
					t.Errorf("%s stands in %s, want %s", o.Key, o.Source.place(), want)
				}
			}
			in.Previous = set
			again, err := render(t.Context(), in, revisions)
			check(t, err)
			if lines(again) != lines(set) || len(pointers(again)) != len(pointers(set)) {
				t.Errorf("a second rendering says\n%s\nafter\n%s", lines(again), lines(set))
			}
			for o := range pointers(again) {
				if !pointers(set)[o] {
					t.Errorf("%s was made anew", o.Key)
				}
			}
		})
	}
}

func TestChartsThatCannotBeRenderedAreNamed(t *testing.T) {
	const root = "source: {repoURL: 'https://git.example.com/org/infra', path: c}"
	const chart = "-- c/Chart.yaml --\napiVersion: v2\nname: c\nversion: 0.1.0\n"
	tests := map[string]struct{ files, want string }{
		"a template that fails": {
			chart + "-- c/templates/a.yaml --\n{{ fail \"give me a host\" }}\n", "infra:c/templates/a.yaml:1: give me a host",
		},
		"a dependency that would be fetched": {
			"-- c/Chart.yaml --\napiVersion: v2\nname: c\nversion: 0.1.0\ndependencies: [{name: redis, version: 1.0.0, repository: 'https://127.0.0.1:1'}]\n",
			"infra:c: chart c depends on redis of https://127.0.0.1:1, which is not in its charts folder: put it there, nothing is fetched",
		},
		"a template that makes no YAML": {
			chart + "-- c/templates/a.yaml --\na: b: c\n", "infra:c/templates/a.yaml: renders to something that is not YAML (line 1 of it): mapping values are not allowed in this context",
		},
		"charts that depend on each other": {
			"-- c/Chart.yaml --\napiVersion: v2\nname: c\nversion: 0.1.0\ndependencies: [{name: d, version: 0.1.0, repository: 'file://../d'}]\n" +
				"-- d/Chart.yaml --\napiVersion: v2\nname: d\nversion: 0.1.0\ndependencies: [{name: c, version: 0.1.0, repository: 'file://../c'}]\n",
			"infra:c: chart d: its dependencies lead in a circle",
		},
		"a Kubernetes that it does not support": {
			"-- c/Chart.yaml --\napiVersion: v2\nname: c\nversion: 0.1.0\nkubeVersion: '< 1.10'\n", "infra:c: chart c wants Kubernetes < 1.10, and the cluster is taken for",
		},
		"a name that is looked up": { // EnableDNS is off: the function gives nothing
			chart + "-- c/templates/a.yaml --\n{{ if ne (getHostByName \"localhost\") \"\" }}{{ fail \"DNS\" }}{{ end }}{{ fail \"no DNS\" }}", "no DNS",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := render(t.Context(), gate(t, argoRoot(root)), map[string]revision{"infra": newRepo(t).commit(test.files)})
			var problems Problems
			if !errors.As(err, &problems) || !strings.Contains(problems.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

// A template's message may quote any value, a password among them, and what is refused is told to everybody who reads status, logs and records.
func TestMessagesOfChartsDoNotQuoteValues(t *testing.T) {
	const root = "source: {repoURL: 'https://git.example.com/org/infra', path: c}"
	const chart = "-- c/Chart.yaml --\napiVersion: v2\nname: c\nversion: 0.1.0\n-- c/values.yaml --\npassword: hunter2-hunter2\nlist: [hunter2-hunter2]\ntext: '{{ fail \"hunter2-hunter2\" }}'\n" +
		"-- c/templates/_lib.tpl --\n{{ define \"lib\" }}\n{{ atoi .Values.password | mustToJson | fromJson }}{{ index .Values.list .Values.password }}{{ end }}\n-- c/templates/a.yaml --\n"
	tests := map[string]struct{ template, want string }{
		"fail":                                  {`{{ fail .Values.password }}`, "infra:c/templates/a.yaml:1: the template refuses"},
		"fail with a value":                     {"a: b\n" + `{{ fail (printf "bad password %s" .Values.password) }}`, "infra:c/templates/a.yaml:2: the template refuses"},
		"fail in place":                         {`{{ fail "say who" }}`, "infra:c/templates/a.yaml:1: say who"},
		"required":                              {`{{ required "a host is needed" .Values.host }}`, "infra:c/templates/a.yaml:1: a host is needed"},
		"required with a value":                 {`{{ required .Values.password .Values.host }}`, "the template refuses"},
		"an index":                              {`{{ index .Values.list .Values.password }}`, "infra:c/templates/a.yaml:1: index .Values.list .Values.password: calling index"},
		"in an include":                         {`{{ include "lib" . }}`, `infra:c/templates/a.yaml:1: include "lib" .: calling include: c/templates/_lib.tpl:2`},
		"a text that is a template":             {`{{ tpl .Values.text . }}`, "infra:c/templates/a.yaml:1"},
		"a template in a template that is none": {`{{ tpl (print "{{ oops" .Values.password) . }}`, "infra:c/templates/a.yaml:1"},
		"a range over text":                     {`{{ range .Values.password }}{{ end }}`, "infra:c/templates/a.yaml:1"},
		"a field of text":                       {`{{ .Values.password.length }}`, "can't evaluate field length in type interface {}"},
		"nothing there":                         {`{{ .Values.a.b.c }}`, "infra:c/templates/a.yaml:1: .Values.a.b.c: nil pointer evaluating interface {}.b"},
		"a function that is none":               {`{{ frobnicate }}`, `infra:c/templates/a.yaml:1: function "frobnicate" not defined`},
		"a number":                              {`{{ mustToDate "2006" .Values.password }}`, "infra:c/templates/a.yaml:1"},
		"an include that is none":               {`{{ include .Values.password . }}`, "infra:c/templates/a.yaml:1: include .Values.password .: calling include"},
		"no YAML":                               {`a: "{{ .Values.password }}`, "infra:c/templates/a.yaml: renders to something that is not YAML"},
		"a key that stands twice":               {"a: {b: !!int {{ .Values.password }}}", "infra:c/templates/a.yaml: renders to something that is not YAML"},
		"an anchor":                             {"a: *{{ .Values.password }}", "infra:c/templates/a.yaml: renders to something that is not YAML"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := render(t.Context(), gate(t, argoRoot(root)), map[string]revision{"infra": newRepo(t).commit(chart + test.template + "\n")})
			var problems Problems
			if !errors.As(err, &problems) || !strings.Contains(problems.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			if strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("the message quotes a value: %v", err)
			}
		})
	}
}

// What one rendering has and the other has not must not shift what is compared: then a chart would open every field of its objects.
func TestWhatAChartMakesUpIsKnownObjectByObject(t *testing.T) {
	const chart = `
-- c/Chart.yaml --
apiVersion: v2
name: c
version: 0.1.0
-- c/values.yaml --
note: "{{ now | unixEpoch }}"
-- c/templates/a.yaml --
{{- if .Release.IsInstall }}
apiVersion: v1
kind: Secret
metadata: {name: first}
stringData: {user: admin}
{{- else }}
apiVersion: v1
kind: ConfigMap
metadata: {name: upgraded}
{{- end }}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job-{{ randAlphaNum 12 | lower }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {year: {{ now | date "2006" | quote }}}}
spec: {replicas: 1, template: {spec: {containers: [{name: web, image: web, env: [{name: A, value: a}, {name: B, value: {{ randAlphaNum 12 | quote }}}]}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: note}
data: {note: {{ tpl .Values.note . | quote }}, revision: "{{ .Release.Revision }}", same: x}
`
	in := gate(t, argoRoot("source: {repoURL: 'https://git.example.com/org/infra', path: c}"))
	revisions := map[string]revision{"infra": newRepo(t).commit(chart)}
	set, err := render(t.Context(), in, revisions)
	check(t, err)
	want := map[string][]string{
		"Secret shop/first": nil, "ConfigMap shop/upgraded": nil,
		"Deployment shop/web": {"metadata.annotations.year", "spec.template.spec.containers[0].env[1].value"}, "ConfigMap shop/note": {"data.note", "data.revision"},
	}
	have := map[string][]string{}
	for _, o := range set.Objects {
		if o.Source.Path == "c/templates/a.yaml" {
			have[o.Key.String()] = o.Opaque
		}
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("objects, and what of them is made up: %q, want %q", have, want)
	}
	const unfollowed = "infra:c/templates/a.yaml: the chart makes up the name of a Job anew each time: it is not declared"
	for range 2 {
		if len(set.Unfollowed) != 1 || set.Unfollowed[0].String() != unfollowed {
			t.Errorf("not followed: %v, want %s", set.Unfollowed, unfollowed)
		}
		in.Previous = set
		set, err = render(t.Context(), in, revisions)
		check(t, err)
	}
}
