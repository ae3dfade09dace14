package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/digitorus/pkcs7"
)

// maxCMS bounds a CMS signature, in bytes: the largest that people make, with chains and a log entry, have some 10 KiB, and the parser's time grows with
// the square of how deep it is nested.
const maxCMS = 64 << 10

// cmsSignature is a CMS SignedData (RFC 5652) with one signer, whose signature is right over the payload.
type cmsSignature struct {
	certificate *x509.Certificate   // that signed; whose it is remains to be seen
	others      []*x509.Certificate // that came with it
	attributes  []byte              // the signed attributes, DER: what the key has signed
	value       []byte              // the signature itself
	unsigned    map[string][]byte   // unsigned attributes by OID: the one value of each, DER
}

// openCMS takes a signature apart and checks it over the payload, with whatever certificate it brings. It is strict where CMS leaves room: one signer;
// signed attributes, in which content type and message digest stand once; detached; no weak algorithm.
func openCMS(data, payload []byte) (_ *cmsSignature, err error) {
	defer func() {
		if r := recover(); r != nil { // the parser meets whatever people push
			err = refuse(CauseMalformed, "the CMS signature cannot be parsed")
		}
	}()
	if len(data) > maxCMS {
		return nil, refuse(CauseMalformed, "the CMS signature has %d bytes, more than %d", len(data), maxCMS)
	}
	p, err := pkcs7.Parse(data)
	if err != nil {
		return nil, refuse(CauseMalformed, "the CMS signature: %v", err)
	}
	if len(p.Content) > 0 {
		return nil, refuse(CauseMalformed, "the CMS signature holds content of its own: want a detached one")
	}
	if len(p.Signers) != 1 {
		return nil, refuse(CauseMalformed, "the CMS signature has %d signers: want one", len(p.Signers))
	}
	s := &p.Signers[0]
	c := &cmsSignature{certificate: p.GetOnlySigner(), value: s.EncryptedDigest, unsigned: map[string][]byte{}}
	if c.certificate == nil {
		return nil, refuse(CauseMalformed, "the CMS signature does not hold its signer's certificate")
	}
	for _, other := range p.Certificates {
		if !bytes.Equal(other.Raw, c.certificate.Raw) {
			c.others = append(c.others, other)
		}
	}
	if err := strongCertificate(c.certificate); err != nil {
		return nil, err
	}
	signed := map[string][][]byte{}
	for _, a := range s.AuthenticatedAttributes {
		signed[a.Type.String()] = append(signed[a.Type.String()], a.Value.Bytes)
	}
	var contentType asn1.ObjectIdentifier
	if err := onlyValue(signed, pkcs7.OIDAttributeContentType, &contentType); err != nil || !contentType.Equal(pkcs7.OIDData) {
		return nil, refuse(CauseMalformed, "the CMS signature must have signed its content type, once, and be over data")
	}
	var digest []byte
	if err := onlyValue(signed, pkcs7.OIDAttributeMessageDigest, &digest); err != nil {
		return nil, refuse(CauseMalformed, "the CMS signature must have signed the message digest, once")
	}
	for _, a := range s.UnauthenticatedAttributes {
		if _, twice := c.unsigned[a.Type.String()]; twice {
			return nil, refuse(CauseMalformed, "the CMS signature has the attribute %s twice", a.Type)
		}
		c.unsigned[a.Type.String()] = a.Value.Bytes
	}
	if c.attributes, err = asn1.MarshalWithParams(s.AuthenticatedAttributes, "set"); err != nil {
		return nil, refuse(CauseMalformed, "the CMS signature: %v", err)
	}
	if err := c.check(s.DigestAlgorithm.Algorithm, digest, payload); err != nil {
		return nil, err
	}
	return c, nil
}

// onlyValue reads the one value of an attribute that stands once.
func onlyValue(attributes map[string][][]byte, oid asn1.ObjectIdentifier, into any) error {
	values := attributes[oid.String()]
	if len(values) != 1 {
		return errors.New("not once")
	}
	rest, err := asn1.Unmarshal(values[0], into)
	if err == nil && len(rest) > 0 {
		err = errors.New("several values")
	}
	return err
}

// check verifies the signature over the attributes, and their digest over the payload. The time that the signer claims is not looked at.
func (c *cmsSignature) check(algorithm asn1.ObjectIdentifier, digest, payload []byte) error {
	for _, strong := range strongDigests() {
		if !strong.oid.Equal(algorithm) {
			continue
		}
		h := strong.hash.New()
		h.Write(payload) // a hash never fails
		with := strong.rsa
		switch c.certificate.PublicKey.(type) {
		case *ecdsa.PublicKey:
			with = strong.ecdsa
		case ed25519.PublicKey:
			with = x509.PureEd25519
		}
		if !bytes.Equal(h.Sum(nil), digest) || c.certificate.CheckSignature(with, c.attributes, c.value) != nil {
			return refuse(CauseBadSignature, "the X.509 signature by %s does not fit the commit", certificateName(c.certificate))
		}
		return nil
	}
	return refuse(CauseWeak, "the CMS signature is made with the digest %s", algorithm)
}

// strongDigest is a digest that is accepted, and what signs it.
type strongDigest struct {
	oid        asn1.ObjectIdentifier
	hash       crypto.Hash
	rsa, ecdsa x509.SignatureAlgorithm
}

func strongDigests() []strongDigest {
	return []strongDigest{
		{pkcs7.OIDDigestAlgorithmSHA256, crypto.SHA256, x509.SHA256WithRSA, x509.ECDSAWithSHA256},
		{pkcs7.OIDDigestAlgorithmSHA384, crypto.SHA384, x509.SHA384WithRSA, x509.ECDSAWithSHA384},
		{pkcs7.OIDDigestAlgorithmSHA512, crypto.SHA512, x509.SHA512WithRSA, x509.ECDSAWithSHA512},
	}
}

