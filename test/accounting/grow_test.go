package accounting

import (
	"maps"
	"slices"
	"strings"
)

// grower makes an object larger, one field after the other, keeping what the server takes.
type grower struct {
	doc    *openAPI
	object map[string]any
	// try sends the object to the server and tells whether it took it.
	try func(object map[string]any) bool
	// skip tells whether a field is left as it is.
	skip  func(path string) bool
	tries int
}

// maxTries bounds the requests for one object.
const maxTries = 1500

// grow visits every field of a schema below the value at a place of the object.
func (g *grower) grow(p *property, place []any, depth int) {
	p, name := g.doc.resolve(p)
	if depth > 14 || strings.HasSuffix(name, "JSONSchemaProps") && depth > 7 {
		return
	}
	switch v := get(g.object, place).(type) {
	case map[string]any:
		for _, field := range slices.Sorted(maps.Keys(p.Properties)) {
			here := append(slices.Clone(place), field)
			if g.skip(text(here)) {
				continue
			}
			if _, ok := v[field]; !ok {
				g.add(here, g.doc.values(field, p.Properties[field], 0))
			}
			if get(g.object, here) != nil {
				g.grow(p.Properties[field], here, depth+1)
			}
			v, _ = get(g.object, place).(map[string]any)
		}
	case []any:
		if p.Items != nil && len(v) > 0 {
			g.grow(p.Items, append(slices.Clone(place), len(v)-1), depth+1)
			g.alternatives(p.Items, place, depth)
		}
	}
}

// alternatives adds an item for every field that the first one could not have beside its others: of a union, one member at a time.
func (g *grower) alternatives(item *property, place []any, depth int) {
	schema, _ := g.doc.resolve(item)
	for _, field := range slices.Sorted(maps.Keys(schema.Properties)) {
		items, _ := get(g.object, place).([]any)
		if slices.ContainsFunc(items, func(i any) bool { m, _ := i.(map[string]any); return m[field] != nil }) {
			continue
		}
		here := append(slices.Clone(place), len(items))
		for _, v := range g.doc.values(field, schema.Properties[field], 0) {
			made := map[string]any{field: v}
			for _, k := range append(slices.Clone(schema.Required), "name") {
				if _, ok := schema.Properties[k]; ok && made[k] == nil {
					if values := g.doc.values(k, schema.Properties[k], 0); len(values) > 0 {
						made[k] = values[0]
					}
				}
			}
			if _, ok := made["name"].(string); ok {
				made["name"] = "x" + strings.ToLower(field)
			}
			if g.add(here, []any{made}) {
				g.grow(schema.Properties[field], append(slices.Clone(here), field), depth+2)
				break
			}
		}
	}
}

// add puts the first value that the server takes at a place.
func (g *grower) add(place []any, values []any) bool {
	for _, v := range values {
		if g.tries++; g.tries > maxTries {
			return false
		}
		larger, _ := set(g.object, place, v).(map[string]any)
		if g.try(larger) {
			g.object = larger
			return true
		}
	}
	return false
}

func get(v any, place []any) any {
	for _, s := range place {
		switch k := s.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

// set is a copy of v with another value at a place.
func set(v any, place []any, value any) any {
	if len(place) == 0 {
		return value
	}
	switch k := place[0].(type) {
	case string:
		m, _ := v.(map[string]any)
		out := maps.Clone(m)
		if out == nil {
			out = map[string]any{}
		}
		out[k] = set(m[k], place[1:], value)
		return out
	case int:
		l, _ := v.([]any)
		out := slices.Clone(l)
		if k == len(out) {
			out = append(out, nil)
		}
		out[k] = set(out[k], place[1:], value)
		return out
	}
	return v
}

// text is a place as a path without indices.
func text(place []any) string {
	var b strings.Builder
	for _, s := range place {
		if k, ok := s.(string); ok {
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(k)
		}
	}
	return b.String()
}
