package signing

import (
	"bytes"
	"crypto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// gnupg is a key ring of a test's own.
type gnupg struct {
	*testing.T
	home string
}

func newGnuPG(t *testing.T) *gnupg {
	t.Helper()
	g := &gnupg{t, must(os.MkdirTemp("", "gpg-"))(t)} // short: a socket lies in it
	t.Cleanup(func() {
		cmd := exec.Command("gpgconf", "--kill", "all")
		cmd.Env = append(os.Environ(), "GNUPGHOME="+g.home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("gpgconf: %v: %s", err, out)
		}
		os.RemoveAll(g.home)
	})
	return g
}

func (g *gnupg) run(input string, args ...string) string {
	g.Helper()
	cmd := exec.Command("gpg", append([]string{"--batch", "--quiet", "--no-tty", "--passphrase", "", "--pinentry-mode", "loopback"}, args...)...)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+g.home)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		g.Fatalf("gpg %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// fingerprints are those of a person's keys, the primary one first.
func (g *gnupg) fingerprints(who string) (all []string) {
	g.Helper()
	for line := range strings.Lines(g.run("", "--with-colons", "--list-keys", who)) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" {
			all = append(all, fields[9])
		}
	}
	return all
}

func (g *gnupg) sign(args ...string) string {
	g.Helper()
	return g.run(testPayload, append(args, "--armor", "--detach-sign")...)
}

func (g *gnupg) document(who string) document {
	g.Helper()
	return document{signers: []v1alpha1.Signer{{Principal: "pia", OpenPGP: g.run("", "--armor", "--export", who)}}}
}

func TestOpenPGP(t *testing.T) {
	t.Parallel()
	g := newGnuPG(t)
	g.run("", "--quick-generate-key", "ed@example.org", "ed25519", "sign", "never")
	g.run("", "--quick-generate-key", "rsa@example.org", "rsa2048", "sign", "never")
	g.run("", "--quick-generate-key", "nist@example.org", "nistp256", "sign", "never")
	g.run("", "--quick-generate-key", "sub@example.org", "ed25519", "cert", "never")
	g.run("", "--quick-add-key", g.fingerprints("sub@example.org")[0], "ed25519", "sign", "never")
	g.run("", "--quick-generate-key", "short@example.org", "ed25519", "sign", "1d")
	tomorrow := time.Now().Add(25 * time.Hour)

	tests := map[string]struct {
		who   string
		args  []string
		at    time.Time
		cause Cause
	}{
		"Ed25519":                       {who: "ed@example.org"},
		"RSA":                           {who: "rsa@example.org"},
		"NIST P-256":                    {who: "nist@example.org"},
		"a subkey":                      {who: "sub@example.org"},
		"SHA-384":                       {who: "rsa@example.org", args: []string{"--digest-algo", "SHA384"}},
		"SHA-1":                         {who: "rsa@example.org", args: []string{"--digest-algo", "SHA1"}, cause: CauseWeak},
		"text mode":                     {who: "ed@example.org", args: []string{"--textmode"}, cause: CauseMalformed},
		"a key before its end":          {who: "short@example.org"},
		"a key after its end":           {who: "short@example.org", at: tomorrow, cause: CauseExpired},
		"a signature after its own end": {who: "ed@example.org", args: []string{"--default-sig-expire", "1d"}, at: tomorrow, cause: CauseExpired},
		"two signatures in one":         {who: "ed@example.org", args: []string{"--local-user", "rsa@example.org"}, cause: CauseMalformed},
		"a critical notation":           {who: "ed@example.org", args: []string{"--sig-notation", "!x@example.org=y"}, cause: CauseMalformed},
		"a notation":                    {who: "ed@example.org", args: []string{"--sig-notation", "x@example.org=y"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.at.IsZero() {
				tt.at = time.Now()
			}
			s, cause := judged(t, g.document(tt.who), g.sign(append([]string{"--local-user", tt.who}, tt.args...)...), tt.at)
			if cause != tt.cause || cause == "" && (s.Principal != "pia" || s.Kind != KindOpenPGP) {
				t.Errorf("signed by %+v, refused as %q; want %q", s, cause, tt.cause)
			}
		})
	}
	ed := g.sign("--local-user", "ed@example.org")
	t.Run("a key that the list does not hold", func(t *testing.T) {
		if _, cause := judged(t, g.document("rsa@example.org"), ed, time.Now()); cause != CauseUnknownKey {
			t.Errorf("refused as %q", cause)
		}
	})
	t.Run("a key that the list revokes, by its primary key's fingerprint too", func(t *testing.T) {
		for _, who := range []string{"ed@example.org", "sub@example.org"} {
			d := g.document(who)
			d.revoked = []string{g.fingerprints(who)[0]}
			if _, cause := judged(t, d, g.sign("--local-user", who), time.Now()); cause != CauseRevoked {
				t.Errorf("%s: refused as %q", who, cause)
			}
		}
	})
	t.Run("a key that its owner has revoked, whatever the signature's date", func(t *testing.T) {
		file := filepath.Join(g.home, "openpgp-revocs.d", g.fingerprints("ed@example.org")[0]+".rev")
		text := strings.Replace(string(must(os.ReadFile(file))(t)), ":-----BEGIN", "-----BEGIN", 1)
		g.run(text, "--import")
		if _, cause := judged(t, g.document("ed@example.org"), ed, time.Now()); cause != CauseRevoked {
			t.Errorf("refused as %q", cause)
		}
	})
	t.Run("a list takes no key that cannot sign", func(t *testing.T) {
		g.run("", "--quick-generate-key", "weak@example.org", "rsa1024", "sign", "never")
		g.run("", "--quick-generate-key", "certonly@example.org", "ed25519", "cert", "never")
		for _, who := range []string{"weak@example.org", "certonly@example.org"} {
			if _, err := newList(g.document(who), nil, nil); err == nil || !strings.Contains(err.Error(), "cannot sign") {
				t.Errorf("%s: %v", who, err)
			}
		}
	})
}

// TestOpenPGPv6: keys of RFC 9580, which gpg does not know.
func TestOpenPGPv6(t *testing.T) {
	t.Parallel()
	config := &packet.Config{V6Keys: true, Algorithm: packet.PubKeyAlgoEd25519, DefaultHash: crypto.SHA512}
	entity, err := openpgp.NewEntity("Vi", "", "vi@example.org", config)
	if err != nil {
		t.Fatal(err)
	}
	var public, signature bytes.Buffer
	w := must(armor.Encode(&public, "PGP PUBLIC KEY BLOCK", nil))(t)
	if err := entity.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openpgp.ArmoredDetachSign(&signature, []*openpgp.Entity{entity}, strings.NewReader(testPayload), &openpgp.SignParams{Config: config}); err != nil {
		t.Fatal(err)
	}
	d := document{signers: []v1alpha1.Signer{{Principal: "vi", OpenPGP: public.String()}}}
	s, cause := judged(t, d, signature.String()+"\n", time.Now())
	if cause != "" || s.Principal != "vi" || len(s.Key) != 64 {
		t.Errorf("signed by %+v, refused as %q", s, cause)
	}
}
