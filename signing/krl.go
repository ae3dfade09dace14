package signing

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/ssh"
)

// krl is an OpenSSH key revocation list (PROTOCOL.krl).
type krl struct {
	keys         map[string]bool // wire form of plain keys
	sha1, sha256 map[string]bool // of the wire form
	certificates []krlCertificates
}

// krlCertificates are certificates of one authority, or of any.
type krlCertificates struct {
	authority string // wire form, "" for any
	serials   []serialRange
	bitmaps   []serialBitmap
	ids       map[string]bool
}

type serialRange struct{ first, last uint64 }

type serialBitmap struct {
	offset uint64
	bits   *big.Int
}

// The section types of PROTOCOL.krl.
const (
	krlMagic = "SSHKRL\n\x00"

	krlSectionCertificates = 1
	krlSectionKey          = 2
	krlSectionSHA1         = 3
	krlSectionSignature    = 4
	krlSectionSHA256       = 5
	krlSectionExtension    = 255

	krlSerialList   = 0x20
	krlSerialRange  = 0x21
	krlSerialBitmap = 0x22
	krlKeyID        = 0x23
	krlExtension    = 0x39
)

var errKRLShort = errors.New("the revocation list is cut short")

// parseKRL reads a revocation list. Its own signature, which OpenSSH has dropped, is not verified: the list is part of what is trusted. What
// is not known in it is an error, so that nothing in it is passed over.
func parseKRL(data []byte) (*krl, error) {
	k := &krl{keys: map[string]bool{}, sha1: map[string]bool{}, sha256: map[string]bool{}}
	const header = len(krlMagic) + 4 + 8 + 8 + 8
	if len(data) < header || string(data[:len(krlMagic)]) != krlMagic {
		return nil, errors.New("not an OpenSSH key revocation list (ssh-keygen -k makes one)")
	}
	if v := binary.BigEndian.Uint32(data[len(krlMagic):]); v != 1 {
		return nil, fmt.Errorf("a revocation list of format %d: only 1 is known", v)
	}
	rest := data[header:]
	for range 2 { // reserved, comment
		var ok bool
		if _, rest, ok = cutString(rest); !ok {
			return nil, errKRLShort
		}
	}
	for len(rest) > 0 {
		kind := rest[0]
		body, next, ok := cutString(rest[1:])
		if !ok {
			return nil, errKRLShort
		}
		if err := k.section(kind, body); err != nil {
			return nil, err
		}
		rest = next
	}
	return k, nil
}

func (k *krl) section(kind byte, body []byte) error {
	switch kind {
	case krlSectionCertificates:
		return k.certificateSection(body)
	case krlSectionKey:
		return eachString(body, func(b []byte) error { k.keys[string(b)] = true; return nil })
	case krlSectionSHA1:
		return eachString(body, func(b []byte) error { k.sha1[string(b)] = true; return nil })
	case krlSectionSHA256:
		return eachString(body, func(b []byte) error { k.sha256[string(b)] = true; return nil })
	case krlSectionSignature:
		return nil
	case krlSectionExtension:
		return krlCritical(body)
	}
	return fmt.Errorf("section %d of the revocation list is not known", kind)
}

// krlCritical refuses an extension that must be understood.
func krlCritical(body []byte) error {
	name, rest, ok := cutString(body)
	if !ok || len(rest) == 0 {
		return errKRLShort
	}
	if rest[0] != 0 {
		return fmt.Errorf("extension %q of the revocation list is critical and not known", clip(string(name)))
	}
	return nil
}

