package signing_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/test/forge"
)

// company is a certificate authority of the test's own.
type company struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
}

func newCompany(t testing.TB, name string) *company {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return &company{t, makeCertificate(t, template, template, key.Public(), key), key}
}

func makeCertificate(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	template.SerialNumber = must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100)))(t)
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, public, signer))(t)))(t)
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// employee is a certificate with its key; change makes it another one than is right for signing commits.
func (c *company) employee(email string, key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	c.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: email}, EmailAddresses: []string{email}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}
	if change != nil {
		change(template)
	}
	return makeCertificate(c.t, template, c.cert, key.Public(), c.key)
}

// opensslSign signs a payload as smimesign does, with OpenSSL's own CMS.
func opensslSign(t testing.TB, payload []byte, cert *x509.Certificate, key crypto.Signer, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyFile := write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(t)}))
	args = append([]string{"cms", "-sign", "-binary", "-outform", "DER", "-in", write("payload", payload), "-signer", write("cert.pem", []byte(pemOf(cert))), "-inkey", keyFile}, args...)
	out, err := exec.Command("openssl", args...).Output()
	if err != nil {
		t.Fatalf("openssl: %v: %s", err, err.(*exec.ExitError).Stderr)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "SIGNED MESSAGE", Bytes: out}))
}

func TestX509(t *testing.T) {
	t.Parallel()
	ecKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	tests := map[string]struct {
		key    func() crypto.Signer
		change func(*x509.Certificate)
		args   []string // of openssl cms
		entry  string   // in the signer list; "" is the e-mail address
		other  bool     // by an authority that is not trusted
		cause  signing.Cause
		text   string
	}{
		"an ECDSA certificate":         {},
		"an RSA certificate":           {key: func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048))(t) }},
		"one for code signing":         {change: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }},
		"one for web servers":          {change: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, cause: signing.CauseUnknownKey, text: "incompatible key usage"},
		"one for encryption":           {change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, cause: signing.CauseNotAllowed, text: "not for signing"},
		"one that has ended":           {change: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, cause: signing.CauseExpired, text: "cat@example.org"},
		"one of another company":       {other: true, cause: signing.CauseUnknownKey, text: "unknown authority"},
		"one of somebody else":         {change: func(c *x509.Certificate) { c.EmailAddresses = []string{"dan@example.org"} }, cause: signing.CauseUnknownKey, text: "does not hold the X.509 certificate of dan@example.org"},
		"a short RSA key":              {key: func() crypto.Signer { return shortRSA(t) }, cause: signing.CauseWeak, text: "2048 bits"},
		"SHA-1":                        {args: []string{"-md", "sha1"}, cause: signing.CauseWeak, text: "digest"},
		"no signed attributes":         {args: []string{"-noattr"}, cause: signing.CauseMalformed, text: "content type"},
		"content of its own":           {args: []string{"-nodetach"}, cause: signing.CauseMalformed, text: "detached"},
		"a signer without certificate": {args: []string{"-nocerts"}, cause: signing.CauseMalformed, text: "certificate"},
		"a signer by key identifier":   {change: func(c *x509.Certificate) { c.SubjectKeyId = []byte{1, 2, 3, 4} }, args: []string{"-keyid"}, cause: signing.CauseMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			acme, other := newCompany(t, "Acme"), newCompany(t, "Other")
			issuer := acme
			if tt.other {
				issuer = other
			}
			var key crypto.Signer = ecKey
			if tt.key != nil {
				key = tt.key()
			}
			cert := issuer.employee("cat@example.org", key, tt.change)
			entry := tt.entry
			if entry == "" {
				entry = "cat@example.org"
			}
			s.spec.X509Roots = pemOf(acme.cert)
			s.spec.Signers = append(s.spec.Signers, v1alpha1.Signer{Principal: "cat", X509: []string{entry}})
			c := must(git.ParseCommit(s.commit(s.ada, nil), []byte(s.raw(must(s.repo.Head(t.Context()))(t)))))(t)
			id := s.head(withSignature(string(c.Payload), opensslSign(t, c.Payload, cert, key, tt.args...)))
			if tt.cause != "" {
				s.refuses(id, tt.cause, tt.text)
				return
			}
			sum := sha256.Sum256(cert.Raw)
			sig := s.accepts()
			if len(sig) != 1 || sig[0].Principal != "cat" || sig[0].Kind != signing.KindX509 || sig[0].Key != hex.EncodeToString(sum[:]) {
				t.Errorf("signatures %+v", sig)
			}
			signed := must(git.ParseCommit(id, []byte(s.raw(id))))(t)
			if who := must(signing.Identify(signed))(t); who.Kind != signing.KindX509 || who.Name != "cat@example.org" || who.Key != sig[0].Key {
				t.Errorf("identified as %+v", who)
			}
			// The same signature over another message.
			s.from = signing.Verified{}
			s.refuses(s.tamper(id, "change", "chance"), signing.CauseBadSignature, "does not fit")
			// The same, revoked.
			s.git("reset", "--quiet", "--soft", string(id))
			s.spec.Revoked = []string{hex.EncodeToString(sum[:])}
			s.refuses(id, signing.CauseRevoked, "cat@example.org")
			s.spec.Revoked = nil
			// The same, listed by its fingerprint.
			s.spec.Signers[2].X509 = []string{hex.EncodeToString(sum[:])}
			s.accepts()
		})
	}
}

