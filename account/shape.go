package account

import (
	"slices"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// form is how the API machinery compares and merges a value.
type form uint8

// The forms. The zero value is a value without a schema: its maps are compared by key, its lists as one value.
const (
	formless form = iota
	formScalar
	formStruct  // fields with names of the schema's
	formMap     // keys of the user's
	formList    // atomic: one value
	formSet     // scalars, each its own key
	formListMap // objects, told apart by their key fields
)

// shape is the schema of one value, reduced to what comparing needs. Shapes are immutable and form cycles
// (JSONSchemaProps), so they are shared by pointer.
type shape struct {
	form form
	// atomic: a struct or map that belongs to one owner as a whole (x-kubernetes-map-type: atomic).
	atomic bool
	// lax: nothing, null, an empty list and an empty map are the same, as in the Go types of built-in kinds, where omitempty
	// makes them so. A custom resource is kept as it was sent.
	lax    bool
	fields map[string]*shape
	item   *shape
	keys   []string
	scalar smd.Scalar
}

var (
	formlessShape = &shape{}
	scalarShape   = &shape{form: formScalar, scalar: smd.Untyped}
)

// field is the shape of a field or key of a struct or map.
func (s *shape) field(name string) *shape {
	if f, ok := s.fields[name]; ok {
		return f
	}
	if s.item != nil && s.form != formList && s.form != formListMap {
		return s.item
	}
	return formlessShape
}

// element is the shape of a list's items.
func (s *shape) element() *shape {
	if s.item != nil && (s.form == formList || s.form == formListMap || s.form == formSet) {
		return s.item
	}
	return formlessShape
}

// shapes builds shapes from the schemas of structured-merge-diff.
type shapes struct {
	schema *smd.Schema
	named  map[string]*shape
}

func (b *shapes) ref(r smd.TypeRef) *shape {
	override := r.ElementRelationship != nil
	if r.NamedType != nil && !override {
		return b.name(*r.NamedType)
	}
	atom, ok := b.schema.Resolve(r)
	if !ok {
		return formlessShape
	}
	s := &shape{}
	b.fill(s, atom)
	return s
}

func (b *shapes) name(name string) *shape {
	if s, ok := b.named[name]; ok {
		return s
	}
	def, ok := b.schema.FindNamedType(name)
	if !ok {
		return formlessShape
	}
	s := &shape{}
	b.named[name] = s
	b.fill(s, def.Atom)
	return s
}

// fill makes the shape of a built-in type. A type that may be several things at once (a quantity: string or number, raw
// JSON: anything) stays a scalar if it may not be a list or map, and formless otherwise.
func (b *shapes) fill(s *shape, a smd.Atom) {
	switch {
	case a.Scalar != nil && a.List == nil && a.Map == nil:
		s.form, s.scalar = formScalar, *a.Scalar
	case a.List != nil && a.Map == nil:
		s.item = b.ref(a.List.ElementType)
		switch {
		case a.List.ElementRelationship != smd.Associative:
			s.form = formList
		case len(a.List.Keys) > 0:
			s.form, s.keys = formListMap, a.List.Keys
		default:
			s.form = formSet
		}
	case a.Map != nil && a.List == nil:
		s.atomic = a.Map.ElementRelationship == smd.Atomic
		s.form = formMap
		if len(a.Map.Fields) > 0 {
			s.form, s.fields = formStruct, make(map[string]*shape, len(a.Map.Fields))
		}
		for _, f := range a.Map.Fields {
			s.fields[f.Name] = b.ref(f.Type)
		}
		if a.Map.ElementType != (smd.TypeRef{}) {
			s.item = b.ref(a.Map.ElementType)
		}
	}
	s.lax = s.form != formless
}

// customShape makes the shape of a custom resource from its CRD's structural schema. metadata is the shape of
// ObjectMeta, for the object itself and for objects embedded in it.
func customShape(s *structural.Structural, metadata *shape, object bool) *shape {
	if s == nil {
		return formlessShape
	}
	switch {
	case s.XIntOrString:
		return scalarShape
	case s.Type == "array":
		return customList(s, metadata)
	case s.Type == "object" || len(s.Properties) > 0 || s.AdditionalProperties != nil:
		return customObject(s, metadata, object || s.XEmbeddedResource)
	case s.Type == "" || s.XPreserveUnknownFields:
		return formlessShape
	case s.Type == "string":
		return &shape{form: formScalar, scalar: smd.String}
	case s.Type == "boolean":
		return &shape{form: formScalar, scalar: smd.Boolean}
	default:
		return &shape{form: formScalar, scalar: smd.Numeric}
	}
}

func customList(s *structural.Structural, metadata *shape) *shape {
	l := &shape{form: formList, item: customShape(s.Items, metadata, false)}
	switch {
	case s.XListType == nil:
	case *s.XListType == "map":
		l.form, l.keys = formListMap, slices.Clone(s.XListMapKeys)
	case *s.XListType == "set":
		l.form = formSet
	}
	return l
}

func customObject(s *structural.Structural, metadata *shape, object bool) *shape {
	m := &shape{form: formMap, atomic: s.XMapType != nil && *s.XMapType == "atomic"}
	if len(s.Properties) > 0 || object {
		m.form, m.fields = formStruct, make(map[string]*shape, len(s.Properties)+3)
	}
	for name, p := range s.Properties {
		m.fields[name] = customShape(&p, metadata, false)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil {
		m.item = customShape(s.AdditionalProperties.Structural, metadata, false)
	}
	if object {
		m.fields["apiVersion"], m.fields["kind"], m.fields["metadata"] = scalarShape, scalarShape, metadata
	}
	return m
}
