package signing

import (
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"golang.org/x/crypto/ssh"

	"github.com/commitgate/commitgate/git"
)

// Identity is what a signature says of its key, before anybody is asked whose that is.
type Identity struct {
	Kind   Kind
	Key    string // SHA256:… (SSH); the fingerprint, or else the id (OpenPGP), in hexadecimal; SHA-256 of the certificate (X.509)
	Name   string // what the certificate calls its owner (X.509, gitsign)
	Issuer string // who vouched for that name to Fulcio (gitsign)
	Public string // the whole public key as authorized_keys has it, where the signature holds it and fits the commit: SSH only
}

// Identify tells with what a commit is signed, for people who write a first signer list. It trusts nothing: a signature that brings its own key or certificate
// (SSH, X.509) is verified with that, an OpenPGP one not at all. The error says why nothing can be said.
func Identify(c *git.Commit) (Identity, error) {
	if len(c.Signature) == 0 {
		return Identity{}, refuse(CauseUnsigned, "it is not signed")
	}
	armour, data, err := git.OpenArmour(c.Signature)
	if err != nil {
		return Identity{}, refuse(CauseMalformed, "%v", err)
	}
	switch armour {
	case git.ArmourSSH:
		return identifySSH(data, c.Payload)
	case git.ArmourOpenPGP:
		sig, err := readPGPSignature(data)
		if err != nil {
			return Identity{}, err
		}
		key := fmt.Sprintf("%x", sig.IssuerFingerprint)
		if key == "" {
			key = fmt.Sprintf("%016x", *sig.IssuerKeyId)
		}
		return Identity{Kind: KindOpenPGP, Key: key}, nil
	}
	return identifyCMS(data, c.Payload)
}

func identifyCMS(data, payload []byte) (Identity, error) {
	s, err := openCMS(data, payload)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Kind: KindX509, Key: certificateFingerprint(s.certificate), Name: certificateName(s.certificate)}
	if isFulcio(s.certificate) {
		summary, err := certificate.SummarizeCertificate(s.certificate)
		if err != nil {
			return Identity{}, refuse(CauseMalformed, "the certificate of %s: %v", id.Name, err)
		}
		id.Kind, id.Name, id.Issuer = KindGitsign, summary.SubjectAlternativeName, summary.Issuer
	}
	return id, nil
}

func identifySSH(data, payload []byte) (Identity, error) {
	sig, err := git.ParseSSHSignature(data)
	if err != nil {
		return Identity{}, refuse(CauseMalformed, "%v", err)
	}
	key, err := ssh.ParsePublicKey(sig.PublicKey)
	if err != nil {
		return Identity{}, refuse(CauseMalformed, "the key in the SSH signature: %v", err)
	}
	if sig.Namespace != sshNamespace {
		return Identity{}, refuse(CauseBadSignature, "the SSH signature was made for %q, not for %q", clip(sig.Namespace), sshNamespace)
	}
	if _, err := checkSSHSignature(key, sig, payload); err != nil {
		return Identity{}, err
	}
	return Identity{Kind: KindSSH, Key: ssh.FingerprintSHA256(key), Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))}, nil
}
