package accounting

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/account"
)

// tamper changes a faithful object in one leaf after the other, as somebody with the agent's token could, and expects that each change is
// refused and named: when the object is created, and when it is updated.
func (s *server) tamper(t *testing.T, types *account.Types, declared, served map[string]any) {
	t.Helper()
	o := s.declare(t, types, declared, false)
	reasons := map[string]account.Why{}
	for _, f := range o.Fields(account.Change{Object: served}) {
		reasons[f.Path] = f.Why
	}
	failures := 0
	for what, tampered := range changes(served) {
		paths := types.Differences(served, tampered)
		if !judged(what, paths, reasons) {
			continue
		}
		s.tampered++
		for operation, change := range map[string]account.Change{"create": {Object: tampered}, "update": {Object: tampered, Old: served}} {
			r := o.Explain(change)
			if named := slices.Concat(r.Unexplained, r.Missing); !names(named, paths) {
				if failures++; failures < 5 {
					t.Errorf("%s, %s: want one of %q refused, have %q", operation, what, paths, named)
				}
			}
		}
	}
}

// judged tells whether a change is one that the accounting must refuse: not of what the API server sets whatever is sent, nor the lack of
// a default.
func judged(what string, paths []string, reasons map[string]account.Why) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		switch why, known := reasons[p]; {
		case strings.HasPrefix(what, "without"):
			return why == account.Declared || why == account.Agent
		case known:
			return why != account.Server
		}
		// The name of a token's volume ends at random; what a CertificateSigningRequest says of its user the server overwrites.
		return !strings.Contains(p, "[name=kube-api-access-") && !strings.HasPrefix(p, "spec.extra[") && !strings.HasPrefix(p, "spec.groups[")
	})
}

// names tells whether a result names one of the changed places, or one inside or around it.
func names(named, paths []string) bool {
	return slices.ContainsFunc(named, func(n string) bool {
		return slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, n) || strings.HasPrefix(n, p) })
	})
}

// changes yields an object with one leaf changed, removed or added, and says which.
func changes(object map[string]any) func(yield func(string, map[string]any) bool) {
	return func(yield func(string, map[string]any) bool) {
		stopped := false
		change := func(what string, place []any, v any) {
			if stopped {
				return
			}
			out, _ := set(object, place, v).(map[string]any)
			stopped = !yield(what+" "+text(place), out)
		}
		visit(object, nil, change)
	}
}

func visit(v any, place []any, change func(what string, place []any, v any)) {
	switch x := v.(type) {
	case map[string]any:
		if text(place) == "status" || text(place) == "metadata.managedFields" {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(x)) {
			here := append(slices.Clone(place), name)
			less := maps.Clone(x)
			delete(less, name)
			if len(place) > 0 {
				change("without "+name, place, less)
			}
			visit(x[name], here, change)
		}
		if len(place) > 0 {
			more := maps.Clone(x)
			more["tampered"] = "with"
			change("more in", place, more)
		}
	case []any:
		for i, item := range x {
			visit(item, append(slices.Clone(place), i), change)
		}
		if len(x) > 0 {
			change("one more in", place, append(slices.Clone(x), other(x[len(x)-1])))
			change("without the last of", place, x[:len(x)-1])
		}
	default:
		change("another", place, other(v))
	}
}

// other is a value of the same type that is not v.
func other(v any) any {
	switch x := v.(type) {
	case string:
		return x + "x"
	case bool:
		return !x
	case int64:
		return x + 1
	case float64:
		return x + 1
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, item := range x {
			out[k] = other(item)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = other(item)
		}
		return out
	}
	return fmt.Sprint(v, "x")
}
