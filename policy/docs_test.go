package policy

import (
	"os"
	"strings"
	"testing"
)

// The rule and the provenance that docs/policy.md shows do what it says they do.
func TestTheDocumentedRule(t *testing.T) {
	text, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(language, begins string) string {
		_, after, _ := strings.Cut(string(text), "```"+language+"\n"+begins)
		body, _, ok := strings.Cut(after, "```")
		if !ok {
			t.Fatalf("no block of %s that begins with %q", language, begins)
		}
		return begins + body
	}
	s := mustLoad(t, tree("payment.rego", block("rego", "# METADATA")))
	in, err := ReadInputs([]byte(pod), Context{Time: noon, Origin: []byte(block("yaml", "repository:"))})
	if err != nil {
		t.Fatal(err)
	}
	r := mustDecide(t, s, in[0])
	if messages(r.Denials) != "nobody but ada@example.com signed apps/payment/api.yaml" || r.Denials[0].ID != "payment-approvers" ||
		strings.Join(r.Controls(), "") != "SOC2-CC8.1" {
		t.Errorf("%+v", r)
	}
}
