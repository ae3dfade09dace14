package accounting

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
)

// definitions are how many CustomResourceDefinitions are made up, objectsOfEach how many objects of each.
const (
	definitions   = 12
	objectsOfEach = 6
)

// TestCustomResourcesAreExplained makes up definitions of all that structural schemas know, and objects by them, and asks the real API server what it makes
// of each: every leaf of that is explained, and a changed one is not.
func TestCustomResourcesAreExplained(t *testing.T) {
	s := start(t)
	var crds []map[string]any
	schemas := map[string]*invention{}
	for seed := range definitions {
		made := &invention{rand: rand.New(rand.NewPCG(uint64(seed), 7)), features: map[string]int{}}
		kind := fmt.Sprintf("Invented%d", seed)
		crd := made.definition(kind)
		if _, err := s.send(t.Context(), http.MethodPost, "application/json", "fieldValidation=Strict", crd); err != nil {
			t.Fatalf("definition %d: %v\n%s", seed, err, marshal(t, crd))
		}
		crds, schemas[kind] = append(crds, crd), made
	}
	s.serve(t, slices.Collect(maps.Keys(schemas)))
	types, err := account.NewTypes(crds)
	if err != nil {
		t.Fatal(err)
	}
	features := map[string]int{}
	for seed := range definitions {
		kind := fmt.Sprintf("Invented%d", seed)
		made := schemas[kind]
		t.Run(kind, func(t *testing.T) {
			for i := range objectsOfEach {
				s.explainCustom(t, types, made.object(kind, "v1", i), made.object(kind, "v1", i))
				s.explainCustom(t, types, made.object(kind, "v2", i), made.object(kind, "v2", i)) // stored as v1, and not converted but for its name
			}
		})
		for f, n := range made.features {
			features[f] += n
		}
	}
	for _, f := range []string{"default", "default in a default", "int-or-string", "preserved", "embedded", "list-map", "list-map with a defaulted key", "set", "atomic list", "atomic map",
		"map", "null", "null where a default is", "enum", "number"} {
		if features[f] == 0 {
			t.Errorf("no object holds: %s (%v)", f, features)
		}
	}
	t.Logf("%d updates explained, %d single changes refused, of %v", s.updates, s.tampered, features)
	if s.updates < 100 || s.tampered < 3000 {
		t.Errorf("only %d updates and %d single changes were tried", s.updates, s.tampered)
	}
}

// serve waits until the API server serves the made up kinds.
func (s *server) serve(t *testing.T, kinds []string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for _, kind := range kinds {
		for _, version := range []string{"v1", "v2"} {
			gv := "example.com/" + version
			s.resources[gv+" "+kind] = resource{Name: strings.ToLower(kind) + "s", Kind: kind, Namespaced: true}
			probe := map[string]any{"apiVersion": gv, "kind": kind, "metadata": map[string]any{"name": "probe"}}
			for {
				_, err := s.dryRun(t.Context(), probe)
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("not served: %v", err)
				}
				time.Sleep(200 * time.Millisecond)
			}
		}
	}
}

// explainCustom creates an object, tampers with it, and makes another of it.
func (s *server) explainCustom(t *testing.T, types *account.Types, object, after map[string]any) {
	t.Helper()
	served, err := s.send(t.Context(), http.MethodPost, "application/json", "dryRun=All", object)
	if err != nil {
		t.Fatalf("%v\n%s", err, marshal(t, object))
	}
	if r := s.declare(t, types, object, false).Explain(account.Change{Object: served}); !r.Faithful() {
		t.Errorf("unexplained %q, missing %q\ndeclared %s\nserved %s", r.Unexplained, r.Missing, marshal(t, object), marshal(t, served))
		return
	}
	s.tamper(t, types, object, served)
	s.update(t, types, object, after)
}

// invention makes up a schema, and objects by it. The same seed makes the same.
type invention struct {
	rand     *rand.Rand
	schema   map[string]any
	features map[string]int // how often an object holds what
}

func (v *invention) definition(kind string) map[string]any {
	v.schema = map[string]any{"type": "object", "properties": map[string]any{"spec": v.objectSchema(0), "status": map[string]any{"type": "object", "properties": map[string]any{"ready": map[string]any{"type": "boolean"}}}}}
	version := func(name string, storage bool) any {
		return map[string]any{"name": name, "served": true, "storage": storage, "schema": map[string]any{"openAPIV3Schema": v.schema}, "subresources": map[string]any{"status": map[string]any{}}}
	}
	plural := strings.ToLower(kind) + "s"
	return map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": plural + ".example.com"},
		"spec": map[string]any{"group": "example.com", "scope": "Namespaced", "names": map[string]any{"kind": kind, "plural": plural},
			"conversion": map[string]any{"strategy": "None"}, "versions": []any{version("v1", true), version("v2", false)}},
	}
}

// objectSchema is of an object with some fields, which a default may fill to any depth.
func (v *invention) objectSchema(depth int) map[string]any {
	properties := map[string]any{}
	for i := range 3 + v.rand.IntN(4) {
		properties[fmt.Sprintf("f%d", i)] = v.fieldSchema(depth + 1)
	}
	return map[string]any{"type": "object", "properties": properties}
}