// strongCertificate refuses short RSA keys and whatever is not known.
func strongCertificate(c *x509.Certificate) error {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits {
			return nil
		}
		return refuse(CauseWeak, "an RSA key of fewer than %d bits", minRSABits)
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	}
	return refuse(CauseWeak, "X.509 keys of algorithm %s are not accepted", c.PublicKeyAlgorithm)
}

// certificateName is what a certificate calls its owner, for people.
func certificateName(c *x509.Certificate) string {
	switch {
	case len(c.EmailAddresses) > 0:
		return clip(c.EmailAddresses[0])
	case len(c.URIs) > 0:
		return clip(c.URIs[0].String())
	}
	return clip(c.Subject.String())
}

func certificateFingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// x509List is what a signer list says of X.509 certificates.
type x509List struct {
	roots  *x509.CertPool       // nil if there are none
	emails map[string]Principal // lower-case
	prints map[string]Principal // SHA-256 of the certificate, lower-case hexadecimal
}

// readRoots reads certificates in PEM.
func readRoots(text string) (*x509.CertPool, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	rest := []byte(text)
	for n := 0; ; n++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			if n == 0 || len(bytes.TrimSpace(rest)) > 0 {
				return nil, errors.New("x509Roots: not certificates in PEM")
			}
			return pool, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("x509Roots: certificate %d cannot be read", n+1)
		}
		if !c.IsCA {
			return nil, fmt.Errorf("x509Roots: %s is not an authority", certificateName(c))
		}
		pool.AddCert(c)
	}
}

// addX509 adds the certificates of one principal: e-mail addresses and fingerprints.
func (l *list) addX509(principal Principal, entry string) error {
	names, name := l.x509.emails, strings.ToLower(entry)
	if fp := strings.ReplaceAll(name, ":", ""); len(fp) == 2*sha256.Size && isHex(fp) {
		names, name = l.x509.prints, fp
	} else if local, domain, ok := strings.Cut(entry, "@"); !ok || local == "" || domain == "" || strings.ContainsAny(entry, "*? <>") {
		return fmt.Errorf("%q is neither an e-mail address nor the SHA-256 of a certificate", entry)
	}
	if other, ok := names[name]; ok && other != principal {
		return fmt.Errorf("%s belongs to %s and %s: one certificate is one person's", entry, other, principal)
	}
	names[name] = principal
	l.person(principal)
	return nil
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil
}

// verifyCMS checks an X.509 signature over the payload: a company's certificate, or one that Fulcio made for a moment.
func (l *list) verifyCMS(data, payload []byte, at time.Time) (Signature, error) {
	c, err := openCMS(data, payload)
	if err != nil {
		return Signature{}, err
	}
	if isFulcio(c.certificate) {
		return l.verifyGitsign(c)
	}
	return l.verifyX509(c, at)
}

func (l *list) verifyX509(c *cmsSignature, at time.Time) (Signature, error) {
	fingerprint := certificateFingerprint(c.certificate)
	if l.x509.roots == nil {
		return Signature{}, refuse(CauseUnknownKey, "the signer list has no x509Roots for the certificate of %s", certificateName(c.certificate))
	}
	if at.After(c.certificate.NotAfter) || at.Before(c.certificate.NotBefore) {
		return Signature{}, refuse(CauseExpired, "the certificate of %s is valid from %s to %s only", certificateName(c.certificate),
			c.certificate.NotBefore.UTC().Format(time.DateOnly), c.certificate.NotAfter.UTC().Format(time.DateOnly))
	}
	between := x509.NewCertPool()
	for _, other := range c.others {
		between.AddCert(other)
	}
	chains, err := c.certificate.Verify(x509.VerifyOptions{
		Roots: l.x509.roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning, x509.ExtKeyUsageEmailProtection},
	})
	if err != nil {
		return Signature{}, refuse(CauseUnknownKey, "the certificate of %s: %v", certificateName(c.certificate), err)
	}
	if u := c.certificate.KeyUsage; u != 0 && u&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return Signature{}, refuse(CauseNotAllowed, "the certificate of %s is not for signing", certificateName(c.certificate))
	}
	if l.revokedChains(chains) {
		return Signature{}, refuse(CauseRevoked, "the certificate of %s, or its authority, is revoked", certificateName(c.certificate))
	}
	if p, ok := l.x509.prints[fingerprint]; ok {
		return Signature{Principal: p, Kind: KindX509, Key: fingerprint}, nil
	}
	var found []Principal
	for _, email := range c.certificate.EmailAddresses {
		if p, ok := l.x509.emails[strings.ToLower(email)]; ok {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return Signature{}, refuse(CauseUnknownKey, "the signer list does not hold the X.509 certificate of %s", certificateName(c.certificate))
	}
	for _, p := range found[1:] {
		if p != found[0] {
			return Signature{}, refuse(CauseNotAllowed, "the certificate names both %s and %s", found[0], p)
		}
	}
	return Signature{Principal: found[0], Kind: KindX509, Key: fingerprint}, nil
}

// revokedChains tells whether every chain has a revoked certificate.
func (l *list) revokedChains(chains [][]*x509.Certificate) bool {
	for _, chain := range chains {
		revoked := false
		for _, c := range chain {
			revoked = revoked || l.revoked.has(certificateFingerprint(c))
		}
		if !revoked {
			return false
		}
	}
	return true
}
