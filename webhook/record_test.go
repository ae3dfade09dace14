package webhook

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/policy"
)

// plainDigests shows what would be digested.
type plainDigests struct{}

func (plainDigests) Digest(object map[string]any) string {
	if object == nil {
		return ""
	}
	return fmt.Sprint("of ", object)
}

func (d plainDigests) Declared(content compact.Object) string { return d.Digest(content.Map()) }

func (plainDigests) Text(text string) string { return "of " + text }

// Where the operator gave a key, digests stand for what a record must not hold: objects, the declaration, claims of the credential, and what policies
// say of secrets.
func TestDigestsStandForWhatIsLeftOut(t *testing.T) {
	f := newFixture(t)
	f.handler.Digests = plainDigests{}
	claims := `"extra":{"authentication.kubernetes.io/credential-id":["JTI=7"]}`
	f.post(review(strings.Replace(fluxUser, `"extra":{}`, claims, 1), "blue", false))
	f.post(review(fluxUser, "blue", false))
	if len(f.audit.records) != 2 {
		t.Fatalf("%d records", len(f.audit.records))
	}
	for i, want := range []string{"of map[authentication.kubernetes.io/credential-id:[JTI=7]]", ""} {
		r := f.audit.records[i]
		if r.Actor.ExtraDigest != want || !strings.Contains(r.Origin.ManifestDigest, "color:blue") || !strings.Contains(r.Request.ObjectDigest, "color:blue") {
			t.Errorf("claims %q, manifest %q, object %q", r.Actor.ExtraDigest, r.Origin.ManifestDigest, r.Request.ObjectDigest)
		}
	}
	result := &policy.Result{Denials: []policy.Finding{{Policy: "commitgate.secrets", Msg: "the password is hunter2"}}}
	if v := violations(result, true, plainDigests{})[0]; v.Message != "" || v.MessageDigest != "of the password is hunter2" {
		t.Errorf("of a secret: %+v", v)
	}
	if v := violations(result, true, nil)[0]; v.Message != "" || v.MessageDigest != "" {
		t.Errorf("of a secret, without a key: %+v", v)
	}
	if v := violations(result, false, plainDigests{})[0]; v.Message == "" || v.MessageDigest != "" {
		t.Errorf("of something else: %+v", v)
	}
}
