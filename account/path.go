package account

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// step is one step of a field path.
type step struct {
	name  string // of a field or key
	item  any    // of a list: the item itself, whose keys are its name
	spot  spot   // of a list: the expected item, where there is no other
	shape *shape // of the list
	index int32
	kind  stepKind
}

type stepKind uint8

const (
	stepField stepKind = iota
	stepLoose          // a key of a map without a schema, written like a field
	stepKey
	stepIndex
	stepItem
)

// fieldStep is the step to a child of a map of this shape.
func fieldStep(s *shape, name string) step {
	if s.form == formStruct {
		if _, ok := s.fields[name]; ok {
			return step{name: name}
		}
	}
	if s.form != formMap && plain(name) {
		return step{kind: stepLoose, name: name}
	}
	return step{kind: stepKey, name: name}
}

// plain tells whether a name can follow a dot.
func plain(name string) bool {
	for _, r := range name {
		if r != '_' && r != '-' && !('a' <= r && r <= 'z') && !('A' <= r && r <= 'Z') && !('0' <= r && r <= '9') {
			return false
		}
	}
	return name != ""
}

// text is what the step says: a name, an index, or the keys of a list's item.
func (s *step) text() string {
	switch s.kind {
	case stepIndex:
		return strconv.Itoa(int(s.index))
	case stepItem:
		return s.key()
	}
	return s.name
}

// key is the text of a list item's key: name=web, containerPort=80,protocol=TCP; the value itself for a set.
func (s *step) key() string {
	if s.shape.form == formSet {
		if s.spot.node != nil {
			return scalarText(s.spot.value())
		}
		return scalarText(s.item)
	}
	var b strings.Builder
	for i, k := range s.shape.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(k)
		b.WriteByte('=')
		if s.spot.node != nil {
			if kid, ok := s.spot.kid(k); ok {
				b.WriteString(scalarText(kid.value()))
			}
			continue
		}
		if m, ok := s.item.(map[string]any); ok {
			b.WriteString(scalarText(m[k]))
		}
	}
	return b.String()
}

func scalarText(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case map[string]any, []any:
		return "?"
	}
	return fmt.Sprint(v)
}

// pathText writes a path as the API conventions do. Names that could be mistaken for something else are quoted.
func pathText(path []step) string {
	var b strings.Builder
	for i := range path {
		s := &path[i]
		if s.kind == stepField || s.kind == stepLoose {
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.name)
			continue
		}
		b.WriteByte('[')
		b.WriteString(quoted(s.text()))
		b.WriteByte(']')
	}
	return b.String()
}

// quoted quotes a text that holds a bracket, a quote or something that does not print: keys come from requests, and paths go to
// terminals and logs.
func quoted(s string) string {
	for _, r := range s {
		if r == '[' || r == ']' || r == '"' || !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
