package git

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Armour is the text form of a signature: which one says what is inside.
type Armour string

// The armours of commit signatures, by the label between their dashes.
const (
	ArmourOpenPGP Armour = "PGP SIGNATURE"  // RFC 9580, section 6
	ArmourSSH     Armour = "SSH SIGNATURE"  // OpenSSH PROTOCOL.sshsig
	ArmourCMS     Armour = "SIGNED MESSAGE" // as gpgsm writes it
)

// maxSignature bounds one armoured signature: gitsign's, with a certificate and a log entry, are some 5 KiB.
const maxSignature = 256 << 10

// OpenArmour takes a signature out of its armour. There is exactly one block and nothing but white space after it; the base64 is
// canonical; an OpenPGP checksum, where there is one, is right.
func OpenArmour(signature []byte) (Armour, []byte, error) {
	if len(signature) > maxSignature {
		return "", nil, fmt.Errorf("the signature has %d bytes, more than %d", len(signature), maxSignature)
	}
	text := string(signature)
	if !strings.HasPrefix(text, "-----BEGIN "+string(ArmourSSH)) { // OpenSSH is strict about lines, the others are not
		text = trimLines(text)
	}
	text = strings.TrimRight(text, "\n")
	first, rest, _ := strings.Cut(text, "\n")
	label, ok := strings.CutPrefix(first, "-----BEGIN ")
	if label, ok = cutSuffix(label, "-----", ok); !ok {
		return "", nil, errors.New("the signature has no armour, or something stands before it")
	}
	armour := Armour(label)
	if armour != ArmourOpenPGP && armour != ArmourSSH && armour != ArmourCMS {
		return "", nil, fmt.Errorf("an armour of %q is not a commit signature", clip(label))
	}
	body, ok := strings.CutSuffix(rest, "\n-----END "+label+"-----")
	if !ok {
		return "", nil, errors.New("the armour does not end where the signature ends")
	}
	checksum := ""
	if armour == ArmourOpenPGP {
		var err error
		if body, checksum, err = openPGPBody(body); err != nil {
			return "", nil, err
		}
	}
	data, err := decodeBase64(body)
	if err != nil {
		return "", nil, err
	}
	if checksum != "" && checksum != crc24(data) {
		return "", nil, errors.New("the armour's checksum is wrong")
	}
	return armour, data, nil
}

// trimLines takes white space from the ends of lines.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t\r")
	}
	return strings.Join(lines, "\n")
}

func cutSuffix(s, suffix string, ok bool) (string, bool) {
	if !ok {
		return s, false
	}
	return strings.CutSuffix(s, suffix)
}

// openPGPBody separates the armour headers (Version, Comment, Hash …), which mean nothing, and the checksum from the data.
func openPGPBody(body string) (data, checksum string, err error) {
	for {
		line, rest, ok := strings.Cut(body, "\n")
		if line == "" {
			body = rest
			break
		}
		if key, _, isHeader := strings.Cut(line, ":"); !ok || !isHeader || !isToken(key) {
			return "", "", errors.New("no empty line between the armour's headers and its data")
		}
		body = rest
	}
	if i := strings.LastIndexByte(body, '\n'); i >= 0 && strings.HasPrefix(body[i+1:], "=") {
		return body[:i], body[i+2:], nil
	}
	return body, "", nil
}

func decodeBase64(body string) ([]byte, error) {
	data, err := base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil || len(data) == 0 {
		return nil, errors.New("the armour holds no canonical base64")
	}
	return data, nil
}

// crc24 is the armour's checksum, in base64 (RFC 9580, section 6.1).
func crc24(data []byte) string {
	crc := uint32(0xb704ce)
	for _, b := range data {
		crc ^= uint32(b) << 16
		for range 8 {
			crc <<= 1
			if crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	return base64.StdEncoding.EncodeToString([]byte{byte(crc >> 16), byte(crc >> 8), byte(crc)})
}

// SSHSignature is an SSH signature as OpenSSH's PROTOCOL.sshsig lays it out.
type SSHSignature struct {
	PublicKey []byte // wire format
	Namespace string
	Hash      string // sha256 or sha512
	Signature []byte // wire format: algorithm, blob, and for security keys flags and counter
}

const sshMagic = "SSHSIG"

// ParseSSHSignature reads the blob inside an SSH armour. Version 1 only; the reserved field is empty; nothing follows.
func ParseSSHSignature(blob []byte) (*SSHSignature, error) {
	rest, ok := bytes.CutPrefix(blob, []byte(sshMagic))
	if !ok || len(rest) < 4 {
		return nil, errors.New("not an SSH signature")
	}
	if v := binary.BigEndian.Uint32(rest); v != 1 {
		return nil, fmt.Errorf("SSH signature of version %d: only 1 is known", v)
	}
	rest = rest[4:]
	var fields [5][]byte
	for i := range fields {
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			return nil, errors.New("the SSH signature is cut short")
		}
		n := 4 + int(binary.BigEndian.Uint32(rest))
		fields[i], rest = rest[4:n], rest[n:]
	}
	switch {
	case len(rest) > 0:
		return nil, errors.New("something follows the SSH signature")
	case len(fields[2]) > 0:
		return nil, errors.New("the SSH signature's reserved field is not empty")
	}
	s := &SSHSignature{PublicKey: fields[0], Namespace: string(fields[1]), Hash: string(fields[3]), Signature: fields[4]}
	if s.Hash != "sha256" && s.Hash != "sha512" {
		return nil, fmt.Errorf("an SSH signature over a %q hash is not accepted", clip(s.Hash))
	}
	return s, nil
}

// Signed is what the key has signed, given the hash of the message.
func (s *SSHSignature) Signed(sum []byte) []byte {
	b := []byte(sshMagic)
	for _, field := range []string{s.Namespace, "", s.Hash, string(sum)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return b
}
