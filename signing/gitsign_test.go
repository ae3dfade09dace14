package signing_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/digitorus/pkcs7"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/proto"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// sigstoreWorld is a Fulcio, its certificate log and a Rekor of the test's own, with real keys: what they make is verified by sigstore's own code.
type sigstoreWorld struct {
	t            testing.TB
	authority    *x509.Certificate
	authorityKey *ecdsa.PrivateKey
	ct, rekor    *ecdsa.PrivateKey
}

func newSigstoreWorld(t testing.TB) *sigstoreWorld {
	t.Helper()
	key := func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t) }
	w := &sigstoreWorld{t: t, authorityKey: key(), ct: key(), rekor: key()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "fulcio of the test"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	w.authority = makeCertificate(t, template, template, w.authorityKey.Public(), w.authorityKey)
	return w
}

// trustedRoot writes a trusted_root.json.
func (w *sigstoreWorld) trustedRoot() string {
	w.t.Helper()
	log := func(key *ecdsa.PrivateKey) map[string]*root.TransparencyLog {
		id := keyID(w.t, key)
		return map[string]*root.TransparencyLog{hex.EncodeToString(id): {
			BaseURL: "https://log.example", ID: id, ValidityPeriodStart: time.Now().Add(-48 * time.Hour), HashFunc: 5, PublicKey: key.Public(), SignatureHashFunc: 5,
		}}
	}
	authority := &root.FulcioCertificateAuthority{Root: w.authority, ValidityPeriodStart: time.Now().Add(-48 * time.Hour), URI: "https://fulcio.example"}
	tr := must(root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{authority}, log(w.ct), nil, log(w.rekor)))(w.t)
	file := filepath.Join(w.t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(file, must(tr.MarshalJSON())(w.t), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

func keyID(t testing.TB, key *ecdsa.PrivateKey) []byte {
	sum := sha256.Sum256(must(x509.MarshalPKIXPublicKey(key.Public()))(t))
	return sum[:]
}

// keylessSignature is what differs from a right one.
type keylessSignature struct {
	identity, issuer string
	at               time.Time     // when Fulcio makes the certificate
	logged           time.Duration // after that, when Rekor logs the signature
	noSCT            bool
	noEntry          bool
	proof            bool                                // an inclusion proof and not just a promise
	entry            func(*rekorpb.TransparencyLogEntry) // changes it
}

// sign makes a signature as gitsign does with rekorMode=offline.
func (w *sigstoreWorld) sign(payload []byte, k keylessSignature) string {
	w.t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(w.t)
	cert := w.certificate(key, k)
	sd := must(pkcs7.NewSignedData(payload))(w.t)
	sd.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := sd.AddSigner(cert, key, pkcs7.SignerInfoConfig{}); err != nil {
		w.t.Fatal(err)
	}
	signer := &sd.GetSignedData().SignerInfos[0]
	if !k.noEntry {
		attributes := must(asn1.MarshalWithParams(signer.AuthenticatedAttributes, "set"))(w.t)
		entry := w.log(attributes, signer.EncryptedDigest, cert, k)
		if k.entry != nil {
			k.entry(entry)
		}
		attribute := pkcs7.Attribute{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 3, 1}, Value: must(proto.Marshal(entry))(w.t)}
		if err := signer.SetUnauthenticatedAttributes([]pkcs7.Attribute{attribute}); err != nil {
			w.t.Fatal(err)
		}
	}
	sd.Detach()
	return string(pem.EncodeToMemory(&pem.Block{Type: "SIGNED MESSAGE", Bytes: must(sd.Finish())(w.t)}))
}

// certificate is one as Fulcio makes it: for ten minutes, with its log's timestamp (RFC 6962, section 3.3) inside.
func (w *sigstoreWorld) certificate(key *ecdsa.PrivateKey, k keylessSignature) *x509.Certificate {
	w.t.Helper()
	issuer := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: must(asn1.MarshalWithParams(k.issuer, "utf8"))(w.t)}
	template := &x509.Certificate{
		EmailAddresses: []string{k.identity}, NotBefore: k.at, NotAfter: k.at.Add(10 * time.Minute), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, ExtraExtensions: []pkix.Extension{issuer},
	}
	if u, err := url.Parse(k.identity); err == nil && u.Scheme != "" {
		template.EmailAddresses, template.URIs = nil, []*url.URL{u}
	}
	cert := makeCertificate(w.t, template, w.authority, key.Public(), w.authorityKey)
	if k.noSCT {
		return cert
	}
	timestamp := binary.BigEndian.AppendUint64(nil, uint64(k.at.UnixMilli()))
	issuerHash := sha256.Sum256(w.authority.RawSubjectPublicKeyInfo)
	tbs := cert.RawTBSCertificate
	input := append([]byte{0, 0}, timestamp...)
	input = append(append(input, 0, 1), issuerHash[:]...)
	input = append(input, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	input = append(append(input, tbs...), 0, 0)
	sum := sha256.Sum256(input)
	sig := must(ecdsa.SignASN1(rand.Reader, w.ct, sum[:]))(w.t)
	sct := append(append(append([]byte{0}, keyID(w.t, w.ct)...), timestamp...), 0, 0, 4, 3)
	sct = append(binary.BigEndian.AppendUint16(sct, uint16(len(sig))), sig...)
	list := append(binary.BigEndian.AppendUint16(nil, uint16(len(sct))), sct...)
	list = append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...)
	serial := cert.SerialNumber
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: must(asn1.Marshal(list))(w.t)})
	template.SerialNumber = serial
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, w.authority, key.Public(), w.authorityKey))(w.t)))(w.t)
}

