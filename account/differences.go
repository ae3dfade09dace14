package account

import (
	"reflect"
	"slices"
	"sort"
)

// Differences lists the leaves that differ between two versions of one live object, leaving out what the API server sets by itself
// (managedFields, resourceVersion, generation) and, where the kind has a status subresource, status. An empty answer is a
// write that changes nothing. The built-in schemas and the CRDs of t say how lists are compared; an item of a list map that changed
// its place is named too, for the order of init containers or variables has a meaning.
func (t *Types) Differences(old, object map[string]any) []string {
	s, status := t.shapeOf(object)
	d := differ{}
	for _, name := range union(old, object) {
		if status && name == "status" {
			continue
		}
		d.path = append(d.path, fieldStep(s, name))
		if name == "metadata" {
			d.metadata(asMap(old[name]), asMap(object[name]), s.field(name))
		} else {
			d.compare(old[name], object[name], s.field(name))
		}
		d.path = d.path[:0]
	}
	var out []string
	for _, p := range d.changed {
		out = appendNamed(out, pathText(p))
	}
	return out
}

// differ compares two versions of a value as the API server does.
type differ struct {
	path    []step
	changed [][]step
	all     func(path []step) // called for each leaf by leaves
}

func (d *differ) metadata(old, object map[string]any, s *shape) {
	for _, name := range union(old, object) {
		switch name {
		case "managedFields", "resourceVersion", "generation", "selfLink":
			continue
		}
		d.path = append(d.path, fieldStep(s, name))
		d.compare(old[name], object[name], s.field(name))
		d.path = d.path[:len(d.path)-1]
	}
}

func (d *differ) emit() { d.changed = append(d.changed, slices.Clone(d.path)) }

// compare collects the paths of the leaves in which two values differ.
func (d *differ) compare(a, b any, s *shape) {
	if blank(a, s) {
		a = nil
	}
	if blank(b, s) {
		b = nil
	}
	am, aIsMap := a.(map[string]any)
	bm, bIsMap := b.(map[string]any)
	al, aIsList := a.([]any)
	bl, bIsList := b.([]any)
	switch {
	case aIsMap && bIsMap && oneMap(am, bm), aIsList && bIsList && oneList(al, bl): // read from the same text
	case aIsMap && bIsMap && len(am)+len(bm) > 0:
		for _, name := range union(am, bm) {
			d.path = append(d.path, fieldStep(s, name))
			d.compare(am[name], bm[name], s.field(name))
			d.path = d.path[:len(d.path)-1]
		}
	case aIsList && bIsList:
		d.compareLists(al, bl, s)
	case a == nil && b == nil, same(a, b), aIsMap && bIsMap:
	case b == nil:
		d.leaves(a, s)
	default:
		d.leaves(b, s)
	}
}

func (d *differ) compareLists(a, b []any, s *shape) {
	bp := pairs(b, a, s) // for each item of b, its place in a
	used := make([]bool, len(a))
	last := -1
	for i, item := range b {
		k := i
		if bp != nil {
			k = bp[i]
		}
		d.path = append(d.path, itemStep(s, i, item))
		switch {
		case k < 0 || k >= len(a):
			d.leaves(item, s.element())
		case k < last && s.form == formListMap:
			used[k] = true
			d.emit()
			d.compare(a[k], item, s.element())
		default:
			used[k], last = true, max(last, k)
			d.compare(a[k], item, s.element())
		}
		d.path = d.path[:len(d.path)-1]
	}
	for i, item := range a {
		if !used[i] {
			d.path = append(d.path, itemStep(s, i, item))
			d.leaves(item, s.element())
			d.path = d.path[:len(d.path)-1]
		}
	}
}

// oneMap tells whether a and b are not only equal, but the same map.
func oneMap(a, b map[string]any) bool {
	return len(a) == len(b) && reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// oneList tells whether a and b are not only equal, but the same list.
func oneList(a, b []any) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// leaves calls for each leaf of a value; by default it collects their paths.
func (d *differ) leaves(v any, s *shape) {
	switch x := v.(type) {
	case map[string]any:
		if len(x) > 0 {
			for _, name := range union(x, nil) {
				d.path = append(d.path, fieldStep(s, name))
				d.leaves(x[name], s.field(name))
				d.path = d.path[:len(d.path)-1]
			}
			return
		}
	case []any:
		if len(x) > 0 {
			for i, item := range x {
				d.path = append(d.path, itemStep(s, i, item))
				d.leaves(item, s.element())
				d.path = d.path[:len(d.path)-1]
			}
			return
		}
	}
	if d.all != nil {
		d.all(d.path)
		return
	}
	d.emit()
}

// blank tells whether a value is one that a built-in kind's Go type leaves out.
func blank(v any, s *shape) bool {
	switch x := v.(type) {
	case map[string]any:
		return len(x) == 0 && s.lax && s.form == formMap
	case []any:
		return len(x) == 0 && s.lax
	}
	return v == nil
}

// union is the keys of both maps whose value is not null in one of them, sorted.
func union(a, b map[string]any) []string {
	names := make([]string, 0, max(len(a), len(b)))
	for k, v := range a {
		if v != nil {
			names = append(names, k)
		}
	}
	for k, v := range b {
		if v != nil && a[k] == nil {
			names = append(names, k)
		}
	}
	sort.Strings(names)
	return names
}