func shortRSA(t testing.TB) crypto.Signer {
	t.Helper()
	out := must(exec.Command("openssl", "genrsa", "1024").Output())(t)
	block, _ := pem.Decode(out)
	return must(x509.ParsePKCS8PrivateKey(block.Bytes))(t).(crypto.Signer)
}

// TestGPGSM: git with gpgsm, as people with S/MIME certificates have it.
func TestGPGSM(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	acme := newCompany(t, "Acme")
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	cert := acme.employee("cat@example.org", key, nil)
	program := gpgsm(t, acme, cert, key)
	s.spec.X509Roots = pemOf(acme.cert)
	s.spec.Signers = append(s.spec.Signers, v1alpha1.Signer{Principal: "cat", X509: []string{"cat@example.org"}})
	s.git("config", "gpg.x509.program", program)
	s.git("config", "gpg.format", "x509")
	must(s.repo.As(t.Context(), forge.WithoutKey("cat", "cat@example.org"), "commit", "--quiet", "--allow-empty", "--message=by gpgsm", "-Scat@example.org"))(t)
	if sig := s.accepts(); len(sig) != 1 || sig[0].Principal != "cat" || sig[0].Kind != signing.KindX509 {
		t.Errorf("signatures %+v", sig)
	}
}

// gpgsm makes a program that is gpgsm with a certificate and its key.
func gpgsm(t testing.TB, authority *company, cert *x509.Certificate, key crypto.Signer) string {
	t.Helper()
	home := must(os.MkdirTemp("", "gpgsm-"))(t) // short: a socket lies in it
	run := func(program string, args ...string) {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		cmd.Dir = home
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
		}
	}
	t.Cleanup(func() { run("gpgconf", "--kill", "all"); os.RemoveAll(home) })
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(t)})), 0o600)
	write("cert.pem", pemOf(cert), 0o600)
	write("ca.pem", pemOf(authority.cert), 0o600)
	write("gpg-agent.conf", "allow-loopback-pinentry\n", 0o600)
	write("gpgsm.conf", "disable-crl-checks\ndisable-dirmngr\nagent-program "+must(exec.LookPath("gpg-agent"))(t)+"\n", 0o600)
	run("openssl", "pkcs12", "-export", "-legacy", "-in", "cert.pem", "-inkey", "key.pem", "-out", "key.p12", "-passout", "pass:secret")
	run("gpgsm", "--batch", "--import", "ca.pem")
	sum := sha1.Sum(authority.cert.Raw) // gpg-agent's trustlist.txt goes by it
	write("trustlist.txt", strings.ToUpper(hex.EncodeToString(sum[:]))+" S relax\n", 0o600)
	write("passphrase", "secret", 0o600)
	run("sh", "-c", "printf secret | gpgsm --batch --pinentry-mode loopback --passphrase-fd 0 --import key.p12")
	return write("program", "#!/bin/sh\nGNUPGHOME="+home+" exec gpgsm --batch --pinentry-mode loopback --passphrase-fd 3 \"$@\" 3<"+home+"/passphrase\n", 0o700)
}
