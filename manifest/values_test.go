package manifest

import (
	"slices"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/test/sopstool"
)

// substitutesFrom is a Kustomization that substitutes in the folder shop what a Secret says.
const substitutesFrom = `
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec: {path: shop, sourceRef: {kind: GitRepository, name: infra}, postBuild: {substitute: {REGION: eu, KEPT: "$${REGION}"}, substituteFrom: [{kind: Secret, name: vars}]}}
`

// takesValues is a HelmRelease that takes values from Secrets.
const takesValues = `
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: web, namespace: flux-system}
spec:
  targetNamespace: shop
  chart: {spec: {chart: ./chart, sourceRef: {kind: GitRepository, name: infra}}}
  values: {own: from the release}
  valuesFrom:
`

const secretChart = `
-- chart/Chart.yaml --
apiVersion: v2
name: web
version: 1.0.0
-- chart/values.yaml --
database: {host: localhost}
replicas: 1
monitoring: false
-- chart/templates/all.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {checksum: "{{ toYaml .Values.database | sha256sum }}"}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:1
        env:
        - {name: HOST, value: {{ .Values.database.host | quote }}}
        - {name: URL, value: "postgres://web:{{ .Values.database.password }}@{{ .Values.database.host }}/web"}
---
apiVersion: v1
kind: Secret
metadata: {name: db}
data: {password: {{ .Values.database.password | b64enc | quote }}}
stringData: {upper: {{ upper .Values.database.password | quote }}}
---
{{- if gt (int .Values.replicas) 1 }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
---
{{- end }}
{{- if .Values.monitoring }}
apiVersion: v1
kind: ConfigMap
metadata: {name: monitoring}
data: {on: "yes"}
{{- end }}
`

const secretVars = "apiVersion: v1\nkind: Secret\nmetadata: {name: vars, namespace: flux-system}\nstringData:\n  PASSWORD: " + canary + "\n  PORT: \"5432\"\n  ON: \"true\"\n"

const shopWithVariables = `
-- shop/all.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {region: "${REGION}"}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: ${ON}
      containers:
      - name: web
        image: web:1
        args: ["--password=${PASSWORD}", "--region=${REGION}", "--kept=${KEPT}"]
        readinessProbe:
          initialDelaySeconds: ${PORT}
          httpGet: {path: /, port: 8080}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nothing-to-hide, namespace: shop}
data: {region: "${REGION}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: untouched, namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}}
data: {password: "${PASSWORD}"}
`

// secretValues is a Secret with values of a chart, and more entries.
func secretValues(values, entries string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: values, namespace: flux-system}\nstringData:\n  values.yaml: |\n    database: {host: db.example.com, password: " + canary + "}\n" + values + entries
}

