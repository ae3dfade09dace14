package account_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/commitgate/commitgate/account"
)

// Every path that the accounting writes leads to the value that it is about.
func TestValue(t *testing.T) {
	object := map[string]any{
		"metadata": map[string]any{
			"annotations": map[string]any{"example.com/a": "x", `odd["key]`: "y"},
			"finalizers":  []any{"one", "two"},
		},
		"spec": map[string]any{
			"containers": []any{
				map[string]any{"name": "web", "image": "web:1", "ports": []any{
					map[string]any{"containerPort": int64(80)}, map[string]any{"containerPort": int64(80), "protocol": "UDP"},
				}},
				map[string]any{"name": "aside", "args": []any{"-a", "-b"}},
			},
		},
	}
	for path, want := range map[string]any{
		"spec.containers[name=web].image":                                              "web:1",
		"spec.containers[name=aside].args[1]":                                          "-b",
		"metadata.annotations[example.com/a]":                                          "x",
		`metadata.annotations["odd[\"key]"]`:                                           "y",
		"metadata.finalizers[two]":                                                     "two",
		"spec.containers[name=web].ports[containerPort=80,protocol=TCP].containerPort": int64(80),
		"spec.containers[name=web].ports[containerPort=80,protocol=UDP].protocol":      "UDP",
		"spec.containers[name=other].image":                                            nil,
		"spec.containers[2]":                                                           nil,
		"spec.containers[name=web].image.tag":                                          nil,
		"spec.containers[":                                                             nil,
		"":                                                                             nil,
		"spec.containers[name=web].ports[containerPort=81,protocol=TCP]":               nil,
		"spec.containers[name=web].ports[containerPort=80,protocol=UDP].containerPort.more": nil,
	} {
		got, ok := account.Value(object, path)
		if ok != (want != nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v (%v), want %v", path, got, ok, want)
		}
	}
}

// A field's manager is the newest that claims it or a value around it.
func TestManagedBy(t *testing.T) {
	var object map[string]any
	err := json.Unmarshal([]byte(`{"metadata": {"managedFields": [
		{"manager": "flux", "time": "2026-11-21T08:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:containers": {
			"k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {"f:containerPort": {}}}}}}, "f:metadata": {"f:finalizers": {"v:\"one\"": {}}, "f:labels": {"f:a.b/c": {}}}}},
		{"manager": "edit", "time": "2026-11-21T09:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:affinity": {}}}},
		{"manager": "old", "time": "2026-11-21T07:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
		{"manager": "broken", "time": "yesterday", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
	]}}`), &object)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"spec.replicas":                   "edit",
		"spec.containers[name=web].image": "flux",
		"spec.containers[name=web].ports[containerPort=80,protocol=TCP].containerPort": "flux",
		"spec.containers[name=web].args[0]":                                            "",
		"spec.containers[name=other].image":                                            "",
		"metadata.finalizers[one]":                                                     "flux",
		"metadata.finalizers[two]":                                                     "",
		"metadata.labels[a.b/c]":                                                       "flux",
		"spec.affinity.nodeAffinity.x":                                                 "edit",
		"status.phase":                                                                 "",
		"spec[":                                                                        "",
	} {
		if got, _ := account.ManagedBy(object, path); got != want {
			t.Errorf("%s is managed by %q, want %q", path, got, want)
		}
	}
}
