package account

import (
	"math"
	"slices"
	"strings"
)

// tree is what is expected of an object, in as little memory as possible: a gate keeps one for each declared object, and none of them holds a
// pointer for each of its values. It is immutable.
type tree struct {
	nodes  []node // the root first; the children of a node lie side by side
	text   string // all names and texts, each once
	facets []facet
	seals  []sealedLeaf
}

// node is one value of a tree.
type node struct {
	name span
	// bits are by kind and form the place and number of the children, the span of a text, a number, or the place of a seal.
	bits     uint64
	facet    uint32
	kind     nodeKind
	form     valueForm
	why      why
	declares bool // Git says something in this value: an empty list or map of a built-in kind says nothing
}

// facet is what many nodes have in common. Leaves have no shape but the one without a schema: theirs is not asked for.
type facet struct {
	shape *shape
	row   *row
}

// span is a part of the text, or of the nodes.
type span struct{ at, n uint32 }

func (s span) bits() uint64       { return uint64(s.at)<<32 | uint64(s.n) }
func spanOf(bits uint64) span     { return span{uint32(bits >> 32), uint32(bits)} }
func (s span) of(t string) string { return t[s.at : s.at+s.n] }

// valueForm says what a leaf's bits are.
type valueForm uint8

const (
	formNull valueForm = iota
	formFalse
	formTrue
	formText
	formInteger
	formFloat
	formSeal
)

// spot is one node in its tree.
type spot struct {
	*node
	tree *tree
}

func (t *tree) root() spot { return spot{&t.nodes[0], t} }

func (n spot) name() string  { return n.node.name.of(n.tree.text) }
func (n spot) shape() *shape { return n.tree.facets[n.facet].shape }
func (n spot) row() *row     { return n.tree.facets[n.facet].row }

// size is the number of children.
func (n spot) size() int {
	if n.kind != expectMap && n.kind != expectList {
		return 0
	}
	return int(spanOf(n.bits).n)
}

// child is one of them: of a map they are sorted by name, of a list in order.
func (n spot) child(i int) spot { return spot{&n.tree.nodes[int(spanOf(n.bits).at)+i], n.tree} }

// kid is the child of a map with this name.
func (n spot) kid(name string) (spot, bool) {
	at, size := 0, n.size()
	for end := size; at < end; {
		if middle := (at + end) / 2; n.child(middle).name() < name {
			at = middle + 1
		} else {
			end = middle
		}
	}
	if at == size || n.child(at).name() != name {
		return spot{}, false
	}
	return n.child(at), true
}

// value is that of a leaf, as a draft has it.
func (n spot) value() any {
	switch n.form {
	case formFalse, formTrue:
		return n.form == formTrue
	case formText:
		return spanOf(n.bits).of(n.tree.text)
	case formInteger:
		return int64(n.bits)
	case formFloat:
		return math.Float64frombits(n.bits)
	case formSeal:
		return n.tree.seals[n.bits]
	}
	return nil
}

func (n spot) expects(kind nodeKind) bool { return n.kind == kind }

// holds tells whether the value of a leaf is v, as same does.
func (n spot) holds(v any) bool {
	switch v := v.(type) {
	case string:
		return n.form == formText && spanOf(n.bits).of(n.tree.text) == v
	case int64:
		if n.form == formInteger {
			return int64(n.bits) == v
		}
	}
	return same(n.value(), v)
}

func (n spot) kidHolds(name string, v any) bool {
	if kid, ok := n.kid(name); ok {
		return kid.holds(v)
	}
	return v == nil
}

// packer makes a tree of a draft.
type packer struct {
	nodes  []node
	text   strings.Builder
	texts  map[string]span
	facets []facet
	places map[facet]uint32
	seals  []sealedLeaf
}

// pack makes the tree of a draft.
func (d *draft) pack() *tree {
	p := packer{nodes: make([]node, 1, d.count()), texts: map[string]span{}, places: map[facet]uint32{}}
	p.put(0, d)
	return &tree{nodes: p.nodes, text: strings.Clone(p.text.String()), facets: slices.Clone(p.facets), seals: p.seals}
}

// count is the number of values.
func (d *draft) count() int {
	n := 1
	for i := range d.kids {
		n += d.kids[i].count()
	}
	return n
}

// put makes the node of a draft, at its place, and those below it.
func (p *packer) put(at int, d *draft) {
	n := node{name: p.span(d.name), kind: d.kind, why: d.why}
	f := facet{formlessShape, d.row}
	switch d.kind {
	case expectMap, expectList:
		f.shape = d.shape
		first := len(p.nodes)
		p.nodes = p.nodes[:first+len(d.kids)]
		n.bits = span{uint32(first), uint32(len(d.kids))}.bits()
		n.declares = d.why == whyDeclared && len(d.kids) == 0 && !d.blank()
		for i := range d.kids {
			p.put(first+i, &d.kids[i])
			n.declares = n.declares || p.nodes[first+i].declares
		}
	case expectNothing:
		f.shape = d.shape
	case expectLeaf, expectOpaque:
		n.form, n.bits = p.leaf(d.value)
		n.declares = d.why == whyDeclared && (d.value != nil || d.item) || d.kind == expectOpaque
	}
	n.facet = p.facet(f)
	p.nodes[at] = n
}

// blank tells whether the draft is an empty value that the API server may as well leave out.
func (d *draft) blank() bool {
	return len(d.kids) == 0 && d.shape.lax && (d.kind == expectList || d.kind == expectMap && d.shape.form == formMap)
}

func (p *packer) facet(f facet) uint32 {
	i, ok := p.places[f]
	if !ok {
		i = uint32(len(p.facets))
		p.places[f], p.facets = i, append(p.facets, f)
	}
	return i
}

func (p *packer) span(text string) span {
	s, ok := p.texts[text]
	if !ok {
		s = span{uint32(p.text.Len()), uint32(len(text))}
		p.text.WriteString(text)
		p.texts[text] = s
	}
	return s
}

// leaf is the value of a leaf. One that is not of JSON is null: nothing in a request is explained by it.
func (p *packer) leaf(v any) (valueForm, uint64) {
	if seal, ok := v.(sealedLeaf); ok {
		p.seals = append(p.seals, seal)
		return formSeal, uint64(len(p.seals) - 1)
	}
	switch v := plainValue(v).(type) {
	case bool:
		if v {
			return formTrue, 0
		}
		return formFalse, 0
	case string:
		return formText, p.span(v).bits()
	case int64:
		return formInteger, uint64(v)
	case float64:
		return formFloat, math.Float64bits(v)
	}
	return formNull, 0
}
