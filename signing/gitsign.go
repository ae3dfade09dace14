package signing

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/proto"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

const (
	// oidFulcio is the arc of Fulcio's certificate extensions; .1 and .8 are the OpenID Connect issuer (docs/oid-info.md of Fulcio).
	oidFulcio = "1.3.6.1.4.1.57264.1."
	// oidLogEntry is the unsigned attribute in which gitsign keeps Rekor's answer: a TransparencyLogEntry without its body.
	oidLogEntry = "1.3.6.1.4.1.57264.3.1"
)

// gitsignIdentity is an identity of a signer, as Fulcio may vouch for it.
type gitsignIdentity struct {
	principal Principal
	issuer    string
	identity  string         // exact; "" if there is a pattern
	pattern   *regexp.Regexp // that matches the whole; nil if there is an exact one
}

func (i *gitsignIdentity) match(issuer, name string) bool {
	if i.issuer != issuer {
		return false
	}
	if i.pattern != nil {
		return i.pattern.MatchString(name)
	}
	return i.identity == name
}

func newGitsignIdentity(principal Principal, in v1alpha1.GitsignIdentity) (gitsignIdentity, error) {
	g := gitsignIdentity{principal: principal, issuer: in.Issuer, identity: in.Identity}
	switch {
	case in.Issuer == "":
		return g, errors.New("issuer: required: without it, anybody's identity provider could vouch")
	case (in.Identity == "") == (in.IdentityPattern == ""):
		return g, errors.New("want one of identity and identityPattern")
	case in.IdentityPattern != "":
		var err error
		if g.pattern, err = regexp.Compile(`\A(?:` + in.IdentityPattern + `)\z`); err != nil {
			return g, fmt.Errorf("identityPattern: %w", err)
		}
	}
	return g, nil
}

// keyless verifies gitsign signatures offline, against a trusted root.
type keyless struct {
	verifier *verify.Verifier
}

// newKeyless reads a trusted_root.json.
func newKeyless(rootJSON []byte) (*keyless, error) {
	trusted, err := root.NewTrustedRootFromJSON(rootJSON)
	if err != nil {
		return nil, fmt.Errorf("sigstoreTrustedRoot: %w", err)
	}
	// A certificate of Fulcio lives ten minutes: that the signature was made in them is what the log's time says, and the log entry
	// and the certificate's own log are the two who must have seen it.
	v, err := verify.NewVerifier(trusted, verify.WithSignedCertificateTimestamps(1), verify.WithTransparencyLog(1), verify.WithIntegratedTimestamps(1))
	if err != nil {
		return nil, fmt.Errorf("sigstoreTrustedRoot: %w", err)
	}
	return &keyless{v}, nil
}

// isFulcio tells whether a certificate says that it is Fulcio's. Whether it is, the trusted root tells.
func isFulcio(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if id := e.Id.String(); id == oidFulcio+"1" || id == oidFulcio+"8" {
			return true
		}
	}
	return false
}

// verifyGitsign tells whose a keyless signature is. That it is over the commit has been checked: what the log has seen are the signed
// attributes, which hold the commit's digest.
func (l *list) verifyGitsign(c *cmsSignature) (Signature, error) {
	name := certificateName(c.certificate)
	if l.keyless == nil {
		return Signature{}, refuse(CauseUnknownKey, "no sigstoreTrustedRoot is configured for the keyless signature of %s", name)
	}
	entry, ok := c.unsigned[oidLogEntry]
	if !ok {
		return Signature{}, refuse(CauseNotOffline, "the keyless signature of %s has no log entry with it: sign with gitsign.rekorMode=offline", name)
	}
	b, err := c.bundle(entry)
	if err != nil {
		return Signature{}, refuse(CauseMalformed, "the keyless signature of %s: %v", name, err)
	}
	// The identity is compared below, with those of the list.
	if _, err := l.keyless.verifier.Verify(b, verify.NewPolicy(verify.WithArtifact(bytes.NewReader(c.attributes)), verify.WithoutIdentitiesUnsafe())); err != nil {
		return Signature{}, refuse(CauseBadSignature, "the keyless signature of %s does not hold: %v", name, err)
	}
	summary, err := certificate.SummarizeCertificate(c.certificate)
	if err != nil {
		return Signature{}, refuse(CauseMalformed, "the certificate of %s: %v", name, err)
	}
	fingerprint := certificateFingerprint(c.certificate)
	if l.revoked.has(fingerprint) {
		return Signature{}, refuse(CauseRevoked, "the certificate of %s is revoked", name)
	}
	for i := range l.gitsign {
		if g := &l.gitsign[i]; g.match(summary.Issuer, summary.SubjectAlternativeName) {
			return Signature{Principal: g.principal, Kind: KindGitsign, Key: fingerprint}, nil
		}
	}
	return Signature{}, refuse(CauseUnknownKey, "the signer list does not hold the identity %s by %s", clip(summary.SubjectAlternativeName), clip(summary.Issuer))
}

// bundle makes a sigstore bundle of the signature, so that sigstore's own verifier can judge it.
func (c *cmsSignature) bundle(attribute []byte) (*bundle.Bundle, error) {
	var serialized []byte
	if rest, err := asn1.Unmarshal(attribute, &serialized); err != nil || len(rest) > 0 {
		return nil, errors.New("its log entry is not one octet string")
	}
	entry := new(rekorpb.TransparencyLogEntry)
	if err := proto.Unmarshal(serialized, entry); err != nil {
		return nil, errors.New("its log entry cannot be read")
	}
	var err error
	if entry.CanonicalizedBody, err = c.logBody(); err != nil {
		return nil, err
	}
	version := "0.3"
	material := &bundlepb.VerificationMaterial{TlogEntries: []*rekorpb.TransparencyLogEntry{entry}}
	certificate := &commonpb.X509Certificate{RawBytes: c.certificate.Raw}
	material.Content = &bundlepb.VerificationMaterial_Certificate{Certificate: certificate}
	if entry.InclusionProof == nil {
		version = "0.1" // the last that is content with the log's promise
		material.Content = &bundlepb.VerificationMaterial_X509CertificateChain{
			X509CertificateChain: &commonpb.X509CertificateChain{Certificates: []*commonpb.X509Certificate{certificate}},
		}
	}
	media, err := bundle.MediaTypeString(version)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(c.attributes)
	return bundle.NewBundle(&bundlepb.Bundle{
		MediaType: media, VerificationMaterial: material,
		Content: &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     c.value,
		}},
	})
}

// logBody is what gitsign has Rekor log: a hashedrekord 0.0.1 over the signed attributes, in canonical JSON (RFC 8785: sorted keys, no space).
func (c *cmsSignature) logBody() ([]byte, error) {
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certificate.Raw})
	sum := sha256.Sum256(c.attributes)
	return json.Marshal(map[string]any{ // maps are written with sorted keys, bytes in base64
		"apiVersion": "0.0.1",
		"kind":       "hashedrekord",
		"spec": map[string]any{
			"data":      map[string]any{"hash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}},
			"signature": map[string]any{"content": c.value, "publicKey": map[string]any{"content": certificate}},
		},
	})
}
