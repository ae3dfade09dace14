package git

import (
	"reflect"
	"testing"
)

func TestTrailers(t *testing.T) {
	tests := map[string]struct {
		message string
		want    map[string][]string
	}{
		"the last paragraph's lines":               {"fix cart\n\nbecause\n\nTicket: SHOP-1\nReviewed-by: Ann <ann@example.org>\n", map[string][]string{"ticket": {"SHOP-1"}, "reviewed-by": {"Ann <ann@example.org>"}}},
		"a key may stand twice, in any case":       {"x\n\nTicket: A\nticket: B", map[string][]string{"ticket": {"A", "B"}}},
		"a folded line goes on":                    {"x\n\nNote: one\n  two", map[string][]string{"note": {"one two"}}},
		"a subject alone has none":                 {"Ticket: A", map[string][]string{}},
		"prose with a colon in its words has none": {"x\n\nsee the notes: here", map[string][]string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if have := Trailers(tt.message); !reflect.DeepEqual(have, tt.want) {
				t.Errorf("have %v, want %v", have, tt.want)
			}
		})
	}
}
