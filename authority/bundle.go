package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// Life is that of an authority.
	Life = 10 * 365 * 24 * time.Hour
	// backdated is how long before its making a certificate begins: the clocks of replicas and API servers may be that far apart.
	backdated = 24 * time.Hour
)

// Authority is one certificate authority.
type Authority struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// New makes an authority.
func New(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return certify(key, now)
}

// certify makes the certificate of an authority's key.
func certify(key crypto.Signer, now time.Time) (*Authority, error) {
	template, err := newTemplate("commitgate authority", now, Life)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{Cert: cert, key: key}, nil
}

// made is when an authority of ours was made; of one that others made, a day after it began at the latest.
func (a *Authority) made() time.Time { return a.Cert.NotBefore.Add(backdated) }

// valid tells whether an authority may issue now.
func (a *Authority) valid(now time.Time) bool {
	return !now.Before(a.Cert.NotBefore) && now.Before(a.Cert.NotAfter)
}

// Bundle are the authorities of one folder or Secret, one key each, as they follow each other: the last is the newest. It is never empty, and never changes.
type Bundle []*Authority

// Parse reads a bundle: certificates in PEM as they follow each other, and their keys in any order. A certificate without its key is left out: it may be there to be trusted,
// but issues nothing. At least one must have its key.
func Parse(certPEM, keyPEM []byte) (Bundle, error) {
	var keys [][]byte
	for block, rest := pem.Decode(keyPEM); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" && block.Type != "EC PARAMETERS" { // openssl writes the parameters before an EC key
			keys = append(keys, pem.EncodeToMemory(block))
		}
	}
	certs, err := Certificates(certPEM)
	if err != nil {
		return nil, err
	}
	var b Bundle
	for _, cert := range certs {
		for _, key := range keys {
			pair, err := tls.X509KeyPair(encode(cert), key)
			if err != nil {
				continue // the key of another
			}
			if !cert.IsCA {
				return nil, fmt.Errorf("%s is no authority", cert.Subject)
			}
			b = append(b, &Authority{Cert: cert, key: pair.PrivateKey.(crypto.Signer)})
			break
		}
	}
	if len(b) == 0 {
		return nil, errors.New("no certificate with its key")
	}
	return b, nil
}

// Certificates reads certificates in PEM: a caBundle.
func Certificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	return out, nil
}

// Newest is the authority that follows the others.
func (b Bundle) Newest() *Authority { return b[len(b)-1] }

// CertPEM are the certificates in PEM: what a caBundle must hold.
func (b Bundle) CertPEM() []byte {
	var out bytes.Buffer
	for _, a := range b {
		out.Write(encode(a.Cert))
	}
	return out.Bytes()
}

// KeyPEM are the keys in PEM (PKCS #8). They are secret.
func (b Bundle) KeyPEM() ([]byte, error) {
	var out bytes.Buffer
	for _, a := range b {
		der, err := x509.MarshalPKCS8PrivateKey(a.key)
		if err != nil {
			return nil, err
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	return out.Bytes(), nil
}

func encode(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func newTemplate(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdated), NotAfter: now.Add(life)}, nil
}