func (v *invention) fieldSchema(depth int) map[string]any {
	choice := v.rand.IntN(14)
	if depth > 3 {
		choice = v.rand.IntN(5)
	}
	switch choice {
	case 0, 1:
		return v.scalar()
	case 2:
		return v.maybeDefault(map[string]any{"x-kubernetes-int-or-string": true}, "50%")
	case 3:
		return v.maybeDefault(map[string]any{"type": "string", "nullable": true}, "given")
	case 4:
		return map[string]any{"type": "string", "enum": []any{"red", "blue"}, "default": "red"}
	case 5, 6, 7:
		o := v.objectSchema(depth)
		if v.rand.IntN(2) == 0 {
			o["default"] = map[string]any{} // and what its fields default to
		}
		return o
	case 8:
		return map[string]any{"type": "object", "additionalProperties": v.fieldSchema(depth + 1)}
	case 9:
		return map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": map[string]any{"known": v.scalar()}}
	case 10:
		return map[string]any{"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}
	case 11:
		item := v.objectSchema(depth)
		item["properties"].(map[string]any)["name"] = map[string]any{"type": "string"}
		item["properties"].(map[string]any)["port"] = map[string]any{"type": "integer", "default": int64(80)}
		item["required"] = []any{"name"}
		return map[string]any{"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": []any{"name", "port"}}
	case 12:
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "x-kubernetes-list-type": "set"}
	}
	if v.rand.IntN(2) == 0 {
		return map[string]any{"type": "array", "items": v.fieldSchema(depth + 1)}
	}
	return map[string]any{"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": map[string]any{"type": "string"}}
}

func (v *invention) scalar() map[string]any {
	switch v.rand.IntN(4) {
	case 0:
		return v.maybeDefault(map[string]any{"type": "string"}, "given")
	case 1:
		return v.maybeDefault(map[string]any{"type": "integer"}, int64(7))
	case 2:
		return v.maybeDefault(map[string]any{"type": "number"}, 2.5)
	}
	return v.maybeDefault(map[string]any{"type": "boolean"}, true)
}

func (v *invention) maybeDefault(schema map[string]any, value any) map[string]any {
	if v.rand.IntN(2) == 0 {
		schema["default"] = value
	}
	return schema
}

// object makes up an object by the schema.
func (v *invention) object(kind, version string, i int) map[string]any {
	spec, _ := get(v.schema, []any{"properties", "spec"}).(map[string]any)
	return map[string]any{
		"apiVersion": "example.com/" + version, "kind": kind,
		"metadata": map[string]any{"name": fmt.Sprintf("%s-%d", version, i), "namespace": namespace, "labels": map[string]any{"team": "red"}},
		"spec":     v.value(spec),
	}
}

func (v *invention) hold(feature string) { v.features[feature]++ }

// value is one that the schema takes. It leaves things out for the API server to fill in, and has nulls where they mean something.
func (v *invention) value(schema map[string]any) any {
	given, defaulted := schema["default"]
	switch {
	case schema["nullable"] == true && v.rand.IntN(3) == 0:
		v.hold("null")
		return nil
	case defaulted && schema["nullable"] == nil && v.rand.IntN(6) == 0:
		v.hold("null where a default is")
		return nil
	case schema["x-kubernetes-int-or-string"] == true:
		v.hold("int-or-string")
		return []any{int64(3), "25%"}[v.rand.IntN(2)]
	case schema["enum"] != nil:
		v.hold("enum")
		return schema["enum"].([]any)[v.rand.IntN(2)]
	case schema["x-kubernetes-embedded-resource"] == true:
		v.hold("embedded")
		return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "inner", "labels": map[string]any{"a": "b"}}, "data": map[string]any{"k": "v"}}
	}
	switch schema["type"] {
	case "string":
		return fmt.Sprintf("s%d", v.rand.IntN(100))
	case "integer":
		return int64(v.rand.IntN(100))
	case "number":
		v.hold("number")
		return []any{int64(4), 0.25}[v.rand.IntN(2)]
	case "boolean":
		return v.rand.IntN(2) == 0
	case "array":
		return v.list(schema)
	}
	if _, object := given.(map[string]any); object && v.rand.IntN(3) == 0 {
		v.hold("default in a default")
		return map[string]any{}
	}
	return v.mapping(schema)
}

func (v *invention) list(schema map[string]any) any {
	items, _ := schema["items"].(map[string]any)
	var out []any
	for i := range 1 + v.rand.IntN(3) {
		switch schema["x-kubernetes-list-type"] {
		case "set":
			v.hold("set")
			out = append(out, fmt.Sprintf("member%d", i))
		case "map":
			v.hold("list-map")
			item, _ := v.mapping(items).(map[string]any)
			item["name"] = fmt.Sprintf("item%d", i)
			if item["port"] = int64(8080 + i); v.rand.IntN(2) == 0 {
				v.hold("list-map with a defaulted key")
				delete(item, "port")
			}
			out = append(out, item)
		default:
			v.hold("atomic list")
			if item := v.value(items); item != nil || items["nullable"] == true {
				out = append(out, item)
			}
		}
	}
	if out == nil {
		out = []any{}
	}
	return out
}

func (v *invention) mapping(schema map[string]any) any {
	out := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		field, _ := properties[name].(map[string]any)
		if v.rand.IntN(3) == 0 {
			if field["default"] != nil {
				v.hold("default")
			}
			continue
		}
		out[name] = v.value(field)
	}
	if of, ok := schema["additionalProperties"].(map[string]any); ok {
		for i := range 1 + v.rand.IntN(2) {
			if value := v.value(of); value != nil {
				v.hold(map[bool]string{true: "atomic map", false: "map"}[schema["x-kubernetes-map-type"] == "atomic"])
				out[fmt.Sprintf("key%d", i)] = value
			}
		}
	}
	if schema["x-kubernetes-preserve-unknown-fields"] == true {
		v.hold("preserved")
		out["unknown"] = map[string]any{"deep": []any{int64(1), "two", map[string]any{"three": 3.5}}, "nothing": nil}
	}
	return out
}
