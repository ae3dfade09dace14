package manifest

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestErrorsOfKustomizeQuoteNoSecret: a Secret may stand in Git in the clear (a private repository, a default for development), and who reads the gate's logs
// and status need not be who reads Git.
func TestErrorsOfKustomizeQuoteNoSecret(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	secret := "-- apps/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: shop}\ndata: {password: " + encoded + "}\n"
	tests := map[string]string{
		"a literal that is none":                   "-- apps/kustomization.yaml --\nnamespace: shop\nsecretGenerator: [{name: s, literals: [" + canary + "]}]\n",
		"a literal without a key":                  "-- apps/kustomization.yaml --\nnamespace: shop\nsecretGenerator: [{name: s, literals: [\"=" + canary + "\"]}]\n",
		"a literal twice":                          "-- apps/kustomization.yaml --\nnamespace: shop\nsecretGenerator: [{name: s, literals: [a=" + canary + ", a=" + canary + "]}]\n",
		"a key twice in a file":                    "-- apps/kustomization.yaml --\nnamespace: shop\nsecretGenerator: [{name: s, envs: [s.env]}]\n-- apps/s.env --\nA=" + canary + "\nA=" + canary + "\n",
		"a patch in place that cannot be read":     "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\npatches:\n- target: {kind: Secret}\n  patch: |\n    stringData: {password: " + canary + "\n" + secret,
		"a patch in place of no kind":              "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\npatches:\n- patch: |\n    stringData:\n      password: " + canary + "\n" + secret,
		"operations that cannot be done":           "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\npatches:\n- target: {kind: Secret}\n  patch: |\n    - op: test\n      path: /data/password\n      value: " + canary + "\n" + secret,
		"a patch in a file that cannot be one":     "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\npatches: [{path: p.yaml, target: {kind: Secret}}]\n-- apps/p.yaml --\npassword: " + canary + "\n" + secret,
		"a patch in a file that cannot be read":    "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\npatches: [{path: p.yaml, target: {kind: Secret}}]\n-- apps/p.yaml --\npassword: [" + canary + "\n" + secret,
		"a Secret that is none":                    "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\n-- apps/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: [" + canary + "]}\nstringData: {a: " + canary + "}\n",
		"a Secret whose data is a text":            "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\npatches: [{patch: '{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"s\"}, \"data\": {\"a\": \"b\"}}'}]\n-- apps/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: " + canary + "\n",
		"a replacement that finds no place":        "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\nreplacements: [{source: {kind: Secret, fieldPath: data.password}, targets: [{select: {kind: Secret}, fieldPaths: [metadata.name.deeper]}]}]\n" + secret,
		"a replacement that finds no source":       "-- apps/kustomization.yaml --\nnamespace: shop\nresources: [s.yaml]\nreplacements: [{source: {kind: Secret, fieldPath: data.password.deeper}, targets: [{select: {kind: Secret}, fieldPaths: [metadata.name]}]}]\n" + secret,
		"a generator that merges into nothing":     "-- apps/kustomization.yaml --\nnamespace: shop\nsecretGenerator: [{name: s, behavior: merge, literals: [a=" + canary + "]}]\n",
		"a generator of a field that is not known": "-- apps/kustomization.yaml --\nnamespace: shop\nsecretGenerator: [{name: s, literal: [a=" + canary + "]}]\n",
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := render(t.Context(), gate(t, kustomizationRoot("", "")), map[string]revision{"infra": newRepo(t).commit(files)})
			if err == nil {
				t.Fatal("it is rendered")
			}
			t.Log(err)
			for _, text := range []string{canary, "corvus", encoded, encoded[:12]} {
				if strings.Contains(err.Error(), text) {
					t.Errorf("it quotes %q", text)
				}
			}
		})
	}
}
