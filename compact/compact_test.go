package compact_test

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"testing"

	kjson "sigs.k8s.io/json"

	"github.com/commitgate/commitgate/compact"
)

// decoded is what Kubernetes' own reader makes of a text, or nil where it refuses it.
func decoded(text []byte) map[string]any {
	var m map[string]any
	strict, err := kjson.UnmarshalStrict(text, &m)
	if err != nil || len(strict) > 0 {
		return nil
	}
	return m
}

// settled is a value whose numbers are integers where they have no fraction.
func settled(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = settled(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = settled(item)
		}
		return out
	case float64:
		if v == math.Trunc(v) && -1<<63 <= v && v < 1<<63 {
			return int64(v)
		}
	}
	return v
}

// check compares everything that can be asked of an object with the map that it was made of.
func check(t *testing.T, m map[string]any) {
	t.Helper()
	o := compact.Of(m)
	want := settled(m).(map[string]any)
	if got := o.Map(); !reflect.DeepEqual(got, want) {
		t.Fatalf("have %#v, want %#v", got, want)
	}
	if again := compact.Of(o.Map()); again != o {
		t.Fatalf("have %s, want %s", again.JSON(), o.JSON())
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, []byte(o.JSON())) {
		t.Fatalf("have %s, want %s", o.JSON(), text)
	}
	var at func(v any, path []string)
	at = func(v any, path []string) {
		if got := o.At(path...); !reflect.DeepEqual(got, v) {
			t.Fatalf("at %q: have %#v, want %#v", path, got, v)
		}
		below, ok := v.(map[string]any)
		for name, item := range below {
			at(item, append(slices.Clip(path), name))
		}
		if _, there := below["no such"]; ok && !there && o.At(append(slices.Clip(path), "no such")...) != nil {
			t.Fatalf("at %q stands what nobody put there", path)
		}
	}
	at(want, nil)
}

// What goes in comes out, and a reader who knows nothing of this package reads the same.
func TestWhatGoesInComesOut(t *testing.T) {
	for name, m := range map[string]map[string]any{
		"nothing":                     {},
		"null is not absent":          {"a": nil, "b": []any{nil}},
		"empty maps and lists":        {"a": map[string]any{}, "b": []any{}},
		"the largest integers":        {"max": int64(math.MaxInt64), "min": int64(math.MinInt64), "zero": int64(0)},
		"integers and fractions":      {"i": int64(1), "f": 1.5, "whole": float64(1), "big": 1e21, "beyond": math.Pow(2, 63), "tiny": 5e-324, "huge": -1.7e308},
		"words":                       {"t": true, "f": false},
		"texts that look like others": {"a": "1", "b": "true", "c": "null", "d": "", "e": "{}", "f": "1.5"},
		"texts that need escapes":     {"a\"b\\": "\"\\\n\t\x00\x7f<>&\u2028", "größe": "größer 🚀", "<": "}", "a]": "[{,:"},
		"names in their order":        {"a": int64(1), "aa": int64(2), "A": int64(3), "": int64(4), "é": int64(5), "~": int64(6)},
		"deep":                        {"a": map[string]any{"b": []any{map[string]any{"c": []any{int64(1), "x"}}, []any{}}}},
	} {
		t.Run(name, func(t *testing.T) { check(t, m) })
	}
}

// What JSON cannot say is not said: it must neither break the text nor be taken for something else.
func TestWhatJSONCannotSay(t *testing.T) {
	for name, tt := range map[string]struct {
		in   map[string]any
		want string
	}{
		"no number":                       {map[string]any{"a": math.NaN(), "b": math.Inf(1)}, `{"a":null,"b":null}`},
		"no value":                        {map[string]any{"a": func() {}}, `{"a":null}`},
		"values of Go's own types":        {map[string]any{"a": struct{ B, A int }{1, 2}, "b": []string{"x"}, "c": map[string]string{"y": "z"}}, `{"a":{"A":2,"B":1},"b":["x"],"c":{"y":"z"}}`},
		"text that is not UTF-8":          {map[string]any{"a": "x\xffy"}, `{"a":"x\ufffdy"}`},
		"a name that is not UTF-8":        {map[string]any{"x\xff": int64(1), "a": int64(2)}, `{"a":2,"x` + "\ufffd" + `":1}`},
		"names that only differ in that":  {map[string]any{"x\xff": int64(1), "x\xfe": int64(2)}, `{"x` + "\ufffd" + `":1}`},
		"numbers of other decoders":       {map[string]any{"a": int32(1), "b": json.Number("7"), "c": uint64(math.MaxUint64)}, `{"a":1,"b":7,"c":18446744073709551615}`},
		"nil maps and lists of their own": {map[string]any{"a": map[string]any(nil), "b": []any(nil)}, `{"a":{},"b":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			o := compact.Of(tt.in)
			if o.JSON() != tt.want {
				t.Fatalf("have %s, want %s", o.JSON(), tt.want)
			}
			if decoded([]byte(o.JSON())) == nil {
				t.Fatal("Kubernetes' reader refuses it")
			}
			check(t, o.Map())
		})
	}
}

// The zero value says nothing, and looking into it or past a value finds nothing.
func TestNothing(t *testing.T) {
	var zero compact.Object
	if text, err := json.Marshal(map[string]any{"o": zero}); string(text) != `{"o":null}` || err != nil {
		t.Errorf("it marshals to %s: %v", text, err)
	}
	if !zero.IsZero() || zero.Map() != nil || zero.At("a", "b") != nil || compact.Of(nil) != zero || compact.Of(map[string]any{}) == zero {
		t.Error("the zero value says something")
	}
	o := compact.Of(map[string]any{"a": "text", "b": []any{map[string]any{"c": int64(1)}}})
	for _, path := range [][]string{{"a", "b"}, {"b", "c"}, {"b", "0"}, {"c"}, {""}} {
		if v := o.At(path...); v != nil {
			t.Errorf("at %q stands %v", path, v)
		}
	}
	if text, err := json.Marshal(o); string(text) != o.JSON() || err != nil {
		t.Errorf("it marshals to %s: %v", text, err)
	}
	if o.Text("a") != "text" || o.Text("b") != "" {
		t.Error("a text is not found")
	}
}

func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1,"a":2}`, `{"a":1.0,"b":1e3,"c":-0,"d":9223372036854775808,"e":1e-7,"f":123456789012345678901234567890}`,
		`{"a":{"b":[null,true,false,"\ud800","\u0000\"\\",{"":{}}]}}`, `{"\u00e9":"é","<":">"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if m := decoded(text); m != nil {
			check(t, m)
		}
	})
}

func BenchmarkObject(b *testing.B) {
	m := map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "app", "labels": map[string]any{"app": "app", "team": "shop"}},
		"spec": map[string]any{"replicas": int64(3), "template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{
			"name": "app", "image": "registry.test/app:1", "args": []any{"--listen=:8080"}, "ports": []any{map[string]any{"name": "http", "containerPort": int64(8080)}}}}}}}}
	o := compact.Of(m)
	b.Run("of", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			compact.Of(m)
		}
	})
	b.Run("map", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			o.Map()
		}
	})
	b.Run("at", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			o.At("metadata", "name")
		}
	})
}
