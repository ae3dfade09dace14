package signing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestMatchPath(t *testing.T) {
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"apps/cart.yaml", "apps/cart.yaml", true},
		{"apps/cart.yaml", "apps/cart.yaml/x", false},
		{"apps/*", "apps/cart.yaml", true},
		{"apps/*", "apps/cart/image.yaml", false},
		{"apps/*", "apps", false},
		{"apps/*/image.yaml", "apps/cart/image.yaml", true},
		{"apps/*/image.yaml", "apps/a/b/image.yaml", false},
		{"apps/**", "apps/a/b/c", true},
		{"apps/**", "apps", false},
		{"apps/**", "apps2/a", false},
		{"**", "anything/at/all", true},
		{"**/image.yaml", "image.yaml", true},
		{"**/image.yaml", "a/b/image.yaml", true},
		{"**/image.yaml", "a/b/ximage.yaml", false},
		{"a/**/b/*.yaml", "a/b/x.yaml", true},
		{"a/**/b/*.yaml", "a/x/y/b/x.yaml", true},
		{"a/**/b/*.yaml", "a/x/y/x.yaml", false},
		{"f[0-4]?.yaml", "f31.yaml", true},
		{"f[0-4]?.yaml", "f51.yaml", false},
		{"*", ".hidden", true},
		{"Apps/*", "apps/x", false},
	}
	for _, tt := range tests {
		if got := matchPath(tt.pattern, tt.path); got != tt.want {
			t.Errorf("%q matches %q: %t, want %t", tt.pattern, tt.path, got, tt.want)
		}
	}
	for _, bad := range []string{"", "/apps", "apps/", "a//b", "./a", "a/../b", "a**", "**b/c", "[a"} {
		if err := checkPattern(bad); err == nil {
			t.Errorf("pattern %q is accepted", bad)
		}
	}
}

// TestKRLThatCannotBeUnderstood: what is not known in a revocation list could be the revocation that matters.
func TestKRLThatCannotBeUnderstood(t *testing.T) {
	str := func(s string) string { return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s }
	head := krlMagic + "\x00\x00\x00\x01" + strings.Repeat("\x00", 24) + str("") + str("comment")
	extension := func(critical string) string { return str("x@example.org") + critical + str("") }
	certificates := func(sub string) string { return "\x01" + str(str("")+str("")+sub) }
	tests := map[string]struct {
		krl string
		ok  bool
	}{
		"nothing in it":                          {head, true},
		"a signature, which OpenSSH has dropped": {head + "\x04" + str("x"), true},
		"an extension":                           {head + "\xff" + str(extension("\x00")), true},
		"a critical extension":                   {head + "\xff" + str(extension("\x01")), false},
		"an extension of certificates":           {head + certificates("\x39"+str(extension("\x00"))), true},
		"a critical one":                         {head + certificates("\x39"+str(extension("\x01"))), false},
		"a section that is not known":            {head + "\x09" + str("x"), false},
		"one of certificates":                    {head + certificates("\x30"+str("x")), false},
		"half a serial number":                   {head + certificates("\x20"+str("\x00\x00\x00\x01")), false},
		"half a range":                           {head + certificates("\x21"+str("\x00\x00\x00\x00\x00\x00\x00\x01")), false},
		"another format":                         {strings.Replace(head, "\x00\x00\x00\x01", "\x00\x00\x00\x02", 1), false},
		"cut short":                              {head + "\x02" + str("key")[:5], false},
		"cut short in its header":                {head[:40], false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := parseKRL([]byte(tt.krl)); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestDescribeList(t *testing.T) {
	key, authority, gone := ed25519Key(t), ed25519Key(t), ed25519Key(t)
	ca := testAuthority(t)
	list := `apiVersion: commitgate.dev/v1alpha1
kind: SignerList
x509Roots: ` + "|\n  " + strings.ReplaceAll(strings.TrimSpace(ca), "\n", "\n  ") + `
signers:
- {principal: ada, ssh: ["` + key.line() + `"], expires: "2030-01-02T00:00:00Z"}
- {principal: "*@example.org", ssh: ["cert-authority ` + authority.line() + `"]}
- {principal: gone, ssh: ["` + gone.line() + `"]}
- {principal: kim, gitsign: [{issuer: https://accounts.example, identity: kim@example.org}], x509: [kim@example.org]}
- {principal: ci, gitsign: [{issuer: https://ci.example, identityPattern: 'https://ci\.example/.*'}], forge: true}
revoked: ["` + gone.line() + `"]
sshRevocationList: ` + base64.StdEncoding.EncodeToString([]byte(krlMagic+"\x00\x00\x00\x01"+strings.Repeat("\x00", 32))) + "\n"
	keys, err := DescribeList("signers.yaml", []byte(list))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, k := range keys {
		line := string(k.Principal) + " " + string(k.Kind) + " " + k.Note
		if !k.Ends.IsZero() {
			line += " until " + k.Ends.UTC().Format(time.DateOnly)
		}
		lines = append(lines, line)
	}
	want := []string{
		"*@example.org SSH authority for *@example.org", "ada SSH  until 2030-01-02", "ci Gitsign a forge's", "gone SSH revoked", "kim Gitsign ", "kim X509 ",
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("keys\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	for name, bad := range map[string]string{
		"an identity without an issuer":     strings.Replace(list, "issuer: https://accounts.example, ", "", 1),
		"an identity and a pattern":         strings.Replace(list, "identity: kim@example.org", "identity: kim@example.org, identityPattern: kim", 1),
		"a pattern that is none":            strings.Replace(list, `\.example/.*`, `(`, 1),
		"a certificate that is neither":     strings.Replace(list, "x509: [kim@example.org]", "x509: [kim]", 1),
		"certificates without roots":        strings.Replace(list, "x509Roots:", "allowedSigners:", 1),
		"one e-mail address for two people": strings.Replace(list, "ssh: [\""+key.line()+"\"]", "x509: [kim@example.org]", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := DescribeList("signers.yaml", []byte(bad)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// testAuthority is a certificate of an authority, in PEM.
func testAuthority(t testing.TB) string {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestNestedCMS: what parsers do for each level of nesting must not add up.
func TestNestedCMS(t *testing.T) {
	for _, size := range []int{maxCMS, maxCMS + 1} {
		nested := strings.Repeat("\x30\x80", size/2+1)[:size]
		var r *refusal
		if _, err := openCMS([]byte(nested), nil); !errors.As(err, &r) || r.cause != CauseMalformed {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