// TestValuesFromEncryptedSecrets: what is rendered from a Secret that Git holds encrypted is compared as that Secret itself is, wherever it came out.
func TestValuesFromEncryptedSecrets(t *testing.T) {
	decryptAndCompare(t, map[string]encryptedTree{
		"variables": {
			files:     "-- apps/vars.yaml --\n" + secretVars + "-- apps/flux.yaml --" + substitutesFrom + shopWithVariables,
			encrypted: map[string][]string{"apps/vars.yaml": dataOnly()},
		},
		"variables from a Secret of which variables are replaced itself": {
			spec:      "postBuild: {substitute: {tail: -tail}}",
			files:     "-- apps/vars.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: vars, namespace: flux-system}\nstringData: {PASSWORD: \"" + canary + "${tail}\", PORT: \"1\", ON: \"false\"}\n-- apps/flux.yaml --" + substitutesFrom + shopWithVariables,
			encrypted: map[string][]string{"apps/vars.yaml": dataOnly()},
		},
		"variables from a generator of a Secret": {
			files: "-- apps/kustomization.yaml --\nresources: [flux.yaml]\ngeneratorOptions: {disableNameSuffixHash: true}\nsecretGenerator: [{name: vars, namespace: flux-system, envs: [vars.env]}]\n" +
				"-- apps/vars.env --\nPASSWORD=" + canary + "\nPORT=17\nON=true\n-- apps/flux.yaml --" + substitutesFrom + shopWithVariables,
			encrypted: map[string][]string{"apps/vars.env": nil},
		},
		"variables in what an encrypted patch holds": {
			files: "-- apps/kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: patch.yaml}]\n-- apps/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop, labels: {region: \"${REGION}\"}}\n" +
				"-- apps/patch.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\ndata: {url: \"" + canary + "${REGION}\", kept: \"" + canary + "$${REGION}\", other: plain}\n",
			spec:      "postBuild: {substitute: {REGION: eu}}",
			encrypted: map[string][]string{"apps/patch.yaml": {"--encrypted-regex", "^(url|kept)$"}},
		},
		"hidden variables in what an encrypted patch holds": {
			files: "-- apps/vars.yaml --\n" + secretVars + "-- apps/flux.yaml --" + strings.Replace(substitutesFrom, "path: shop,", "path: shop, decryption: {provider: sops},", 1) +
				"-- shop/kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: patch.yaml}]\n-- shop/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n" +
				"-- shop/patch.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\ndata: {url: \"https://" + canary + ":${PASSWORD}\", in: \"${REGION}\", tail: \"x-${PASSWORD}\"}\n",
			encrypted: map[string][]string{"apps/vars.yaml": dataOnly(), "shop/patch.yaml": {"--encrypted-regex", "^url$"}},
		},
		"hidden variables in what is encrypted": {
			files: "-- apps/vars.yaml --\n" + secretVars + "-- apps/flux.yaml --" + strings.Replace(substitutesFrom, "path: shop,", "path: shop, decryption: {provider: sops},", 1) +
				"-- shop/a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: shop, annotations: {x: \"${PASSWORD}\"}}\nstringData: {url: \"https://" + canary + ":${PASSWORD}\", in: \"${REGION}\"}\n",
			encrypted: map[string][]string{"apps/vars.yaml": dataOnly(), "shop/a.yaml": dataOnly()},
		},
		"values of a chart": {
			files:     "-- apps/values.yaml --\n" + secretValues("    replicas: 3\n    monitoring: true\n", "") + "-- apps/flux.yaml --" + takesValues + "  - {kind: Secret, name: values}\n" + secretChart,
			encrypted: map[string][]string{"apps/values.yaml": dataOnly()},
		},
		"values of a chart, whose objects are patched after that": {
			files: "-- apps/values.yaml --\n" + secretValues("    replicas: 3\n", "") + "-- apps/flux.yaml --" + takesValues + "  - {kind: Secret, name: values}\n" +
				"  postRenderers: [{kustomize: {patches: [{target: {kind: Deployment}, patch: '[{\"op\": \"add\", \"path\": \"/spec/template/spec/containers/0/env/0\", \"value\": {\"name\": \"FIRST\", \"value\": \"plain\"}}]'}]}}]\n" + secretChart,
			encrypted: map[string][]string{"apps/values.yaml": dataOnly()},
		},
		"values of a chart in one place, over others": {
			files: "-- apps/values.yaml --\n" + secretValues("", "  password: other-"+canary+"\n") + "-- apps/flux.yaml --" + takesValues +
				"  - {kind: Secret, name: values}\n  - {kind: Secret, name: values, valuesKey: password, targetPath: database.password}\n  - {kind: Secret, name: none, optional: true}\n" + secretChart,
			encrypted: map[string][]string{"apps/values.yaml": dataOnly()},
		},
	})
}

