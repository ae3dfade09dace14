package account

import (
	"strconv"
	"strings"
)

// Value is what an object holds at a path as Field.Path writes it, and whether it holds anything there. It is for showing people what a path
// speaks of: of two items of a list with the same keys it finds the first, and of keys
// that no item holds in full one is enough, for the path may spell defaults.
func Value(object map[string]any, path string) (any, bool) {
	steps, err := split(path)
	if err != nil || len(steps) == 0 {
		return nil, false
	}
	var at any = object
	for _, s := range steps {
		switch x := at.(type) {
		case map[string]any:
			v, ok := x[s.name]
			if !ok {
				return nil, false
			}
			at = v
		case []any:
			v, ok := itemOf(x, s.name)
			if s.kind != stepKey || !ok {
				return nil, false
			}
			at = v
		default:
			return nil, false
		}
	}
	return at, true
}

// itemOf finds an item of a list by what stands in the brackets: its keys, itself if the list is a set, else its place.
func itemOf(list []any, text string) (any, bool) {
	var partly any
	for _, v := range list {
		m, isMap := v.(map[string]any)
		if !isMap && scalarText(v) == text {
			return v, true
		}
		if !isMap {
			continue
		}
		switch agrees, whole := hasKeys(m, text); {
		case agrees && whole:
			return v, true
		case agrees && partly == nil:
			partly = v
		}
	}
	if partly != nil {
		return partly, true
	}
	if i, err := strconv.Atoi(text); err == nil && 0 <= i && i < len(list) {
		return list[i], true
	}
	return nil, false
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
