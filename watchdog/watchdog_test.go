package watchdog

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/authority"
)

func installed(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := Load(filepath.Join("..", "config", path))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// What an administrator could do to a webhook configuration so that it still stands there, and guards less.
func TestWeakenedWebhook(t *testing.T) {
	webhook := func(o map[string]any) map[string]any { return o["webhooks"].([]any)[0].(map[string]any) }
	rule := func(o map[string]any) map[string]any { return webhook(o)["rules"].([]any)[0].(map[string]any) }
	client := func(o map[string]any) map[string]any { return webhook(o)["clientConfig"].(map[string]any) }
	condition := func(name, expression string) map[string]any {
		return map[string]any{"name": name, "expression": expression}
	}
	const first = "webhooks[name=gate.commitgate.dev]"
	tests := map[string]struct {
		change func(o map[string]any)
		want   string // a field that is named; "" if it is sound
	}{
		"as the API server returns it": {func(map[string]any) {}, ""},
		"labels and annotations of whoever installed it": {func(o map[string]any) {
			o["metadata"].(map[string]any)["labels"] = map[string]any{"app.kubernetes.io/managed-by": "Helm"}
			o["metadata"].(map[string]any)["annotations"] = map[string]any{"meta.helm.sh/release-name": "commitgate"}
		}, ""},
		"everything passes while the gate is down": {func(o map[string]any) { webhook(o)["failurePolicy"] = "Ignore" }, first + ".failurePolicy"},
		"no DELETE":                    {func(o map[string]any) { rule(o)["operations"] = []any{"CREATE", "UPDATE"} }, first + ".rules"},
		"no subresources":              {func(o map[string]any) { rule(o)["resources"] = []any{"*"} }, first + ".rules"},
		"only what is in a namespace":  {func(o map[string]any) { rule(o)["scope"] = "Namespaced" }, first + ".rules"},
		"no rules":                     {func(o map[string]any) { delete(webhook(o), "rules") }, first + ".rules"},
		"other versions of an API":     {func(o map[string]any) { webhook(o)["matchPolicy"] = "Exact" }, first + ".matchPolicy"},
		"another authority":            {func(o map[string]any) { client(o)["caBundle"] = "bWFsbG9yeQ==" }, first + ".clientConfig.caBundle"},
		"no authority":                 {func(o map[string]any) { delete(client(o), "caBundle") }, first + ".clientConfig.caBundle"},
		"less time than a fetch takes": {func(o map[string]any) { webhook(o)["timeoutSeconds"] = int64(1) }, first + ".timeoutSeconds"},
		"no webhook":                   {func(o map[string]any) { o["webhooks"] = []any{} }, first},
		"somebody else is asked": {func(o map[string]any) {
			delete(client(o), "service")
			client(o)["url"] = "https://allows.example.org/everything"
		}, first + ".clientConfig.url"},
		"a namespace that opts out by a label": {func(o map[string]any) {
			webhook(o)["namespaceSelector"] = map[string]any{"matchExpressions": []any{map[string]any{"key": "skip", "operator": "DoesNotExist"}}}
		}, first + ".namespaceSelector"},
		"objects that opt out by a label": {func(o map[string]any) {
			webhook(o)["objectSelector"] = map[string]any{"matchLabels": map[string]any{"guarded": "yes"}}
		}, first + ".objectSelector"},
		"a condition that lets somebody off": {func(o map[string]any) {
			webhook(o)["matchConditions"] = append(webhook(o)["matchConditions"].([]any), condition("mine", `request.userInfo.username != "mallory"`))
		}, first + ".matchConditions"},
		"a condition that is never met": {func(o map[string]any) {
			webhook(o)["matchConditions"].([]any)[0] = condition("no-leases-of-components", "false")
		}, first + ".matchConditions"},
		"an owner whose end takes it along": {func(o map[string]any) {
			o["metadata"].(map[string]any)["ownerReferences"] = []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1"}}
		}, "metadata.ownerReferences"},
		"on its way out": {func(o map[string]any) {
			o["metadata"].(map[string]any)["deletionTimestamp"] = "2026-11-21T14:00:00Z"
		}, "metadata.deletionTimestamp"},
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &Watchdog{cfg: Config{Types: types, CABundle: func() []byte { return []byte("authority") }}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := installed(t, "webhook/webhook.yaml")[0]
			have := want.DeepCopy()
			trust(have, w.bundle())
			have.Object["metadata"] = map[string]any{"name": "commitgate", "uid": "1", "resourceVersion": "7", "generation": int64(1)}
			webhook(have.Object)["namespaceSelector"], webhook(have.Object)["objectSelector"] = map[string]any{}, map[string]any{}
			tt.change(have.Object)
			fields, err := w.differences(want, have)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" && len(fields) > 0 || tt.want != "" && !slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, tt.want) }) {
				t.Errorf("fields %q, want one of %q", fields, tt.want)
			}
		})
	}
}

