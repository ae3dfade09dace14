package account

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// lastAppliedKey is the annotation in which a client-side apply keeps what it sent.
const lastAppliedKey = "kubectl.kubernetes.io/last-applied-configuration"

// digestLastApplied is the digest of the annotation as kubectl writes it for a declaration: compact JSON with sorted keys, with
// an annotations map even if it is empty, and a newline. Most annotations are explained by comparing digests.
func digestLastApplied(d Declaration) ([32]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	if err := e.Encode(asApplied(d)); err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(b.Bytes()), nil
}

// asApplied is the object as the agent sends it: the content with what the agent adds.
func asApplied(d Declaration) map[string]any {
	out := d.Content.Map()
	metadata := asMap(out["metadata"])
	if metadata == nil {
		metadata = map[string]any{}
	}
	out["metadata"] = metadata
	metadata["annotations"] = with(asMap(metadata["annotations"]), d.Annotations)
	if labels := with(asMap(metadata["labels"]), d.Labels); len(labels) > 0 {
		metadata["labels"] = labels
	}
	return out
}

func with(m map[string]any, add map[string]string) map[string]any {
	out := make(map[string]any, len(m)+len(add))
	maps.Copy(out, m)
	delete(out, lastAppliedKey)
	for k, v := range add {
		out[k] = v
	}
	return out
}

// isLastApplied tells whether the annotation holds the declared object and what the agent adds to it. If it is written in
// another way than kubectl's, it is read, and may leave out or hold in addition what says nothing: nulls, empty maps and
// lists, status, the namespace.
func (o *Object) isLastApplied(text string) bool {
	if sha256.Sum256([]byte(text)) == o.lastApplied {
		return true
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var applied map[string]any
	if err := d.Decode(&applied); err != nil || d.More() {
		return false
	}
	declared := asApplied(o.declaration)
	delete(applied, "status")
	delete(declared, "status")
	am, dm := asMap(applied["metadata"]), asMap(declared["metadata"])
	if am["namespace"] == nil || dm["namespace"] == nil {
		delete(am, "namespace")
		delete(dm, "namespace")
	}
	if prefix, ok := dm["generateName"].(string); ok && dm["name"] == nil {
		if name, _ := am["name"].(string); strings.HasPrefix(name, prefix) { // the agent completed it
			delete(am, "name")
		}
	}
	if finalizers, ok := am["finalizers"].([]any); ok {
		am["finalizers"] = slices.DeleteFunc(finalizers, func(f any) bool {
			s, _ := f.(string)
			return slices.Contains(o.declaration.Finalizers, s) && !slices.Contains(asList(dm["finalizers"]), f)
		})
	}
	return meansTheSame(applied, declared)
}

// meansTheSame is equal for manifests: nothing, null and empty are one.
func meansTheSame(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return b == nil && hollow(a)
		}
		for k, v := range x {
			if !meansTheSame(v, y[k]) {
				return false
			}
		}
		for k, v := range y {
			if _, ok := x[k]; !ok && !hollow(v) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok {
			return b == nil && len(x) == 0
		}
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if !meansTheSame(x[i], y[i]) {
				return false
			}
		}
		return true
	case nil:
		return hollow(b)
	}
	return same(a, b)
}

// hollow tells whether a value holds no leaf.
func hollow(v any) bool {
	switch x := v.(type) {
	case map[string]any:
		for _, item := range x {
			if !hollow(item) {
				return false
			}
		}
		return true
	case []any:
		return len(x) == 0
	}
	return v == nil
}
