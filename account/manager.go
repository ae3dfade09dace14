package account

import (
	"encoding/json"
	"strings"
	"time"
)

// ManagedBy is who says to have set a field, and when: the newest entry of managedFields that claims it, "" if none does. Whoever writes an object
// chooses that name; it is a hint for people, and proves nothing.
func ManagedBy(object map[string]any, path string) (manager string, at time.Time) {
	steps, err := split(path)
	if err != nil {
		return "", time.Time{}
	}
	meta, _ := object["metadata"].(map[string]any)
	list, _ := meta["managedFields"].([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		fields, _ := m["fieldsV1"].(map[string]any)
		text, _ := m["time"].(string)
		when, err := time.Parse(time.RFC3339, text)
		if err == nil && !when.Before(at) && claims(fields, steps) {
			manager, _ = m["manager"].(string)
			at = when
		}
	}
	return manager, at
}

// claims tells whether a field set (the FieldsV1 format of structured-merge-diff) holds a path or a value around it.
func claims(fields map[string]any, path []step) bool {
	if fields == nil {
		return false
	}
	for _, s := range path {
		next := childOf(fields, s)
		if next == nil {
			return false
		}
		if len(next) == 0 {
			return true // the whole value, whatever is below
		}
		fields = next
	}
	return true
}

// childOf is the part of a field set that a step leads to, nil if there is none.
func childOf(fields map[string]any, s step) map[string]any {
	if child, ok := fields["f:"+s.name].(map[string]any); ok {
		return child
	}
	if s.kind != stepKey {
		return nil
	}
	for name, child := range fields {
		m, _ := child.(map[string]any)
		kind, rest, _ := strings.Cut(name, ":")
		var v any
		if json.Unmarshal([]byte(rest), &v) != nil || m == nil {
			continue
		}
		item, isMap := v.(map[string]any)
		agrees, _ := hasKeys(item, s.name)
		if kind == "k" && isMap && agrees || (kind == "v" || kind == "i") && scalarText(v) == s.name {
			return m
		}
	}
	return nil
}
