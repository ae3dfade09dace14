package account

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// nodeKind says what a node of the expected tree expects.
type nodeKind uint8

const (
	// expectNothing: the field may be absent; a row says which values it may take.
	expectNothing nodeKind = iota
	expectAny
	expectLeaf
	expectMap
	expectList
	expectOpaque
	expectLastApplied
)

// node is one value of the expected object: what Git declares with everything that the API machinery does to it.
type node struct {
	name  string // of a field or key; "" for the items of a list
	value any    // of a leaf: string, bool, int64, float64, nil; of an encrypted one sealedLeaf or nil
	kids  []node // of a map: sorted by name; of a list: in order
	shape *shape
	row   *row // a server row for this field, or, on a list or map, for items that are not in it
	kind  nodeKind
	why   why
	item  bool // of a list: even null has its place there
}

// why is Why in one byte. Of a map or list it is declared if Git holds it, even if empty.
type why uint8

const (
	whyDefault why = iota
	whyDeclared
	whyAgent
	whyServer
	whyOpaque
	whyDecrypted
)

var whys = [...]Why{whyDefault: Default, whyDeclared: Declared, whyAgent: Agent, whyServer: Server, whyOpaque: Opaque, whyDecrypted: Decrypted}

// grow makes the node of an expected value. raw is the same value as Git holds it, nil where Git has none: what is in it
// too is declared, the rest are defaults.
func grow(name string, value any, s *shape, raw any, declared bool) node {
	n := node{name: name, shape: s}
	if declared {
		n.why = whyDeclared
	}
	switch v := value.(type) {
	case map[string]any:
		n.kind = expectMap
		m, _ := raw.(map[string]any)
		n.kids = make([]node, 0, len(v))
		for k, item := range v {
			r, ok := m[k]
			n.kids = append(n.kids, grow(k, item, s.field(k), r, ok && r != nil))
		}
		slices.SortFunc(n.kids, func(a, b node) int { return strings.Compare(a.name, b.name) })
	case []any:
		n.kind = expectList
		l, _ := raw.([]any)
		n.kids = make([]node, 0, len(v))
		for i, item := range v {
			r, ok := counterpart(l, i, len(v), item, s)
			kid := grow("", item, s.element(), r, ok)
			kid.item = true
			n.kids = append(n.kids, kid)
		}
	default:
		n.kind, n.value = expectLeaf, value
	}
	return n
}

// counterpart finds the item of a raw list that became item i of n. The API machinery keeps the order and, but for a
// few kinds, the number of items; where it does not, the keys tell.
func counterpart(raw []any, i, n int, item any, s *shape) (any, bool) {
	if len(raw) == n {
		return raw[i], true
	}
	m, ok := item.(map[string]any)
	if !ok || s.form != formListMap {
		return nil, slices.ContainsFunc(raw, func(r any) bool { return same(r, item) })
	}
	for _, r := range raw {
		rm, ok := r.(map[string]any)
		if ok && !slices.ContainsFunc(s.keys, func(k string) bool { return rm[k] != nil && !same(rm[k], m[k]) }) {
			return rm, true
		}
	}
	return nil, false
}

// kid is the child of a map node with this name, nil if there is none.
func (n *node) kid(name string) *node {
	i, ok := slices.BinarySearchFunc(n.kids, name, func(k node, name string) int { return cmp.Compare(k.name, name) })
	if !ok {
		return nil
	}
	return &n.kids[i]
}

// need is the child of a map node with this name, made if there is none. Pointers to other children go stale.
func (n *node) need(name string) *node {
	i, ok := slices.BinarySearchFunc(n.kids, name, func(k node, name string) int { return cmp.Compare(k.name, name) })
	if !ok {
		n.kids = slices.Insert(n.kids, i, node{name: name, shape: n.shape.field(name)})
	}
	return &n.kids[i]
}

// needMap is need for a child that holds others.
func (n *node) needMap(name string) *node {
	k := n.need(name)
	if k.kind != expectMap {
		k.kind, k.value = expectMap, nil
	}
	return k
}

// same compares two scalars as JSON does: numbers by value, whatever type a decoder gave them.
func same(a, b any) bool {
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return ok && x == y
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case nil:
		return b == nil
	case map[string]any, []any:
		return false
	}
	if x, ok := a.(int64); ok {
		if y, ok := b.(int64); ok {
			return x == y
		}
	}
	xi, xf, xint, xok := number(a)
	yi, yf, yint, yok := number(b)
	switch {
	case !xok || !yok:
		return false
	case xint && yint:
		return xi == yi
	default:
		return xf == yf
	}
}

// number is a number as an integer, if it is one exactly, and as a float.
func number(v any) (i int64, f float64, integer, ok bool) {
	switch n := v.(type) {
	case int64:
		return n, float64(n), true, true
	case int:
		return int64(n), float64(n), true, true
	case int32:
		return int64(n), float64(n), true, true
	case uint64:
		return int64(n), float64(n), n < 1<<63, true
	case float64:
		i = int64(n)
		return i, n, float64(i) == n && i < 1<<53 && i > -1<<53, true
	case json.Number:
		if i, err := n.Int64(); err == nil {
			return i, float64(i), true, true
		}
		f, err := n.Float64()
		return 0, f, false, err == nil
	}
	return 0, 0, false, false
}

// equal compares two values deeply, in the ways in which they are the same for the API server.
func equal(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return false
		}
		n := 0
		for k, v := range x {
			if v == nil {
				continue
			}
			n++
			if !equal(v, y[k]) {
				return false
			}
		}
		return n == filled(y)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equal)
	}
	return same(a, b)
}

// filled counts the keys of a map that are not null.
func filled(m map[string]any) int {
	n := len(m)
	for _, v := range m {
		if v == nil {
			n--
		}
	}
	return n
}