// The policies that guard the gate, hollowed out while they still stand there.
func TestWeakenedPolicy(t *testing.T) {
	spec := func(o map[string]any) map[string]any { return o["spec"].(map[string]any) }
	tests := map[string]struct {
		kind   string
		change func(o map[string]any)
		want   string
	}{
		"a validation that always holds": {"ValidatingAdmissionPolicy", func(o map[string]any) {
			spec(o)["validations"].([]any)[0].(map[string]any)["expression"] = "true"
		}, "spec.validations"},
		"errors that let pass": {"ValidatingAdmissionPolicy", func(o map[string]any) { spec(o)["failurePolicy"] = "Ignore" }, "spec.failurePolicy"},
		"a condition that is never met": {"ValidatingAdmissionPolicy", func(o map[string]any) {
			spec(o)["matchConditions"].([]any)[0].(map[string]any)["expression"] = "false"
		}, "spec.matchConditions"},
		"a binding that only warns": {"ValidatingAdmissionPolicyBinding", func(o map[string]any) { spec(o)["validationActions"] = []any{"Warn"} }, "spec.validationActions"},
		"a binding for one namespace": {"ValidatingAdmissionPolicyBinding", func(o map[string]any) {
			spec(o)["matchResources"] = map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"a": "b"}}}
		}, "spec.matchResources"},
		"a binding to another policy": {"ValidatingAdmissionPolicyBinding", func(o map[string]any) { spec(o)["policyName"] = "other" }, "spec.policyName"},
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &Watchdog{cfg: Config{Types: types}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			objects := installed(t, "policy/guard.yaml")
			at := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == tt.kind })
			want, have := objects[at], objects[at].DeepCopy()
			if fields, err := w.differences(want, have); err != nil || len(fields) > 0 {
				t.Fatalf("before the change: fields %q, error %v", fields, err)
			}
			tt.change(have.Object)
			fields, err := w.differences(want, have)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, tt.want) }) {
				t.Errorf("fields %q, want one of %q", fields, tt.want)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	const binding = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: a}\n"
	tests := map[string]struct{ text, want string }{
		"what is no registration":  {"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", "does not belong"},
		"an object without a name": {"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\n", "does not belong"},
		"an old version":           {strings.Replace(binding, "/v1", "/v1beta1", 1), "does not belong"},
		"one object twice":         {binding + "---\n" + binding, "twice"},
		"what is no YAML":          {"kind: [", "yaml"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "a.yaml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(file); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// While one authority of the gate replaces another, the API server may know either or both; one of somebody else's makes it believe another gate.
func TestAuthoritiesThatReplaceEachOther(t *testing.T) {
	made := func() []byte {
		a, err := authority.New(time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		return authority.Bundle{a}.CertPEM()
	}
	old, next, foreign := made(), made(), made()
	tests := map[string]struct {
		live  []byte
		sound bool
	}{
		"the old one":              {old, true},
		"both, the other way":      {slices.Concat(next, old), true},
		"the new one":              {next, true},
		"none":                     {nil, false},
		"somebody else's":          {foreign, false},
		"ours and another's":       {slices.Concat(old, foreign), false},
		"what is no authority":     {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), false},
		"text without any of them": {[]byte("trust me"), false},
	}
	types, err := account.NewTypes(nil)
	if err != nil {
		t.Fatal(err)
	}
	secret := slices.Concat(old, next)
	w := &Watchdog{cfg: Config{Types: types, CABundle: func() []byte { return secret }}}
	// For a day nothing is issued from the old one any more, and the API server trusts it still: that is no reason to wake somebody.
	for stage, holds := range map[string][]byte{"1: both issue": secret, "2: the new one alone issues": next} {
		for name, tt := range tests {
			t.Run(stage+", the API server trusts "+name, func(t *testing.T) {
				w.authorities() // as of the stage before
				secret = holds
				want := installed(t, "webhook/webhook.yaml")[0]
				have := want.DeepCopy()
				have.Object["webhooks"].([]any)[0].(map[string]any)["clientConfig"].(map[string]any)["caBundle"] = base64.StdEncoding.EncodeToString(tt.live)
				fields, err := w.differences(want, have)
				if err != nil || (len(fields) == 0) != tt.sound {
					t.Errorf("fields %q (error %v), want sound: %t", fields, err, tt.sound)
				}
			})
		}
	}
}
