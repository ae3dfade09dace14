package account

import (
	"strconv"
	"strings"
)

// Value is what an object holds at a path as Field.Path writes it, and whether it holds anything there. It is for showing people what a path
// speaks of: of two items of a list with the same keys it finds the first, and of keys
// that no item holds in full one is enough, for the path may spell defaults.
func Value(object map[string]any, path string) (any, bool) {
	v, _, ok := Locate(object, path)
	return v, ok
}

// Locate is Value, and the way there: the names of fields and the places in lists.
func Locate(object map[string]any, path string) (value any, way []any, ok bool) {
	steps, err := split(path)
	if err != nil || len(steps) == 0 {
		return nil, nil, false
	}
	var at any = object
	for _, s := range steps {
		switch x := at.(type) {
		case map[string]any:
			v, ok := x[s.name]
			if !ok {
				return nil, nil, false
			}
			at, way = v, append(way, s.name)
		case []any:
			i := itemOf(x, s.name)
			if s.kind != stepKey || i < 0 {
				return nil, nil, false
			}
			at, way = x[i], append(way, i)
		default:
			return nil, nil, false
		}
	}
	return at, way, true
}

// itemOf finds an item of a list by what stands in the brackets: its keys, itself if the list is a set, else its place; -1 if there is none.
func itemOf(list []any, text string) int {
	partly := -1
	for i, v := range list {
		m, isMap := v.(map[string]any)
		if !isMap && scalarText(v) == text {
			return i
		}
		if !isMap {
			continue
		}
		switch agrees, whole := hasKeys(m, text); {
		case agrees && whole:
			return i
		case agrees && partly < 0:
			partly = i
		}
	}
	if partly >= 0 {
		return partly
	}
	if i, err := strconv.Atoi(text); err == nil && 0 <= i && i < len(list) {
		return i
	}
	return -1
}

// hasKeys tells whether an item agrees with keys like name=web or containerPort=80,protocol=TCP, and whether it holds all of them.
func hasKeys(item map[string]any, text string) (agrees, whole bool) {
	whole = true
	for pair := range strings.SplitSeq(text, ",") {
		name, want, ok := strings.Cut(pair, "=")
		if !ok {
			return false, false
		}
		v, there := item[name]
		if there && scalarText(v) != want {
			return false, false
		}
		agrees, whole = agrees || there, whole && there
	}
	return agrees, whole
}
