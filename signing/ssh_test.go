package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

const testPayload = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nsubject\n"

// sshKey is a key pair on disk, for ssh-keygen, and in memory.
type sshKey struct {
	signer ssh.Signer
	file   string // the private key; file.pub is the public one
}

func newSSHKey(t testing.TB, key crypto.Signer) *sshKey {
	t.Helper()
	k := &sshKey{file: filepath.Join(t.TempDir(), "key")}
	var err error
	if k.signer, err = ssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(k.file, pem.EncodeToMemory(block), 0o600), os.WriteFile(k.file+".pub", []byte(k.line()+"\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ed25519Key(t testing.TB) *sshKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newSSHKey(t, key)
}

// line is the public key as authorized_keys has it.
func (k *sshKey) line() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.signer.PublicKey())))
}

func keygen(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", append([]string{"-q"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// certify has ssh-keygen make a certificate for a key, and returns the key with it.
func (k *sshKey) certify(t testing.TB, authority *sshKey, args ...string) ssh.Signer {
	t.Helper()
	keygen(t, append(append([]string{"-s", authority.file}, args...), k.file+".pub")...)
	data, err := os.ReadFile(k.file + "-cert.pub")
	if err != nil {
		t.Fatal(err)
	}
	cert, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert.(*ssh.Certificate), k.signer)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judged is what a list says of a signature.
func judged(t testing.TB, d document, signature string, at time.Time) (Signature, Cause) {
	t.Helper()
	l, err := newList(d, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.verify(&git.Commit{Payload: []byte(testPayload), Signature: []byte(signature)}, at)
	var r *refusal
	if errors.As(err, &r) {
		return s, r.cause
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, ""
}

func TestAllowedSigners(t *testing.T) {
	t.Parallel()
	key := ed25519Key(t)
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		line  string // KEY stands for the key
		who   Principal
		cause Cause
	}{
		"a principal":                                {line: "ada@example.org KEY comment", who: "ada@example.org"},
		"several: the first is the name":             {line: "ada@example.org,ada@home.example KEY", who: "ada@example.org"},
		"a pattern and a name: the name":             {line: "*@example.org,ada@example.org KEY", who: "ada@example.org"},
		"in quotes":                                  {line: `"ada lovelace" KEY`, who: "ada lovelace"},
		"its namespace":                              {line: `ada namespaces="file,git" KEY`, who: "ada"},
		"a pattern of namespaces":                    {line: `ada namespaces="g*" KEY`, who: "ada"},
		"another namespace":                          {line: `ada namespaces="file" KEY`, cause: CauseNotAllowed},
		"every namespace but git":                    {line: `ada namespaces="*,!git" KEY`, cause: CauseNotAllowed},
		"valid by then":                              {line: `ada valid-after="20260601",valid-before="20260602" KEY`, who: "ada"},
		"to the second":                              {line: `ada valid-after="20260601120000Z" KEY`, who: "ada"},
		"not yet":                                    {line: `ada valid-after="202606011201Z" KEY`, cause: CauseExpired},
		"no more":                                    {line: `ada valid-before="20260601120000Z" KEY`, cause: CauseExpired},
		"an authority's key, used by itself":         {line: "ada cert-authority KEY", cause: CauseUnknownKey},
		"one line that does not hold, one that does": {line: "ada valid-before=\"20200101\" KEY\nada KEY", who: "ada"},
		"options in upper case":                      {line: `ada NAMESPACES="git" KEY`, who: "ada"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := document{allowedSigners: strings.ReplaceAll(tt.line, "KEY", key.line()) + "\n"}
			s, cause := judged(t, d, signSSH(t, key.signer, testPayload), now)
			if s.Principal != tt.who || cause != tt.cause {
				t.Errorf("signed by %q, refused as %q; want %q, %q", s.Principal, cause, tt.who, tt.cause)
			}
		})
	}
	for name, line := range map[string]string{
		"a key that nobody touches":              "ada no-touch-required KEY",
		"an option that is not known":            "ada trust-me KEY",
		"a quote that is not closed":             `ada namespaces="git KEY`,
		"a time that is none":                    `ada valid-after="tomorrow" KEY`,
		"an end before the beginning":            `ada valid-after="20260602",valid-before="20260601" KEY`,
		"nothing but negations":                  "!ada KEY",
		"another type than the key's":            "ada ssh-rsa " + strings.Fields(key.line())[1],
		"no key":                                 "ada",
		"the same key for two people":            "ada KEY\nbob KEY",
		"a value without quotes":                 "ada namespaces=git KEY",
		"an empty principal":                     "ada,,bob KEY",
		"a certificate in its authority's place": "ada CERT",
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(line, "CERT") {
				cert := ed25519Key(t).certify(t, ed25519Key(t), "-I", "x", "-n", "ada")
				line = strings.Replace(line, "CERT", strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert.PublicKey()))), 1)
			}
			if _, err := newList(document{allowedSigners: strings.ReplaceAll(line, "KEY", key.line())}, nil, nil); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestSSHCertificates(t *testing.T) {
	t.Parallel()
	key, authority, other := ed25519Key(t), ed25519Key(t), ed25519Key(t)
	list := "*@example.org,!eve@example.org cert-authority " + authority.line() + "\n"
	tests := map[string]struct {
		by    *sshKey
		args  []string
		extra string // lines of the list
		who   Principal
		cause Cause
	}{
		"the principal is the certificate's":     {args: []string{"-I", "x", "-n", "ada@example.org"}, who: "ada@example.org"},
		"the first that the authority may":       {args: []string{"-I", "x", "-n", "root,ada@example.org"}, who: "ada@example.org"},
		"one that the authority may not name":    {args: []string{"-I", "x", "-n", "ada@evil.example"}, cause: CauseNotAllowed},
		"one that is taken out":                  {args: []string{"-I", "x", "-n", "eve@example.org"}, cause: CauseNotAllowed},
		"nobody at all, which is everybody":      {args: []string{"-I", "x"}, cause: CauseNotAllowed},
		"another authority":                      {by: other, args: []string{"-I", "x", "-n", "ada@example.org"}, cause: CauseUnknownKey},
		"a host's certificate":                   {args: []string{"-h", "-I", "x", "-n", "ada@example.org"}, cause: CauseNotAllowed},
		"one that has ended":                     {args: []string{"-I", "x", "-n", "ada@example.org", "-V", "-2h:-1h"}, cause: CauseExpired},
		"one that has not begun":                 {args: []string{"-I", "x", "-n", "ada@example.org", "-V", "+1h:+2h"}, cause: CauseExpired},
		"one with a critical option":             {args: []string{"-I", "x", "-n", "ada@example.org", "-O", "force-command=true"}, cause: CauseBadSignature},
		"a plain key as if it were an authority": {by: other, args: []string{"-I", "x", "-n", "ada@example.org"}, extra: "bob@example.org " + other.line() + "\n", cause: CauseUnknownKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			by := authority
			if tt.by != nil {
				by = tt.by
			}
			signature := signSSH(t, key.certify(t, by, tt.args...), testPayload)
			s, cause := judged(t, document{allowedSigners: list + tt.extra}, signature, time.Now())
			if s.Principal != tt.who || cause != tt.cause {
				t.Errorf("signed by %q, refused as %q; want %q, %q", s.Principal, cause, tt.who, tt.cause)
			}
		})
	}
}

