package install

import (
	"reflect"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/guard"
)

// TestBackstop: what the chart renders is what commitgate backstop makes of the configuration that the chart renders, and the gate watches it.
func TestBackstop(t *testing.T) {
	tests := map[string]string{
		"the least": `gate: {mode: Enforce}`,
		"everything": `
presets: {argocd: {enabled: true}, fleet: {enabled: true}}
agents:
- {name: ci, preset: Pipeline, users: ["system:serviceaccount:ci:deployer"]}
- {name: hub, preset: Fleet, users: ["system:serviceaccount:cattle-fleet-local-system:fleet-agent", "system:serviceaccount:cattle-fleet-system:fleet-controller"]}
- {name: old, preset: Fleet, users: ["system:serviceaccount:fleet-system:fleet-controller"], fleet: {namespace: clusters, name: c1}}
gate:
  mode: Warn
  overrides: [{namespaces: [""], mode: Enforce}, {namespaces: [shop], scope: Declared}, {namespaces: ["team-*", shop], mode: Enforce}, {kinds: [Secret], mode: Enforce}, {reasons: [PolicyDenied], mode: Audit}]
  exemptions: [{name: operators, users: [z, a], groups: [b], reason: because}, {name: people, users: [a], groups: [c, b], reason: because}]
certificates: {source: certManager, certManager: {issuerRef: {name: ca, kind: ClusterIssuer}, caBundle: PEM}}
selfProtection: {adminGroup: wardens}
`,
	}
	for name, vals := range tests {
		t.Run(name, func(t *testing.T) {
			objects, _, err := template(t, values(t, least, vals, `backstop: {enabled: true}`))
			if err != nil {
				t.Fatal(err)
			}
			var config strings.Builder
			for _, file := range objects["ConfigMap commitgate"]["data"].(object) {
				config.WriteString("---\n" + file.(string))
			}
			cfg, err := v1alpha1.Parse("chart", []byte(config.String()))
			if err != nil {
				t.Fatal(err)
			}
			group := "commitgate:admins"
			if strings.Contains(vals, "wardens") {
				group = "wardens"
			}
			made, err := guard.Backstop(guard.BackstopConfig{Gate: cfg.Gate.Spec, Namespace: "commitgate", AdminGroup: group})
			if err != nil {
				t.Fatal(err)
			}
			text1, err := made.YAML()
			if err != nil {
				t.Fatal(err)
			}
			plain, watched := map[string]object{}, map[string]object{}
			read(t, "commitgate backstop", string(text1), plain)
			read(t, "watched", objects["ConfigMap commitgate-policies"]["data"].(object)["backstop.yaml"].(string), watched)
			if len(plain) != 2 {
				t.Fatalf("%d objects", len(plain))
			}
			for key, o := range plain {
				want := normal(o)
				for where, have := range map[string]object{"the chart": objects[key], "what the gate watches": watched[key]} {
					if have == nil || !reflect.DeepEqual(want, normal(have)) {
						t.Errorf("%s differs.\ncommand: %s\n%s: %s", key, text(want), where, text(have))
					}
				}
			}
		})
	}
}
