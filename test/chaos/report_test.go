package chaos

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const reliability = "../../docs/reliability.md"

// write makes docs/reliability.md from a run.
func write(t *testing.T, phases []*phase, named, lost int) {
	t.Helper()
	var rows []string
	i := 0
	for _, e := range events() {
		if e.skip != "" {
			t.Fatalf("%s did not happen: %s", e.name, e.skip)
		}
		rows = append(rows, phases[i].row(e.does))
		i++
	}
	text := document(rows) + fmt.Sprintf("\n%d records were named in answers, and %d of them lost.\n", named, lost)
	if err := os.WriteFile(reliability, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReliabilityDocument holds docs/reliability.md to the events that happen: the text and each row, but for the numbers of its run; and those must be zero
// where anything else were a defect.
func TestReliabilityDocument(t *testing.T) {
	text, err := os.ReadFile(reliability)
	if err != nil {
		t.Fatal(err)
	}
	head := document(nil)
	rest, found := strings.CutPrefix(string(text), strings.TrimSuffix(head, "\n"))
	if !found {
		t.Fatal("the text is not what the source says: make reliability")
	}
	rows := strings.Split(strings.TrimSpace(rest), "\n")
	all := events()
	if len(rows) != len(all)+2 {
		t.Fatalf("%d lines, want a row for each of %d events: make reliability", len(rows), len(all))
	}
	for i, e := range all {
		if !strings.HasPrefix(rows[i], rowHead(e.name, e.does)) || !strings.HasSuffix(rows[i], " | 0 |") {
			t.Errorf("not the row of %q, or not without a wrong decision: %s", e.name, rows[i])
		}
	}
	if last := rows[len(rows)-1]; !strings.HasSuffix(last, " and 0 of them lost.") {
		t.Error(last)
	}
}