// TestSignersThatStandForSeveral: a principal that is a pattern is for certificates only, and ends for all of them.
func TestSignersThatStandForSeveral(t *testing.T) {
	t.Parallel()
	key, authority := ed25519Key(t), ed25519Key(t)
	end := metav1.NewTime(time.Now())
	signer := v1alpha1.Signer{Principal: "*@example.org", SSH: []string{"cert-authority " + authority.line()}, Expires: &end}
	signature := signSSH(t, key.certify(t, authority, "-I", "x", "-n", "ada@example.org"), testPayload)
	for offset, want := range map[time.Duration]Cause{-time.Minute: "", time.Minute: CauseExpired} {
		s, cause := judged(t, document{signers: []v1alpha1.Signer{signer}}, signature, end.Add(offset))
		if cause != want || cause == "" && s.Principal != "ada@example.org" {
			t.Errorf("%s after the end: signed by %q, refused as %q", offset, s.Principal, cause)
		}
	}
	for name, bad := range map[string]v1alpha1.Signer{
		"one person's key":    {Principal: "*@example.org", SSH: []string{key.line()}},
		"a list of people":    {Principal: "ada,bob", SSH: []string{key.line()}},
		"an identity":         {Principal: "*", Gitsign: []v1alpha1.GitsignIdentity{{Issuer: "x", Identity: "y"}}},
		"a forge":             {Principal: "*", SSH: []string{"cert-authority " + authority.line()}, Forge: true},
		"a forge's authority": {Principal: "web", SSH: []string{"cert-authority " + authority.line()}, Forge: true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newList(document{signers: []v1alpha1.Signer{bad}}, nil, &keyless{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestSSHRevocation(t *testing.T) {
	t.Parallel()
	key, authority := ed25519Key(t), ed25519Key(t)
	cert := key.certify(t, authority, "-I", "laptop", "-z", "70", "-n", "ada@example.org")
	krl := func(t *testing.T, spec string) string {
		t.Helper()
		dir := t.TempDir()
		file, in := filepath.Join(dir, "krl"), filepath.Join(dir, "spec")
		if err := os.WriteFile(in, []byte(spec), 0o600); err != nil {
			t.Fatal(err)
		}
		keygen(t, "-k", "-f", file, "-s", authority.file+".pub", in)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(data)
	}
	fingerprint := ssh.FingerprintSHA256(key.signer.PublicKey())
	tests := map[string]struct {
		spec        string // of a KRL
		revoked     []string
		plain, cert bool // what is revoked by it
	}{
		"nobody":                        {spec: "serial: 1\n"},
		"the key":                       {spec: key.line(), plain: true, cert: true},
		"its SHA-256":                   {spec: "hash: " + fingerprint, plain: true, cert: true},
		"its SHA-1":                     {spec: "sha1: " + key.line(), plain: true, cert: true},
		"the certificate's serial":      {spec: "serial: 70\n", cert: true},
		"a range of serials":            {spec: "serial: 60-80\n", cert: true},
		"many serials, as a bitmap":     {spec: "serial: 3\nserial: 7\nserial: 50\nserial: 53\nserial: 66\nserial: 70\nserial: 73\nserial: 75\n", cert: true},
		"many serials but this":         {spec: "serial: 3\nserial: 7\nserial: 50\nserial: 53\nserial: 66\nserial: 71\nserial: 73\nserial: 75\n"},
		"the certificate's id":          {spec: "id: laptop\n", cert: true},
		"another id":                    {spec: "id: desktop\n"},
		"the authority":                 {spec: authority.line(), cert: true},
		"the key in a list":             {revoked: []string{key.line()}, plain: true, cert: true},
		"its fingerprint in a list":     {revoked: []string{fingerprint}, plain: true, cert: true},
		"the authority in a list":       {revoked: []string{authority.line()}, cert: true},
		"somebody else's key in a list": {revoked: []string{ed25519Key(t).line()}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := document{allowedSigners: "ada@example.org " + key.line() + "\n*@example.org cert-authority " + authority.line() + "\n", revoked: tt.revoked}
			if tt.spec != "" {
				d.krl = krl(t, tt.spec)
			}
			for what, c := range map[string]struct {
				signer  ssh.Signer
				revoked bool
			}{"key": {key.signer, tt.plain}, "certificate": {cert, tt.cert}} {
				s, cause := judged(t, d, signSSH(t, c.signer, testPayload), time.Now())
				if c.revoked != (cause == CauseRevoked) || !c.revoked && s.Principal != "ada@example.org" {
					t.Errorf("the %s: signed by %q, refused as %q; want it revoked: %t", what, s.Principal, cause, c.revoked)
				}
			}
		})
	}
	for name, spec := range map[string]string{"not base64": "?", "no KRL": "aGVsbG8="} {
		if _, err := newList(document{allowedSigners: "a " + key.line(), krl: spec}, nil, nil); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestSSHKeyTypes(t *testing.T) {
	t.Parallel()
	made := func(key crypto.Signer, err error) func(*testing.T) ssh.Signer {
		return func(t *testing.T) ssh.Signer {
			if err != nil {
				t.Fatal(err)
			}
			return newSSHKey(t, key).signer
		}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		signer func(*testing.T) ssh.Signer
		cause  Cause
	}{
		"ECDSA P-256":        {signer: made(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))},
		"ECDSA P-384":        {signer: made(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))},
		"ECDSA P-521":        {signer: made(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))},
		"RSA with SHA-512":   {signer: func(t *testing.T) ssh.Signer { return rsaSigner(t, rsaKey, ssh.KeyAlgoRSASHA512) }},
		"RSA with SHA-256":   {signer: func(t *testing.T) ssh.Signer { return rsaSigner(t, rsaKey, ssh.KeyAlgoRSASHA256) }},
		"RSA with SHA-1":     {signer: func(t *testing.T) ssh.Signer { return rsaSigner(t, rsaKey, ssh.KeyAlgoRSA) }, cause: CauseWeak},
		"a security key":     {signer: func(t *testing.T) ssh.Signer { return newSecurityKey(t, 0x01) }},
		"one nobody touched": {signer: func(t *testing.T) ssh.Signer { return newSecurityKey(t, 0x00) }, cause: CauseBadSignature},
		"one that says it was, afterwards": {signer: func(t *testing.T) ssh.Signer {
			k := newSecurityKey(t, 0x00)
			k.claim = 0x01
			return k
		}, cause: CauseBadSignature},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			signer := tt.signer(t)
			d := document{allowedSigners: "ada@example.org " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))}
			s, cause := judged(t, d, signSSH(t, signer, testPayload), time.Now())
			if cause != tt.cause || cause == "" && s.Principal != "ada@example.org" {
				t.Errorf("signed by %q, refused as %q; want %q", s.Principal, cause, tt.cause)
			}
		})
	}
	t.Run("a security key must verify its user where the list says so", func(t *testing.T) {
		for flags, want := range map[byte]Cause{0x01: CauseNotAllowed, 0x05: ""} {
			signer := newSecurityKey(t, flags)
			d := document{allowedSigners: "ada verify-required " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))}
			if _, cause := judged(t, d, signSSH(t, signer, testPayload), time.Now()); cause != want {
				t.Errorf("flags %#x: refused as %q, want %q", flags, cause, want)
			}
		}
	})
	t.Run("a list takes no short RSA key", func(t *testing.T) {
		block, _ := pem.Decode(must(exec.Command("openssl", "genrsa", "1024").Output())(t))
		short, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		public, err := ssh.NewPublicKey(short.(*rsa.PrivateKey).Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newList(document{signers: []v1alpha1.Signer{{Principal: "a", SSH: []string{string(ssh.MarshalAuthorizedKey(public))}}}}, nil, nil); err == nil || !strings.Contains(err.Error(), "2048") {
			t.Errorf("error %v", err)
		}
	})
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// oneAlgorithm signs with one algorithm of a key that knows several.
type oneAlgorithm struct {
	ssh.AlgorithmSigner
	algorithm string
}

func rsaSigner(t *testing.T, key *rsa.PrivateKey, algorithm string) ssh.Signer {
	return oneAlgorithm{newSSHKey(t, key).signer.(ssh.AlgorithmSigner), algorithm}
}

func (s oneAlgorithm) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(r, data, s.algorithm)
}

// securityKey is a FIDO2 key in software (OpenSSH PROTOCOL.u2f).
type securityKey struct {
	public ssh.PublicKey
	key    ed25519.PrivateKey
	flags  byte // what it did
	claim  byte // what the signature says
}

func newSecurityKey(t testing.TB, flags byte) *securityKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	blob := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, "ssh:"})
	parsed, err := ssh.ParsePublicKey(blob)
	if err != nil {
		t.Fatal(err)
	}
	return &securityKey{parsed, private, flags, flags}
}

func (k *securityKey) PublicKey() ssh.PublicKey { return k.public }

func (k *securityKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	application, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	signed := append(append(append(application[:], k.flags), 0, 0, 0, 7), message[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.key, signed), Rest: []byte{k.claim, 0, 0, 0, 7}}, nil
}