// TestValuesThatNobodyKnows: without a key the fields that such a value reaches are known by their shape only, and all others as ever.
func TestValuesThatNobodyKnows(t *testing.T) {
	s := sopstool.New(t)
	types, err := account.NewTypes(nil)
	check(t, err)
	tests := map[string]struct {
		tree  encryptedTree
		shape map[string][]string // by object
		lost  string              // what is not followed, and why
	}{
		"variables": {
			tree: encryptedTree{files: "-- apps/vars.yaml --\n" + secretVars + "-- apps/flux.yaml --" + substitutesFrom + shopWithVariables, encrypted: map[string][]string{"apps/vars.yaml": dataOnly()}},
			shape: map[string][]string{"Deployment shop/web": {"spec.template.spec.automountServiceAccountToken", "spec.template.spec.containers[0].args[0]",
				"spec.template.spec.containers[0].readinessProbe.initialDelaySeconds"}, "ConfigMap shop/nothing-to-hide": nil, "ConfigMap shop/untouched": nil},
		},
		"a variable in a name": {
			tree: encryptedTree{files: "-- apps/vars.yaml --\n" + secretVars + "-- apps/flux.yaml --" + substitutesFrom + shopWithVariables +
				"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"a-${PORT}\", namespace: shop}\n", encrypted: map[string][]string{"apps/vars.yaml": dataOnly()}},
			shape: map[string][]string{"ConfigMap shop/nothing-to-hide": nil},
			lost: "infra:shop/all.yaml:28: ConfigMap is not declared: Kustomization.kustomize.toolkit.fluxcd.io flux-system/shop substitutes its variables, and more than single fields depends on " +
				"PORT of Secret flux-system/vars, which no key at hand opens (spec.decryption of the Gate)",
		},
		"a value of a chart in one place": {
			tree: encryptedTree{files: "-- apps/values.yaml --\n" + secretValues("", "  password: "+canary+"\n") + "-- apps/flux.yaml --" + takesValues +
				"  - {kind: Secret, name: values, valuesKey: password, targetPath: database.password}\n" + secretChart, encrypted: map[string][]string{"apps/values.yaml": dataOnly()}},
			shape: map[string][]string{"Deployment shop/web": {"metadata.annotations.checksum", "spec.template.spec.containers[0].env[1].value"}, "Secret shop/db": {"data.password", "stringData.upper"}},
		},
		"all values of a chart": {
			tree: encryptedTree{files: "-- apps/values.yaml --\n" + secretValues("", "") + "-- apps/flux.yaml --" + takesValues + "  - {kind: Secret, name: values}\n" + secretChart,
				encrypted: map[string][]string{"apps/values.yaml": dataOnly()}},
			lost: "infra:apps/flux.yaml:2: HelmRelease.helm.toolkit.fluxcd.io flux-system/web is not followed: it takes all of its values from values.yaml of Secret flux-system/values, which no key at hand opens (spec.decryption of the Gate)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := renderTree(t, gate(t, kustomizationRoot("", test.tree.spec)), test.tree.plain())
			in := gate(t, kustomizationRoot("", "decryption: {provider: sops}\n"+test.tree.spec))
			set := renderTree(t, in, test.tree.sealed(t, s, "--age", s.Stranger))
			var lost []string
			for _, p := range set.Unfollowed {
				lost = append(lost, p.String())
			}
			if strings.Join(lost, "\n") != test.lost {
				t.Errorf("not followed:\n%s\nwant\n%s", strings.Join(lost, "\n"), test.lost)
			}
			for key, shape := range test.shape {
				o, applied := objectOf(t, set, key), objectOf(t, want, key)
				slices.Sort(shape)
				if !slices.Equal(o.Opaque, shape) {
					t.Errorf("%s: opaque %q, want %q", key, o.Opaque, shape)
				}
				declared, err := types.Declare(account.Declaration{Content: o.Content, Labels: o.Adds.Labels, Annotations: o.Adds.Annotations, Opaque: o.Opaque, Sealed: o.Sealed})
				check(t, err)
				live := liveForm(t, applied.Applied())
				if result := declared.Explain(account.Change{Object: live}); !result.Faithful() || result.Decrypted || result.Opaque != (len(shape) > 0) {
					t.Errorf("%s: %+v", key, result)
				}
				forged := edited(live, []string{"metadata", "labels", "kustomize.toolkit.fluxcd.io/name"})
				if o.Adds.Labels["kustomize.toolkit.fluxcd.io/name"] == "" {
					forged = edited(live, []string{"metadata", "labels", "helm.toolkit.fluxcd.io/name"})
				}
				if result := declared.Explain(account.Change{Object: forged.(map[string]any)}); result.Faithful() {
					t.Errorf("%s: another value of a field that everybody knows is explained", key)
				}
			}
		})
	}
}

