package account

import "strings"

// separate tells whether the items of a list of this shape belong to separate owners: they are told apart by their keys.
// Any other list is one value.
func (s *shape) separate() bool { return s.form == formSet || s.form == formListMap }

// itemStep is the step to an item of a list.
func itemStep(s *shape, i int, item any) step {
	if s.separate() {
		return step{kind: stepItem, item: item, shape: s, index: int32(i)}
	}
	return step{kind: stepIndex, index: int32(i)}
}

// expectedStep is the step to an expected item that is not there.
func expectedStep(s *shape, i int, n spot) step {
	if s.separate() {
		return step{kind: stepItem, spot: n, shape: s, index: int32(i)}
	}
	return step{kind: stepIndex, index: int32(i)}
}

// sameItem tells whether two items of a set or list map have the same key.
func sameItem(a, b any, s *shape) bool {
	if s.form == formSet {
		return equal(a, b)
	}
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if !aok || !bok {
		return false
	}
	for _, k := range s.keys {
		if !same(am[k], bm[k]) {
			return false
		}
	}
	return true
}

// keyed is an expected value, made or in the making, as far as keys need it.
type keyed interface {
	expects(kind nodeKind) bool
	// holds tells whether the value of a leaf is v, kidHolds that of a child by its name. One that is not there holds null.
	holds(v any) bool
	kidHolds(name string, v any) bool
}

// sameKey is sameItem for an expected item; s is the shape of the list.
func sameKey[N keyed](n N, item any, s *shape) bool {
	if s.form == formSet {
		return n.expects(expectLeaf) && n.holds(item)
	}
	m, ok := item.(map[string]any)
	if !ok || !n.expects(expectMap) {
		return false
	}
	for _, k := range s.keys {
		if !n.kidHolds(k, m[k]) {
			return false
		}
	}
	return true
}

// findIn finds the counterpart of expected item i in a list of a live object, nil if there is none.
func (n spot) findIn(items []any, s *shape, i int) any {
	if !s.separate() {
		return at(items, nil, i)
	}
	for _, item := range items {
		if sameKey(n, item, s) {
			return item
		}
	}
	return nil
}

// pairs tells for each item of a which item of b has the same key, the n-th with the n-th where a key repeats, and -1
// where there is none. nil stands for the plain case: each with the one at its own place.
func pairs(a, b []any, s *shape) []int {
	if !s.separate() || len(b) == 0 {
		return nil
	}
	i := 0
	for i < len(a) && i < len(b) && sameItem(a[i], b[i], s) {
		i++
	}
	if i == len(a) {
		return nil
	}
	places := make(map[string][]int, len(b))
	for i, item := range b {
		k := keyText(item, s)
		places[k] = append(places[k], i)
	}
	return place(a, places, s)
}

// pairs is the same for the expected items of a list node. Only a list of as many items is the plain case.
func (n spot) pairs(items []any) []int {
	s := n.shape()
	if !s.separate() {
		return nil
	}
	i := 0
	for i < len(items) && i < n.size() && sameKey(n.child(i), items[i], s) {
		i++
	}
	if i == len(items) {
		return nil
	}
	places := make(map[string][]int, n.size())
	for i := range n.size() {
		k := n.child(i).keyText(s)
		places[k] = append(places[k], i)
	}
	return place(items, places, s)
}

func place(items []any, places map[string][]int, s *shape) []int {
	out := make([]int, len(items))
	for i, item := range items {
		k := keyText(item, s)
		if free := places[k]; len(free) > 0 {
			out[i], places[k] = free[0], free[1:]
		} else {
			out[i] = -1
		}
	}
	return out
}

// keyText is the key of an item as one text. Each part is preceded by its type, so that no value can pass for another.
func keyText(item any, s *shape) string {
	if s.form == formSet {
		return typedText(item)
	}
	m, ok := item.(map[string]any)
	if !ok {
		return "?"
	}
	if len(s.keys) == 1 {
		return typedText(m[s.keys[0]])
	}
	parts := make([]string, len(s.keys))
	for i, k := range s.keys {
		parts[i] = quoted(typedText(m[k]))
	}
	return strings.Join(parts, "\x00")
}

func (n spot) keyText(s *shape) string {
	if s.form == formSet {
		return typedText(n.value())
	}
	if n.kind != expectMap {
		return "?"
	}
	parts := make([]string, len(s.keys))
	for i, k := range s.keys {
		if kid, ok := n.kid(k); ok {
			parts[i] = typedText(kid.value())
		} else {
			parts[i] = typedText(nil)
		}
		if len(s.keys) > 1 {
			parts[i] = quoted(parts[i])
		}
	}
	return strings.Join(parts, "\x00")
}

func typedText(v any) string {
	switch v.(type) {
	case nil:
		return "-"
	case string:
		return "s" + scalarText(v)
	case bool:
		return "b" + scalarText(v)
	case map[string]any, []any:
		return "?"
	}
	return "n" + scalarText(v)
}

// at is the item of list that is paired with item i, nil if there is none.
func at(list []any, pairs []int, i int) any {
	if pairs != nil {
		i = pairs[i]
	}
	if i < 0 || i >= len(list) {
		return nil
	}
	return list[i]
}
