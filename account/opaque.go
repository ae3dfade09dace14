package account

import (
	"maps"
	"slices"
	"strconv"
)

// opaqueValue is the path of a value that Git holds encrypted. It is kept out of the content while that is decoded (a
// ciphertext is no base64, and no number) and put back into the expected tree as a value of any content.
type opaqueValue struct {
	path []step
	leaf *sealedLeaf // nil: only the shape is known
}

// split takes the encrypted values out of the declared content. The content itself is not changed.
func (o *Object) split() (map[string]any, []opaqueValue, error) {
	content := plainNumbers(o.declaration.normal(o.declaration.Content.Map()))
	if len(o.declaration.Opaque) == 0 {
		return content, nil, nil
	}
	c := &cutter{secret: o.gvk.Group == "" && o.gvk.Kind == "Secret", seals: o.declaration.Sealed.seals}
	for _, p := range o.declaration.Opaque {
		s, err := Pattern(p).segments()
		if err != nil {
			return nil, nil, err
		}
		c.patterns = append(c.patterns, s)
	}
	root, _ := o.types.shapeOf(content)
	kept, _ := c.cut(content, root).(map[string]any)
	return kept, c.found, nil
}

// cutter copies a content without the leaves that its patterns match. Items of lists stay, so that the others keep
// their places.
type cutter struct {
	patterns [][]segment
	secret   bool
	seals    map[string]Seal
	path     []step
	found    []opaqueValue
}

func (c *cutter) cut(v any, s *shape) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			c.path = append(c.path, fieldStep(s, k))
			if !c.leaf(item) {
				out[k] = c.cut(item, s.field(k))
			}
			c.path = c.path[:len(c.path)-1]
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for i, item := range v {
			c.path = append(c.path, itemStep(s, i, item))
			c.leaf(item)
			out = append(out, c.cut(item, s.element()))
			c.path = c.path[:len(c.path)-1]
		}
		return out
	}
	return v
}

// leaf tells whether the value at the current path is one that is held encrypted, and remembers it.
func (c *cutter) leaf(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	if !slices.ContainsFunc(c.patterns, func(p []segment) bool { return c.at(p) }) {
		return false
	}
	path := slices.Clone(c.path)
	if c.secret && path[0].name == "stringData" {
		path[0].name = "data"
	}
	found := opaqueValue{path: path}
	text, _ := v.(string)
	if seal, ok := c.seals[text]; ok {
		found.leaf = &sealedLeaf{seal, c.secret && path[0].name == "data"}
	}
	c.found = append(c.found, found)
	return true
}

// at tells whether a pattern names the current path. The pattern is of this very content, so that a number names an item by its place, also where the
// items of a list have keys.
func (c *cutter) at(p []segment) bool {
	if len(p) != len(c.path) {
		return matches(p, c.path)
	}
	for i, g := range p {
		switch s := c.path[i]; {
		case g.rest, g.any && s.kind != stepField:
		case s.kind == stepItem || s.kind == stepIndex:
			place, err := strconv.Atoi(g.text)
			if err == nil && place != int(s.index) || err != nil && g.text != s.text() {
				return false
			}
		case g.text != s.text():
			return false
		}
	}
	return true
}

// graft puts the value into the expected tree.
func (v opaqueValue) graft(n *draft) {
	for _, s := range v.path {
		n.why = whyDeclared
		switch s.kind {
		case stepItem, stepIndex:
			n = n.needItem(s)
		default:
			if n.kind != expectMap {
				n.kind, n.value = expectMap, nil
			}
			n = n.need(s.name)
		}
	}
	n.kind, n.why, n.kids, n.value = expectOpaque, whyOpaque, nil, nil
	if v.leaf != nil {
		n.why, n.value = whyDecrypted, *v.leaf
	}
}

// needItem is the item of a list node that a step names. An item that decoding dropped, or whose key itself is encrypted, is
// expected with its keys alone.
func (n *draft) needItem(s step) *draft {
	n.kind = expectList
	if s.kind == stepIndex && int(s.index) < len(n.kids) {
		return &n.kids[s.index]
	}
	for i := range n.kids {
		if s.kind == stepItem && sameKey(&n.kids[i], s.item, n.shape) {
			return &n.kids[i]
		}
	}
	var keys any
	m, ok := s.item.(map[string]any)
	if ok {
		for i := range n.kids {
			if s.kind == stepItem && n.kids[i].sameGivenKey(m, n.shape) {
				return &n.kids[i] // the others were defaulted
			}
		}
		only := maps.Clone(m)
		maps.DeleteFunc(only, func(k string, _ any) bool { return !slices.Contains(n.shape.keys, k) })
		keys = only
	}
	n.kids = append(n.kids, grow("", keys, n.shape.element(), keys, true))
	return &n.kids[len(n.kids)-1]
}

// sameGivenKey is sameKey by the keys that the item spells, of which there must be one.
func (n *draft) sameGivenKey(item map[string]any, s *shape) bool {
	given := 0
	for _, k := range s.keys {
		v, ok := item[k]
		if !ok {
			continue
		}
		if n.kid(k) == nil || !n.kidHolds(k, v) {
			return false
		}
		given++
	}
	return given > 0
}