// TestValuesAreTakenAgain: whoever takes a decrypted value changes, and the Secret does not; then the Secret changes, and whoever takes it does not.
func TestValuesAreTakenAgain(t *testing.T) {
	s := sopstool.New(t)
	types, err := account.NewTypes(nil)
	check(t, err)
	in := gate(t, kustomizationRoot("", "decryption: {provider: sops}\n"))
	in.Decryption = decryption(t, s)
	sealedVars := s.Encrypt(t, "vars.yaml", secretVars, append(dataOnly(), "--age", s.Age)...)
	files := func(vars, shop string) string {
		return "-- apps/vars.yaml --\n" + vars + "-- apps/flux.yaml --" + substitutesFrom + shop
	}
	in.Previous = renderTree(t, in, files(sealedVars, shopWithVariables))
	changed := strings.ReplaceAll(shopWithVariables, "image: web:1", "image: web:2")
	steps := []struct{ vars, shop, plain string }{
		{sealedVars, changed, secretVars},
		{s.Encrypt(t, "vars.yaml", strings.ReplaceAll(secretVars, canary, canary+"-rotated"), append(dataOnly(), "--age", s.Age)...), changed, strings.ReplaceAll(secretVars, canary, canary+"-rotated")},
	}
	for i, step := range steps {
		set := renderTree(t, in, files(step.vars, step.shop))
		want := renderTree(t, gate(t, kustomizationRoot("", "")), files(step.plain, step.shop))
		compareSealed(t, types, objectOf(t, set, "Deployment shop/web"), objectOf(t, want, "Deployment shop/web"))
		if at := holding(set, canary); at != "" {
			t.Errorf("step %d: a decrypted value is kept: %s", i, at)
		}
		in.Previous = set
	}
}