func eachString(b []byte, do func([]byte) error) error {
	for len(b) > 0 {
		s, rest, ok := cutString(b)
		if !ok {
			return errKRLShort
		}
		if err := do(s); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func (k *krl) certificateSection(body []byte) error {
	authority, rest, ok := cutString(body)
	if ok {
		_, rest, ok = cutString(rest) // reserved
	}
	if !ok {
		return errKRLShort
	}
	c := krlCertificates{authority: string(authority), ids: map[string]bool{}}
	for len(rest) > 0 {
		kind := rest[0]
		data, next, ok := cutString(rest[1:])
		if !ok {
			return errKRLShort
		}
		if err := c.subsection(kind, data); err != nil {
			return err
		}
		rest = next
	}
	k.certificates = append(k.certificates, c)
	return nil
}

func (c *krlCertificates) subsection(kind byte, data []byte) error {
	switch kind {
	case krlSerialList:
		if len(data)%8 != 0 {
			return errKRLShort
		}
		for ; len(data) > 0; data = data[8:] {
			n := binary.BigEndian.Uint64(data)
			c.serials = append(c.serials, serialRange{n, n})
		}
		return nil
	case krlSerialRange:
		if len(data) != 16 {
			return errKRLShort
		}
		c.serials = append(c.serials, serialRange{binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])})
		return nil
	case krlSerialBitmap:
		if len(data) < 8 {
			return errKRLShort
		}
		bits, rest, ok := cutString(data[8:])
		if !ok || len(rest) > 0 {
			return errKRLShort
		}
		c.bitmaps = append(c.bitmaps, serialBitmap{binary.BigEndian.Uint64(data), new(big.Int).SetBytes(bits)})
		return nil
	case krlKeyID:
		return eachString(data, func(b []byte) error { c.ids[string(b)] = true; return nil })
	case krlExtension:
		return krlCritical(data)
	}
	return fmt.Errorf("section %#x of the revocation list's certificates is not known", kind)
}

// revokes tells why a key or certificate is revoked, "" if it is not. A certificate is revoked with its key and with its authority.
func (k *krl) revokes(key ssh.PublicKey) string {
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return k.plain(key)
	}
	if why := k.plain(cert.Key); why != "" {
		return why
	}
	if why := k.plain(cert.SignatureKey); why != "" {
		return "its authority: " + why
	}
	for _, c := range k.certificates {
		if c.authority != "" && c.authority != string(cert.SignatureKey.Marshal()) {
			continue
		}
		if c.ids[cert.KeyId] {
			return "the revocation list holds its certificate's id"
		}
		if cert.Serial != 0 && c.serial(cert.Serial) { // 0 is what certificates without a serial number have
			return "the revocation list holds its certificate's serial number"
		}
	}
	return ""
}

func (c *krlCertificates) serial(n uint64) bool {
	for _, r := range c.serials {
		if r.first <= n && n <= r.last {
			return true
		}
	}
	for _, b := range c.bitmaps {
		if n >= b.offset && n-b.offset < uint64(b.bits.BitLen()) && b.bits.Bit(int(n-b.offset)) == 1 {
			return true
		}
	}
	return false
}

func (k *krl) plain(key ssh.PublicKey) string {
	wire := key.Marshal()
	sum1, sum256 := sha1.Sum(wire), sha256.Sum256(wire) // SHA-1 because the format has it: it can only refuse
	if k.keys[string(wire)] || k.sha1[string(sum1[:])] || k.sha256[string(sum256[:])] {
		return "the revocation list holds it"
	}
	return ""
}

// ssh tells why an SSH key or certificate is revoked, "" if it is not.
func (rs revocations) ssh(key ssh.PublicKey) string {
	parts := []ssh.PublicKey{key}
	if cert, ok := key.(*ssh.Certificate); ok {
		parts = append(parts, cert.Key, cert.SignatureKey)
	}
	for _, p := range parts {
		if rs.has(ssh.FingerprintSHA256(p)) {
			return "its fingerprint is listed"
		}
	}
	for _, r := range rs {
		if r.krl == nil {
			continue
		}
		if why := r.krl.revokes(key); why != "" {
			return why
		}
	}
	return ""
}

// sshFingerprint is the fingerprint of a key as authorized_keys has it.
func sshFingerprint(line string) (string, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return "", errors.New("not an SSH public key")
	}
	return ssh.FingerprintSHA256(key), nil
}