// log is what Rekor answers: its promise, and on demand a proof, from a log with this one entry.
func (w *sigstoreWorld) log(attributes, signature []byte, cert *x509.Certificate, k keylessSignature) *rekorpb.TransparencyLogEntry {
	w.t.Helper()
	sum := sha256.Sum256(attributes)
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},"signature":{"content":"%s","publicKey":{"content":"%s"}}}}`,
		sum, base64.StdEncoding.EncodeToString(signature), base64.StdEncoding.EncodeToString([]byte(pemOf(cert))))
	at := k.at.Add(k.logged).Unix()
	id := keyID(w.t, w.rekor)
	promise := must(json.Marshal(map[string]any{"body": base64.StdEncoding.EncodeToString([]byte(body)), "integratedTime": at, "logID": hex.EncodeToString(id), "logIndex": 0}))(w.t)
	promised := sha256.Sum256(promise)
	entry := &rekorpb.TransparencyLogEntry{
		LogId: &commonpb.LogId{KeyId: id}, KindVersion: &rekorpb.KindVersion{Kind: "hashedrekord", Version: "0.0.1"}, IntegratedTime: at,
		InclusionPromise: &rekorpb.InclusionPromise{SignedEntryTimestamp: must(ecdsa.SignASN1(rand.Reader, w.rekor, promised[:]))(w.t)},
	}
	if k.proof {
		leaf := sha256.Sum256(append([]byte{0}, body...))
		note := fmt.Sprintf("log.example - 1\n1\n%s\n", base64.StdEncoding.EncodeToString(leaf[:]))
		noted := sha256.Sum256([]byte(note))
		mark := append(append([]byte{}, id[:4]...), must(ecdsa.SignASN1(rand.Reader, w.rekor, noted[:]))(w.t)...)
		entry.InclusionProof = &rekorpb.InclusionProof{
			LogIndex: 0, RootHash: leaf[:], TreeSize: 1,
			Checkpoint: &rekorpb.Checkpoint{Envelope: note + "\n\u2014 log.example " + base64.StdEncoding.EncodeToString(mark) + "\n"},
		}
	}
	return entry
}

func TestGitsign(t *testing.T) {
	t.Parallel()
	const issuer = "https://accounts.example"
	past := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	right := keylessSignature{identity: "kim@example.org", issuer: issuer, at: past, logged: time.Minute}
	other := newSigstoreWorld(t)
	with := func(change func(*keylessSignature)) keylessSignature {
		k := right
		change(&k)
		return k
	}
	tests := map[string]struct {
		signature keylessSignature
		signer    v1alpha1.GitsignIdentity
		by        *sigstoreWorld // who made certificate and entry; nil: who is trusted
		cause     signing.Cause
		text      string
	}{
		"a person, long after the certificate's ten minutes": {signature: right, signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}},
		"with a proof of inclusion":                          {signature: with(func(k *keylessSignature) { k.proof = true }), signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}},
		"a workflow, by pattern": {signature: with(func(k *keylessSignature) { k.identity = "https://ci.example/org/repo/deploy.yaml@refs/heads/main" }),
			signer: v1alpha1.GitsignIdentity{Issuer: issuer, IdentityPattern: `https://ci\.example/org/repo/.*@refs/heads/main`}},
		"a pattern matches the whole name or nothing": {signature: with(func(k *keylessSignature) { k.identity = "kim@example.org.evil.example" }),
			signer: v1alpha1.GitsignIdentity{Issuer: issuer, IdentityPattern: `.*@example\.org`}, cause: signing.CauseUnknownKey, text: "kim@example.org.evil.example"},
		"another issuer vouches for the same name": {signature: with(func(k *keylessSignature) { k.issuer = "https://evil.example" }),
			signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}, cause: signing.CauseUnknownKey, text: "https://evil.example"},
		"no log entry with it": {signature: with(func(k *keylessSignature) { k.noEntry = true }),
			signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}, cause: signing.CauseNotOffline, text: "gitsign.rekorMode=offline"},
		"logged when the certificate had ended": {signature: with(func(k *keylessSignature) { k.logged = time.Hour }),
			signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}, cause: signing.CauseBadSignature},
		"the log's time changed": {signature: with(func(k *keylessSignature) {
			k.logged = time.Hour
			k.entry = func(e *rekorpb.TransparencyLogEntry) { e.IntegratedTime = past.Add(time.Minute).Unix() }
		}), signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}, cause: signing.CauseBadSignature},
		"no timestamp of the certificate's log": {signature: with(func(k *keylessSignature) { k.noSCT = true }),
			signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}, cause: signing.CauseBadSignature},
		"another Fulcio and another log": {signature: right, by: other,
			signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}, cause: signing.CauseBadSignature},
		"a proof and no promise: nobody has signed the log's time": {signature: with(func(k *keylessSignature) {
			k.proof = true
			k.entry = func(e *rekorpb.TransparencyLogEntry) { e.InclusionPromise = nil }
		}), signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}, cause: signing.CauseBadSignature},
		"no promise and no proof": {signature: with(func(k *keylessSignature) {
			k.entry = func(e *rekorpb.TransparencyLogEntry) { e.InclusionPromise = nil }
		}),
			signer: v1alpha1.GitsignIdentity{Issuer: issuer, Identity: "kim@example.org"}, cause: signing.CauseMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			w := newSigstoreWorld(t)
			s.spec.SigstoreTrustedRoot = w.trustedRoot()
			s.spec.Signers = append(s.spec.Signers, v1alpha1.Signer{Principal: "kim", Gitsign: []v1alpha1.GitsignIdentity{tt.signer}})
			if tt.by != nil {
				w = tt.by
			}
			c := must(git.ParseCommit(s.commit(s.ada, nil), []byte(s.raw(must(s.repo.Head(t.Context()))(t)))))(t)
			id := s.head(withSignature(string(c.Payload), w.sign(c.Payload, tt.signature)))
			if tt.cause != "" {
				s.refuses(id, tt.cause, tt.text)
				return
			}
			if sig := s.accepts(); len(sig) != 1 || sig[0].Principal != "kim" || sig[0].Kind != signing.KindGitsign {
				t.Errorf("signatures %+v", sig)
			}
			signed := must(git.ParseCommit(id, []byte(s.raw(id))))(t)
			if who := must(signing.Identify(signed))(t); who.Kind != signing.KindGitsign || who.Name != tt.signature.identity || who.Issuer != tt.signature.issuer {
				t.Errorf("identified as %+v", who)
			}
		})
	}
	// The log has seen the signed attributes; that these are the commit's must be checked apart.
	t.Run("a signature and its log entry of another commit", func(t *testing.T) {
		s := newScene(t)
		w := newSigstoreWorld(t)
		s.spec.SigstoreTrustedRoot = w.trustedRoot()
		s.spec.Signers = append(s.spec.Signers, v1alpha1.Signer{Principal: "kim", Gitsign: []v1alpha1.GitsignIdentity{{Issuer: issuer, Identity: "kim@example.org"}}})
		c := must(git.ParseCommit(s.commit(s.ada, nil), []byte(s.raw(must(s.repo.Head(t.Context()))(t)))))(t)
		id := s.head(withSignature(string(c.Payload)+"and more\n", w.sign(c.Payload, right)))
		s.refuses(id, signing.CauseBadSignature, "does not fit the commit")
	})
}
