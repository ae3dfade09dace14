package accounting

import (
	"encoding/json"
	"slices"
	"strings"
)

// openAPI is the part of an OpenAPI v3 document that growing an object needs.
type openAPI struct {
	Components struct {
		Schemas map[string]*property `json:"schemas"`
	} `json:"components"`
}

type property struct {
	Ref         string               `json:"$ref"`
	AllOf       []*property          `json:"allOf"`
	OneOf       []*property          `json:"oneOf"`
	Type        string               `json:"type"`
	Format      string               `json:"format"`
	Enum        []any                `json:"enum"`
	Properties  map[string]*property `json:"properties"`
	Additional  json.RawMessage      `json:"additionalProperties"`
	Items       *property            `json:"items"`
	Required    []string             `json:"required"`
	ListMapKeys []string             `json:"x-kubernetes-list-map-keys"`
	Kinds       []struct {
		Group, Version, Kind string
	} `json:"x-kubernetes-group-version-kind"`
}

// resolve follows references. The name of the type is the last one followed.
func (d *openAPI) resolve(p *property) (*property, string) {
	name := ""
	for p != nil {
		switch {
		case p.Ref != "":
			name = p.Ref[strings.LastIndexByte(p.Ref, '/')+1:]
			p = d.Components.Schemas[name]
		case len(p.AllOf) == 1 && p.Type == "":
			p = p.AllOf[0]
		default:
			return p, name
		}
	}
	return &property{}, name
}

// kind is the schema of a kind.
func (d *openAPI) kind(group, version, kind string) *property {
	for _, s := range d.Components.Schemas {
		for _, k := range s.Kinds {
			if k.Group == group && k.Version == version && k.Kind == kind && len(s.Kinds) == 1 {
				return s
			}
		}
	}
	return nil
}

// maxDepth bounds the values that are made whole: schemas may hold themselves.
const maxDepth = 6

// values are values to try for a property, the likeliest first.
func (d *openAPI) values(name string, p *property, depth int) []any {
	p, typeName := d.resolve(p)
	switch {
	case depth > maxDepth:
		return nil
	case len(p.Enum) > 0:
		return slices.Clone(p.Enum[:min(3, len(p.Enum))])
	case strings.HasSuffix(typeName, "resource.Quantity"):
		return []any{"0.5", "1024Mi"}
	case strings.HasSuffix(typeName, "IntOrString"):
		return []any{int64(1), "50%", "a"}
	case strings.HasSuffix(typeName, ".Time"):
		return []any{"2027-01-01T00:00:00Z"}
	case strings.HasSuffix(typeName, ".MicroTime"):
		return []any{"2027-01-01T00:00:00.000001Z"}
	}
	switch p.Type {
	case "boolean":
		return []any{true, false}
	case "integer", "number":
		return []any{int64(1), int64(1000), int64(30)}
	case "string":
		return texts(name, p.Format)
	case "array":
		var out []any
		for _, item := range d.values(name, p.Items, depth+1) {
			out = append(out, []any{item})
		}
		return out
	case "object", "":
		return d.objects(p, depth)
	}
	return nil
}

// objects are an object with what it requires, and the empty one.
func (d *openAPI) objects(p *property, depth int) []any {
	if len(p.Properties) == 0 {
		var item *property
		if json.Unmarshal(p.Additional, &item) == nil && item != nil {
			var out []any
			for _, v := range d.values("value", item, depth+1) {
				out = append(out, map[string]any{"a": v}, map[string]any{"cpu": v})
			}
			return out
		}
		return []any{map[string]any{"a": "b"}}
	}
	full := map[string]any{}
	for _, name := range p.Required {
		values := d.values(name, p.Properties[name], depth+1)
		if len(values) == 0 {
			return nil
		}
		full[name] = values[0]
	}
	out := []any{full}
	if _, ok := p.Properties["name"]; ok && full["name"] == nil {
		out = append(out, map[string]any{"name": "a"})
	}
	if _, ok := p.Properties["key"]; ok && full["key"] == nil {
		out = append(out, map[string]any{"key": "a"})
	}
	return out
}

// texts are strings that mean something in a field of this name.
func texts(name, format string) []any {
	if format == "byte" {
		return []any{"YQ=="}
	}
	lower := strings.ToLower(name)
	for hint, v := range map[string][]any{
		"ip": {"10.1.2.3"}, "cidr": {"10.2.0.0/24"}, "path": {"/a"}, "url": {"https://a.example"}, "operator": {"Exists", "Equal", "In"},
		"expression": {"true"}, "class": {"a"}, "host": {"a.example"}, "cron": {"1 2 * * *"}, "zone": {"Europe/Berlin"},
		"protocol": {"UDP", "TCP"}, "policy": {"Always", "Never", "Ignore", "Delete"}, "seconds": {"30"}, "fieldpath": {"metadata.name"},
	} {
		if strings.Contains(lower, hint) {
			return append(v, "a", "example.com/a", "A")
		}
	}
	return []any{"a", "example.com/a", "a.example", "A", "1"}
}
