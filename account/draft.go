package account

import (
	"cmp"
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

// draft is one value of the expected object while that is being made: what Git declares with everything that the API machinery does to it.
// A tree is what is kept of it.
type draft struct {
	name  string  // of a field or key; "" for the items of a list
	value any     // of a leaf: string, bool, int64, float64, nil; of an encrypted one sealedLeaf or nil
	kids  []draft // of a map: sorted by name; of a list: in order
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
	whyLoose // of the agent, who may take it away again
	whyServer
	whyOpaque
	whyDecrypted
)

var whys = [...]Why{whyDefault: Default, whyDeclared: Declared, whyAgent: Agent, whyLoose: Agent, whyServer: Server, whyOpaque: Opaque, whyDecrypted: Decrypted}

// grow makes the draft of an expected value. raw is the same value as Git holds it, nil where Git has none: what is in it
// too is declared, the rest are defaults.
func grow(name string, value any, s *shape, raw any, declared bool) draft {
	n := draft{name: name, shape: s}
	if declared {
		n.why = whyDeclared
	}
	switch v := value.(type) {
	case map[string]any:
		n.kind = expectMap
		m, _ := raw.(map[string]any)
		n.kids = make([]draft, 0, len(v))
		for k, item := range v {
			r, ok := m[k]
			n.kids = append(n.kids, grow(k, item, s.field(k), r, ok && r != nil))
		}
		slices.SortFunc(n.kids, func(a, b draft) int { return strings.Compare(a.name, b.name) })
	case []any:
		n.kind = expectList
		l, _ := raw.([]any)
		n.kids = make([]draft, 0, len(v))
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

// kid is the child of a map with this name, nil if there is none.
func (n *draft) kid(name string) *draft {
	i, ok := slices.BinarySearchFunc(n.kids, name, func(k draft, name string) int { return cmp.Compare(k.name, name) })
	if !ok {
		return nil
	}
	return &n.kids[i]
}

// need is the child of a map with this name, made if there is none. Pointers to other children go stale.
func (n *draft) need(name string) *draft {
	i, ok := slices.BinarySearchFunc(n.kids, name, func(k draft, name string) int { return cmp.Compare(k.name, name) })
	if !ok {
		n.kids = slices.Insert(n.kids, i, draft{name: name, shape: n.shape.field(name)})
	}
	return &n.kids[i]
}

// needMap is need for a child that holds others.
func (n *draft) needMap(name string) *draft {
	k := n.need(name)
	if k.kind != expectMap {
		k.kind, k.value = expectMap, nil
	}
	return k
}

func (n *draft) expects(kind nodeKind) bool { return n.kind == kind }

func (n *draft) holds(v any) bool { return same(n.value, v) }

func (n *draft) kidHolds(name string, v any) bool {
	if kid := n.kid(name); kid != nil {
		return kid.holds(v)
	}
	return v == nil
}
