package seal

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// algECDSA is the type of an ECDSA key (P-256, SHA-256, ASN.1) in a verifier key of a signed note.
const algECDSA = 2

// GenerateKey makes an Ed25519 key for a log or a witness of this name: the secret to keep in a file, and the
// verifier key to give away.
func GenerateKey(name string) (secret, verifier string, err error) {
	return note.GenerateKey(rand.Reader, name)
}

// LoadSigner reads the key of a log from a file that GenerateKey's secret was put in, or takes it from a KMS
// (awskms://, gcpkms://, azurekms://, hashivault://, by the sigstore-kms-* program of that name). name is that of the
// key in signatures: the origin of the log. It returns the verifier key too.
func LoadSigner(ctx context.Context, ref, name string) (note.Signer, string, error) {
	if strings.Contains(ref, "://") {
		sv, err := kms.Get(ctx, ref, crypto.SHA256)
		if err != nil {
			return nil, "", fmt.Errorf("signing key %s: %w", ref, err)
		}
		return NewSigner(name, sv)
	}
	secret, err := readSecret(ref)
	if err != nil {
		return nil, "", err
	}
	s, v, err := fnote.NewEd25519SignerVerifier(secret)
	if err != nil {
		return nil, "", fmt.Errorf("signing key %s: %w", ref, err)
	}
	if s.Name() != name {
		return nil, "", fmt.Errorf("signing key %s is that of %q, not of %q", ref, s.Name(), name)
	}
	vkey, err := verifierKey(secret)
	if err != nil || v.KeyHash() != s.KeyHash() {
		return nil, "", errors.Join(err, fmt.Errorf("signing key %s is not sound", ref))
	}
	return s, vkey, nil
}

func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("signing key: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// verifierKey is the public part of a secret of GenerateKey.
func verifierKey(secret string) (string, error) {
	parts := strings.SplitN(secret, "+", 5)
	if len(parts) != 5 {
		return "", errors.New("not a signer's key")
	}
	seed, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return "", errors.New("not an Ed25519 key")
	}
	return note.NewEd25519VerifierKey(parts[2], ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
}

// NewSigner lets a sigstore signer, such as one of a KMS, sign checkpoints. Its key is Ed25519 or ECDSA P-256.
func NewSigner(name string, s signature.Signer) (note.Signer, string, error) {
	public, err := s.PublicKey()
	if err != nil {
		return nil, "", fmt.Errorf("public key of the log's signer: %w", err)
	}
	switch k := public.(type) {
	case ed25519.PublicKey:
		vkey, err := note.NewEd25519VerifierKey(name, k)
		if err != nil {
			return nil, "", err
		}
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, "", err
		}
		return &signer{name, v.KeyHash(), s}, vkey, nil
	case *ecdsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return nil, "", err
		}
		sum := sha256.Sum256(der)
		hash := binary.BigEndian.Uint32(sum[:])
		vkey := fmt.Sprintf("%s+%08x+%s", name, hash, base64.StdEncoding.EncodeToString(append([]byte{algECDSA}, der...)))
		return &signer{name, hash, s}, vkey, nil
	}
	return nil, "", fmt.Errorf("the log's signer has a %T: want Ed25519 or ECDSA P-256", public)
}

// signer bridges sigstore's signers to signed notes.
type signer struct {
	name   string
	hash   uint32
	signer signature.Signer
}

func (s *signer) Name() string    { return s.name }
func (s *signer) KeyHash() uint32 { return s.hash }
func (s *signer) Sign(msg []byte) ([]byte, error) {
	return s.signer.SignMessage(bytes.NewReader(msg))
}

// ParseVerifiers reads verifier keys: of logs (Ed25519, ECDSA) and of witnesses (an Ed25519 key is also
// taken for the cosignatures that it may have made).
func ParseVerifiers(keys []string) ([]note.Verifier, error) {
	var vs []note.Verifier
	for _, k := range keys {
		v, err := fnote.NewVerifier(k)
		if err != nil {
			return nil, fmt.Errorf("verifier key %q: %w", k, err)
		}
		vs = append(vs, v)
		if w, err := fnote.NewVerifierForCosignatureV1(k); err == nil && w.KeyHash() != v.KeyHash() {
			vs = append(vs, w)
		}
	}
	return vs, nil
}

// ParseWitness reads the verifier key of a witness.
func ParseWitness(key string) (note.Verifier, error) {
	v, err := fnote.NewVerifierForCosignatureV1(key)
	if err != nil {
		return nil, fmt.Errorf("verifier key of a witness %q: %w", key, err)
	}
	return v, nil
}

// ReadVerifiers reads verifier keys from a file, one per line; empty lines and lines that begin with # are skipped.
func ReadVerifiers(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, line)
		}
	}
	return keys, nil
}
