package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Authority is a certificate authority: of one control plane, or of whoever asks it or is asked by it. It lives as long as the tests: two days at most.
type Authority struct {
	dir  string // where files are written
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// pair is a certificate and its key, as PEM and as files.
type pair struct {
	cert, key         []byte
	certFile, keyFile string
}

// NewAuthority makes an authority, whose files lie in a folder of its own.
func NewAuthority(dir string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "commitgate test cluster"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.File(), a.pem, 0o600)
}

// File holds the authority's certificate.
func (a *Authority) File() string { return filepath.Join(a.dir, "ca.crt") }

// server issues a certificate for a server on the loopback interface; it also serves as a client, as etcd's peers need.
func (a *Authority) server(name string) (*pair, error) {
	return a.issue(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// client issues a client certificate: Kubernetes reads the user name from its common name and the groups from its organizations.
func (a *Authority) client(user string, groups ...string) (*pair, error) {
	return a.issue("client-"+user, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Client issues a client certificate for whoever calls a server of ours, and tells the files of certificate and key.
func (a *Authority) Client(name string) (certFile, keyFile string, err error) {
	p, err := a.client(name)
	if err != nil {
		return "", "", err
	}
	return p.certFile, p.keyFile, nil
}

// Server issues a certificate for a server on the loopback interface, which is nobody's as a client, and tells its files.
func (a *Authority) Server(name string) (certFile, keyFile string, err error) {
	p, err := a.issue(name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return "", "", err
	}
	return p.certFile, p.keyFile, nil
}

func (a *Authority) issue(file string, template *x509.Certificate) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := sign(template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	p := &pair{
		cert:     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:      pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
		certFile: filepath.Join(a.dir, file+".crt"),
		keyFile:  filepath.Join(a.dir, file+".key"),
	}
	if err := os.WriteFile(p.certFile, p.cert, 0o600); err != nil {
		return nil, err
	}
	return p, os.WriteFile(p.keyFile, p.key, 0o600)
}

// sign fills in serial number and validity and signs.
func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Minute) // clocks of one machine agree, but not their rounding
	template.NotAfter = time.Now().Add(48 * time.Hour)
	return x509.CreateCertificate(rand.Reader, template, parent, public, key)
}