// TestErrorsOfValuesQuoteNothing: what is said of what cannot be rendered ends in logs, in status and in records.
func TestErrorsOfValuesQuoteNothing(t *testing.T) {
	s := sopstool.New(t)
	chart := func(template string) string {
		return "-- chart/Chart.yaml --\napiVersion: v2\nname: web\nversion: 1.0.0\n-- chart/templates/a.yaml --\n" + template + "\n"
	}
	release := "-- apps/flux.yaml --" + takesValues + "  - {kind: Secret, name: values}\n"
	encrypted := map[string][]string{"apps/values.yaml": dataOnly()}
	tests := map[string]encryptedTree{
		"a chart that fails with a value": {
			files:     "-- apps/values.yaml --\n" + secretValues("", "") + release + chart("{{ fail .Values.database.password }}"),
			encrypted: encrypted,
		},
		"a chart that fails with the real value alone": {
			files:     "-- apps/values.yaml --\n" + secretValues("", "") + release + chart("{{ if contains \"corvus\" .Values.database.password }}{{ fail .Values.database.password }}{{ end }}"),
			encrypted: encrypted,
		},
		"a chart whose objects are called by a value": {
			files: "-- apps/values.yaml --\n" + secretValues("", "") + release + chart("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Values.database.password }}}"), encrypted: encrypted,
		},
		"a chart in which an item of a list is called by a value": {
			files: "-- apps/values.yaml --\n" + secretValues("", "") + release +
				chart("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: i, env: [{name: {{ .Values.database.password }}, value: x}]}]}"), encrypted: encrypted,
		},
		"values that are no YAML": {
			files:     "-- apps/values.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: values, namespace: flux-system}\nstringData: {values.yaml: \"a: [" + canary + "\"}\n" + release + chart("# nothing"),
			encrypted: encrypted,
		},
		"a value that cannot be set": {
			files: "-- apps/values.yaml --\n" + secretValues("", "  a: \"{"+canary+"\"\n") + "-- apps/flux.yaml --" + takesValues +
				"  - {kind: Secret, name: values, valuesKey: a, targetPath: b}\n" + chart("# nothing"),
			encrypted: encrypted,
		},
		"a variable with which there is no YAML": {
			files: "-- apps/vars.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: vars, namespace: flux-system}\nstringData: {V: \"[" + canary + "\"}\n-- apps/flux.yaml --" + substitutesFrom +
				"-- shop/a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\ndata: {a: \"x\\n${V}\"}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n  namespace: shop\n  labels: ${V}\n",
			encrypted: map[string][]string{"apps/vars.yaml": dataOnly()},
		},
	}
	for name, tree := range tests {
		t.Run(name, func(t *testing.T) {
			in := gate(t, kustomizationRoot("", "decryption: {provider: sops}\n"+tree.spec))
			in.Decryption = decryption(t, s)
			set, err := render(t.Context(), in, map[string]revision{"infra": newRepo(t).commit(tree.sealed(t, s, "--age", s.Age))})
			said := ""
			if err != nil {
				said = err.Error()
			} else {
				said = Problems(set.Unfollowed).Error()
			}
			if said == "" || strings.Contains(said, canary) || strings.Contains(said, "corvus") {
				t.Errorf("got %q", said)
			}
			t.Log(said)
		})
	}
}

// TestPatchesMoveMarks: what stands beside a hidden value after a patch is judged as ever.
func TestPatchesMoveMarks(t *testing.T) {
	s := sopstool.New(t)
	types, err := account.NewTypes(nil)
	check(t, err)
	in := gate(t, kustomizationRoot("", "decryption: {provider: sops}\n"))
	in.Decryption = decryption(t, s)
	tree := encryptedTree{
		files: "-- apps/values.yaml --\n" + secretValues("", "") + "-- apps/flux.yaml --" + takesValues + "  - {kind: Secret, name: values}\n" +
			"  postRenderers: [{kustomize: {patches: [{target: {kind: Deployment}, patch: '[{\"op\": \"add\", \"path\": \"/spec/template/spec/containers/0/env/0\", \"value\": {\"name\": \"FIRST\", \"value\": \"plain\"}}]'}]}}]\n" + secretChart,
		encrypted: map[string][]string{"apps/values.yaml": dataOnly()},
	}
	o := objectOf(t, renderTree(t, in, tree.sealed(t, s, "--age", s.Age)), "Deployment shop/web")
	applied := objectOf(t, renderTree(t, gate(t, kustomizationRoot("", "")), tree.plain()), "Deployment shop/web").Applied()
	declared, err := types.Declare(account.Declaration{Content: o.Content, Labels: o.Adds.Labels, Annotations: o.Adds.Annotations, Opaque: o.Opaque, Sealed: o.Sealed})
	check(t, err)
	if result := declared.Explain(account.Change{Object: liveForm(t, applied)}); !result.Faithful() {
		t.Errorf("%+v", result)
	}
	forged := edited(applied, []string{"spec", "template", "spec", "containers", "0", "env", "0", "value"})
	first, _ := deepClone(applied).(map[string]any)
	env := listOf(childMap(listOf(childMap(first, "spec", "template", "spec")["containers"])[0].(map[string]any))["env"])
	env[0].(map[string]any)["value"] = "forged"
	for _, live := range []map[string]any{forged.(map[string]any), first} {
		if result := declared.Explain(account.Change{Object: liveForm(t, live)}); result.Faithful() {
			t.Errorf("another value of a variable is explained: opaque %q", o.Opaque)
		}
	}
}
