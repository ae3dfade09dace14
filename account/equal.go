package account

import (
	"encoding/json"
	"slices"
)

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
