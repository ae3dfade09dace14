package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// guardian is an administrator of the gate: who may change what stands in front of it.
func guardian(t *testing.T, l *lab.Lab, args ...string) (string, error) {
	t.Helper()
	return l.Cluster.Kubectl(t.Context(), l.AdminConfig, "", append([]string{"--as=root", "--as-group=commitgate:admins", "--as-group=system:masters"}, args...)...)
}

// Whoever takes the webhook away, or opens it while it still stands there, is noticed: the gate records it, counts it, and puts it back.
func TestRegistrationIsPutBack(t *testing.T) {
	tests := map[string]struct {
		args   []string
		fields []string // which the record names
	}{
		"the webhook is deleted": {[]string{"delete", "validatingwebhookconfiguration", "commitgate"}, nil},
		"the webhook lets pass what it cannot be asked, a namespace and deletions": {[]string{"patch", "validatingwebhookconfiguration", "commitgate", "--type=json", `--patch=[
			{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"},
			{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"]}]}},
			{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE", "UPDATE"]}]`}, []string{"failurePolicy", "namespaceSelector", "operations"}},
	}
	l := startWith(t, lab.Config{Repair: true})
	repairs := 0
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := guardian(t, l, tt.args...)
			check(t, err)
			repairs++
			check(t, l.Eventually(t.Context(), func(ctx context.Context) error {
				n, err := l.Gate.Metric(ctx, `gate_registration_repairs_total{outcome="done"}`)
				if err == nil && n != fmt.Sprint(repairs) {
					err = fmt.Errorf("%q repairs, want %d", n, repairs)
				}
				return err
			}))
			check(t, l.Registered(t.Context()))
			// It judges again, as soon as the API server has heard of it.
			check(t, l.Eventually(t.Context(), func(ctx context.Context) error {
				_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", "create", "configmap", "notes", "--namespace=default", "--dry-run=server")
				if err == nil || !strings.Contains(err.Error(), `"`+lab.WebhookName+`" denied the request`) {
					return fmt.Errorf("a change is not refused: %v", err)
				}
				return nil
			}))
			for _, kind := range []string{"RegistrationChanged", "RegistrationRepaired", "RegistrationSound"} {
				log := run(t, l, 0, "audit", "log", l.Gate.AuditLog(), "--type", "finding", "-o", "json")
				for _, word := range append([]string{kind}, tt.fields...) {
					if !strings.Contains(log, word) {
						t.Errorf("no record %s that names %q:\n%s", kind, tt.fields, log)
					}
				}
			}
		})
	}
	check(t, l.Gate.Missing(t.Context())) // ready all the time: whoever weakens the registration must not stop the gate as well
	t.Run("with the gate's token", func(t *testing.T) { stolenTokenCannotWeakenTheRegistration(t, l) })
	sound(t, l)
}

// What the gate may do to its registration, a thief of its token may do, and no more.
func stolenTokenCannotWeakenTheRegistration(t *testing.T, l *lab.Lab) {
	hook := []string{"patch", "validatingwebhookconfiguration", "commitgate", "--type=json", "--dry-run=none"}
	tests := map[string]string{
		"opens it":                    `[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]`,
		"asks somebody else":          `[{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": "https://127.0.0.1:1/review"}]`,
		"narrows its rules":           `[{"op": "replace", "path": "/webhooks/0/rules/0/resources", "value": ["pods"]}]`,
		"lets a namespace off":        `[{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchLabels": {"guarded": "yes"}}}]`,
		"adds a condition":            `[{"op": "add", "path": "/webhooks/0/matchConditions/-", "value": {"name": "never", "expression": "false"}}]`,
		"sees only exact versions":    `[{"op": "replace", "path": "/webhooks/0/matchPolicy", "value": "Exact"}]`,
		"takes the only webhook away": `[{"op": "replace", "path": "/webhooks", "value": []}]`,
	}
	for name, patch := range tests {
		t.Run(name, func(t *testing.T) {
			// By RBAC it may update this object, but not patch it: so the thief has the right to patch, too.
			_, err := l.Cluster.Kubectl(t.Context(), l.AdminConfig, "", append([]string{"--as=system:serviceaccount:commitgate:commitgate", "--as-group=system:masters"}, append(hook, "--patch="+patch)...)...)
			if err == nil || !strings.Contains(err.Error(), "own identity never asks for this") {
				t.Errorf("want a refusal of commitgate-own-identity, got %v", err)
			}
		})
	}
	for _, args := range [][]string{{"delete", "validatingwebhookconfiguration", "commitgate"}, {"create", "configmap", "x", "--namespace=default"}} {
		_, err := l.Cluster.Kubectl(t.Context(), l.AdminConfig, "", append([]string{"--as=system:serviceaccount:commitgate:commitgate", "--as-group=system:masters"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'commitgate-") {
			t.Errorf("the gate's identity may %v: %v", args, err)
		}
	}
}
