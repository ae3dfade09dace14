package account

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// unpack is the draft that a tree was made of, as far as a tree keeps it.
func (n spot) unpack() draft {
	d := draft{name: n.name(), kind: n.kind, why: n.why, row: n.row(), value: n.value()}
	if n.kind == expectMap || n.kind == expectList || n.kind == expectNothing {
		d.shape = n.shape()
	}
	for i := range n.size() {
		d.kids = append(d.kids, n.child(i).unpack())
	}
	return d
}

// sketch makes up a draft.
func sketch(r *rand.Rand, depth int) draft {
	shapes := []*shape{formlessShape, scalarShape, {form: formMap, lax: true}, {form: formListMap, keys: []string{"name"}}}
	rows := []*row{nil, nil, nil, generatedName}
	values := []any{nil, true, false, "", "text", "text", "größer\x00", int64(0), int64(-1), int64(math.MaxInt64), int64(math.MinInt64), 0.5, 1e300, -math.SmallestNonzeroFloat64}
	d := draft{why: why(r.IntN(len(whys))), row: rows[r.IntN(len(rows))]}
	switch d.kind = nodeKind(r.IntN(int(expectLastApplied) + 1)); {
	case d.kind == expectMap && depth > 0:
		d.shape = shapes[r.IntN(len(shapes))]
		for i := range r.IntN(6) {
			kid := sketch(r, depth-1)
			kid.name = strings.Repeat(string(rune('a'+i)), 1+r.IntN(3))
			d.kids = append(d.kids, kid)
		}
	case d.kind == expectList && depth > 0:
		d.shape = shapes[r.IntN(len(shapes))]
		for range r.IntN(6) {
			d.kids = append(d.kids, sketch(r, depth-1))
		}
	case d.kind == expectNothing:
		d.shape = shapes[r.IntN(len(shapes))]
	case d.kind == expectOpaque && r.IntN(2) == 0:
		d.value = sealedLeaf{seal: Seal{byte(r.IntN(256))}}
	case d.kind != expectOpaque:
		d.kind, d.value = expectLeaf, values[r.IntN(len(values))]
	}
	return d
}

// A tree expects what its draft does, value by value, and finds each child by its name.
func TestATreeIsItsDraft(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		d := sketch(r, 4)
		root := d.pack().root()
		if got := root.unpack(); !reflect.DeepEqual(got, d) {
			t.Fatalf("draft %d: have %+v, want %+v", i, got, d)
		}
		for j := range d.kids {
			kid, ok := root.kid(d.kids[j].name)
			if d.kind == expectMap && (!ok || kid != root.child(j)) {
				t.Fatalf("draft %d: %s is not found", i, d.kids[j].name)
			}
			if !root.kidHolds(d.kids[j].name, d.kids[j].value) && d.kind == expectMap && d.kids[j].kind == expectLeaf {
				t.Fatalf("draft %d: %s does not hold %v", i, d.kids[j].name, d.kids[j].value)
			}
		}
		if _, ok := root.kid("z"); ok {
			t.Fatalf("draft %d: a child that nobody made", i)
		}
	}
}

// A leaf holds what JSON takes for the same, and nothing else, however it came to be written.
func TestALeafHoldsItsValueOnly(t *testing.T) {
	values := []any{nil, true, false, "", "1", "true", int64(1), int64(1 << 60), 1.5, float64(1), map[string]any{}, []any{}}
	for _, value := range values[:10] {
		d := draft{kind: expectLeaf, value: value}
		leaf := d.pack().root()
		for _, v := range values {
			if leaf.holds(v) != same(value, v) {
				t.Errorf("a leaf of %T %v holds %T %v: %v", value, value, v, v, leaf.holds(v))
			}
		}
	}
}

// A value that is not of JSON explains nothing.
func TestALeafOfNoJSON(t *testing.T) {
	d := draft{kind: expectLeaf, value: fmt.Errorf("no value"), why: whyDeclared}
	leaf := d.pack().root()
	for _, v := range []any{"no value", int64(0), false} {
		if leaf.holds(v) {
			t.Errorf("it holds %v", v)
		}
	}
	if !leaf.declares {
		t.Error("its absence would not be noticed")
	}
}
