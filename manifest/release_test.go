package manifest

import (
	"strings"
	"testing"
)

func TestAPipelinesReleaseIsWhatTheConfigurationSays(t *testing.T) {
	const chart = `
-- charts/web/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- charts/web/values.yaml --
replicas: 1
image: web:1
-- charts/web/crds/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, scope: Namespaced, names: {kind: Widget, plural: widgets}, versions: [{name: v1}]}
-- charts/web/templates/all.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec: {replicas: {{ .Values.replicas }}, image: {{ .Values.image }}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {helm.sh/hook: pre-upgrade, helm.sh/hook-delete-policy: hook-succeeded}}
---
apiVersion: v1
kind: Pod
metadata: {name: check, annotations: {helm.sh/hook: test}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kept, annotations: {helm.sh/resource-policy: keep}}
-- env/all.yaml --
replicas: 2
-- env/prod.yaml --
replicas: 3
`
	const root = `  - {repository: infra, path: charts/web, agent: ci, release: {name: web, namespace: shop, valuesFiles: [env/all.yaml, env/prod.yaml]MORE}}`
	tests := map[string]struct {
		roots string
		want  string
		wrong string
	}{
		"as helm upgrade --install": {
			roots: root,
			want: `
ConfigMap shop/kept	infra:charts/web/templates/all.yaml:0	no-prune
CustomResourceDefinition.apiextensions.k8s.io widgets.example.com	infra:charts/web/crds/crd.yaml:0	no-prune
Deployment shop/web	infra:charts/web/templates/all.yaml:0
Job shop/migrate	infra:charts/web/templates/all.yaml:0	hook
`,
		},
		"with its flags": {
			roots: strings.ReplaceAll(root, "MORE", ", createNamespace: true, noHooks: true, skipCRDs: true, rollbackOnFailure: true"),
			want: `
ConfigMap shop/kept	infra:charts/web/templates/all.yaml:0	recreate	no-prune
Namespace shop	infra:charts/web:0
Deployment shop/web	infra:charts/web/templates/all.yaml:0	recreate
`,
		},
		"with its tests, twice of one chart": {
			roots: `  - {repository: infra, path: charts/web, agent: ci, release: {name: web, namespace: shop, tests: true, skipCRDs: true}}
  - {repository: infra, path: charts/web, agent: ci, release: {name: web, namespace: bar, noHooks: true, skipCRDs: true}}`,
			want: `
ConfigMap bar/kept	infra:charts/web/templates/all.yaml:0	no-prune
ConfigMap shop/kept	infra:charts/web/templates/all.yaml:0	no-prune
Pod shop/check	infra:charts/web/templates/all.yaml:0	hook
Deployment bar/web	infra:charts/web/templates/all.yaml:0
Deployment shop/web	infra:charts/web/templates/all.yaml:0
Job shop/migrate	infra:charts/web/templates/all.yaml:0	hook
`,
		},
		"of a folder that holds no chart": {
			roots: `  - {repository: infra, path: env, agent: ci, release: {name: web, namespace: shop}}`,
			wrong: "infra: no chart in folder env: a root of the configuration makes release shop/web of it",
		},
		"with values that are not there": {
			roots: `  - {repository: infra, path: charts/web, agent: ci, release: {name: web, namespace: shop, valuesFiles: [env/test.yaml]}}`,
			wrong: "infra: no file env/test.yaml: root infra:charts/web (release shop/web) takes values from it",
		},
		"a chart without a release": {
			roots: `  - {repository: infra, path: charts/web, agent: ci}`,
			wrong: "infra:charts/web: a chart, of which release and values are not known: say them in the root's release",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := render(t.Context(), gate(t, strings.ReplaceAll(test.roots, "MORE", "")), map[string]revision{"infra": newRepo(t).commit(chart)})
			if test.wrong != "" {
				if err == nil || err.Error() != test.wrong {
					t.Errorf("error\n%v\nwant\n%s", err, test.wrong)
				}
				return
			}
			check(t, err)
			if have := "\n" + lines(set); have != test.want {
				t.Errorf("have%s\nwant%s", have, test.want)
			}
			if web := described(t, set, "Deployment shop/web"); strings.Contains(test.roots, "prod.yaml") && !strings.Contains(web, "replicas: 3") ||
				!strings.Contains(web, "meta.helm.sh/release-name: web") || !strings.Contains(web, "image: web:1") {
				t.Errorf("Deployment shop/web\n%s", web)
			}
		})
	}
}
