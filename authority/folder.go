package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The files of a folder with a bundle, as the chart mounts its Secret.
const (
	certFile = "ca.crt"
	keyFile  = "ca.key"
)

// Load reads the bundle of a folder. It returns an error that wraps fs.ErrNotExist if there is none.
func Load(dir string) (Bundle, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, certFile))
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	return Parse(certPEM, keyPEM)
}

// make makes an authority in a folder that has none. Of several that do so at once all end with the same: the first key counts, and the first
// certificate of that key. A crash between the two leaves a key, whose certificate the next start makes.
func makeFolder(dir string, now time.Time) (Bundle, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		return nil, err
	}
	keyPEM, err := first(filepath.Join(dir, keyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, fmt.Errorf("%s without a certificate, and it holds no key", keyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s without a certificate: %w", keyFile, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s cannot sign", keyFile)
	}
	a, err := certify(key, now)
	if err != nil {
		return nil, err
	}
	certPEM, err := first(filepath.Join(dir, certFile), encode(a.Cert), 0o644)
	if err != nil {
		return nil, err
	}
	return Parse(certPEM, keyPEM)
}

// first writes a file whole, unless there is one, and returns what it holds then.
func first(path string, data []byte, mode os.FileMode) ([]byte, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}
