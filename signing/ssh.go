package signing

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/commitgate/commitgate/git"
)

const (
	sshNamespace  = "git" // what git gives to ssh-keygen -Y sign -n
	minRSABits    = 2048
	skUserVerifed = 0x04 // FIDO2 authenticator data: the user was verified (by PIN or finger), not just present
)

// sshLine is one entry of an allowed_signers file: a key, or an authority whose certificates are accepted.
type sshLine struct {
	principals patternList
	key        ssh.PublicKey
	authority  bool
	namespaces patternList // empty is every namespace
	after      time.Time   // zero is no bound
	before     time.Time   // zero is no bound
	verify     bool        // a security key must have verified its user
}

// patternList is a comma-separated list of patterns as ssh_config(5) has them: * and ?, and ! before what must not match.
type patternList []string

func (l patternList) match(s string) bool {
	matched := false
	for _, p := range l {
		negated := strings.HasPrefix(p, "!")
		if wildcard(strings.TrimPrefix(p, "!"), s) {
			if negated {
				return false
			}
			matched = true
		}
	}
	return matched
}

// wildcard matches * (anything) and ? (one byte).
func wildcard(pattern, s string) bool {
	star, from := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, from = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == s[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}

// principal is the name that a plain key has: the first of its principals that is a name, or else the first pattern, as ssh-keygen prints it.
func (l *sshLine) principal() Principal {
	for _, p := range l.principals {
		if !strings.ContainsAny(p, "*?!") {
			return Principal(p)
		}
	}
	for _, p := range l.principals {
		if !strings.HasPrefix(p, "!") {
			return Principal(p)
		}
	}
	return ""
}

// parseAllowedSigners reads an allowed_signers file (ssh-keygen(1)). It lists all that is wrong with it.
func parseAllowedSigners(text string) (lines []sshLine, problems []error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		principals, rest, err := cutWord(line)
		if err == nil {
			var l sshLine
			if l, err = parseSSHLine(principals, rest); err == nil {
				lines = append(lines, l)
				continue
			}
		}
		problems = append(problems, fmt.Errorf("allowed signers, line %d: %w", n, err))
	}
	return lines, problems
}

// cutWord takes the first word, which may be in double quotes.
func cutWord(s string) (word, rest string, err error) {
	if quoted, ok := strings.CutPrefix(s, `"`); ok {
		word, rest, ok = strings.Cut(quoted, `"`)
		if !ok {
			return "", "", errors.New("a quote is not closed")
		}
		return word, strings.TrimLeft(rest, " \t"), nil
	}
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, "", nil
	}
	return s[:i], strings.TrimLeft(s[i:], " \t"), nil
}

// parseSSHLine reads "[options] keytype base64 [comment]" for some principals.
func parseSSHLine(principals, rest string) (sshLine, error) {
	l := sshLine{}
	for p := range strings.SplitSeq(principals, ",") {
		if p == "" {
			return l, errors.New("an empty principal")
		}
		l.principals = append(l.principals, p)
	}
	if l.principal() == "" {
		return l, fmt.Errorf("principals %q: nothing but negations", principals)
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return l, errors.New("no key")
	}
	if !isSSHKeyType(fields[0]) {
		options, key := cutOptions(rest)
		if err := l.options(options); err != nil {
			return l, err
		}
		fields = strings.Fields(key)
	}
	if len(fields) < 2 {
		return l, errors.New("no key")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return l, errors.New("the key is not base64")
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return l, fmt.Errorf("key: %w", err)
	}
	if key.Type() != fields[0] {
		return l, fmt.Errorf("the key is of type %s, the line says %s", key.Type(), fields[0])
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return l, errors.New("a certificate stands where its authority's key must")
	}
	if err := strongSSHKey(key); err != nil {
		return l, err
	}
	l.key = key
	return l, nil
}

func isSSHKeyType(s string) bool {
	return strings.HasPrefix(s, "ssh-") || strings.HasPrefix(s, "ecdsa-") || strings.HasPrefix(s, "sk-")
}

// cutOptions takes the options, in which quotes may hold spaces.
func cutOptions(s string) (options, rest string) {
	quoted := false
	for i, c := range s {
		switch {
		case c == '"':
			quoted = !quoted
		case (c == ' ' || c == '\t') && !quoted:
			return s[:i], strings.TrimLeft(s[i:], " \t")
		}
	}
	return s, ""
}

func (l *sshLine) options(s string) error {
	for s != "" {
		end, quoted := len(s), false
		for i, c := range s {
			if c == '"' {
				quoted = !quoted
			}
			if c == ',' && !quoted {
				end = i
				break
			}
		}
		if quoted {
			return errors.New("a quote is not closed")
		}
		if err := l.option(s[:end]); err != nil {
			return err
		}
		s = strings.TrimPrefix(s[end:], ",")
	}
	return nil
}

func (l *sshLine) option(s string) (err error) {
	name, value, hasValue := strings.Cut(s, "=")
	if hasValue {
		if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
			return fmt.Errorf("option %s: its value is not in quotes", name)
		}
		value = value[1 : len(value)-1]
	}
	switch strings.ToLower(name) {
	case "cert-authority":
		l.authority = true
	case "verify-required":
		l.verify = true
	case "namespaces":
		l.namespaces = strings.Split(value, ",")
	case "valid-after":
		l.after, err = parseSSHTime(value)
	case "valid-before":
		l.before, err = parseSSHTime(value)
	case "no-touch-required":
		return errors.New("option no-touch-required: a security key that nobody touches proves nobody")
	default:
		return fmt.Errorf("option %q is not known", name)
	}
	if err != nil {
		return fmt.Errorf("option %s: %w", name, err)
	}
	if !l.after.IsZero() && !l.before.IsZero() && !l.after.Before(l.before) {
		return errors.New("valid-before is not after valid-after")
	}
	return nil
}

// parseSSHTime reads YYYYMMDD[HHMM[SS]][Z]. OpenSSH takes a time without Z for local; here every time is UTC, so that a list means
// the same everywhere.
func parseSSHTime(s string) (time.Time, error) {
	digits := strings.TrimSuffix(s, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(layout) == len(digits) {
			return time.Parse(layout, digits)
		}
	}
	return time.Time{}, fmt.Errorf("time %q: want YYYYMMDD[HHMM[SS]][Z]", s)
}

// strongSSHKey refuses DSA, short RSA and whatever is not known.
func strongSSHKey(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		if c, ok := key.(ssh.CryptoPublicKey); ok {
			if k, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() >= minRSABits {
				return nil
			}
		}
		return refuse(CauseWeak, "an RSA key of fewer than %d bits", minRSABits)
	}
	return refuse(CauseWeak, "keys of type %s are not accepted", key.Type())
}

// verifySSH checks an SSH signature over the payload, made for a namespace, by one of the lines.
func (l *list) verifySSH(namespace string, blob, payload []byte, at time.Time) (Signature, error) {
	sig, err := git.ParseSSHSignature(blob)
	if err != nil {
		return Signature{}, refuse(CauseMalformed, "%v", err)
	}
	if sig.Namespace != namespace {
		return Signature{}, refuse(CauseBadSignature, "the SSH signature was made for %q, not for %q", clip(sig.Namespace), namespace)
	}
	key, err := ssh.ParsePublicKey(sig.PublicKey)
	if err != nil {
		return Signature{}, refuse(CauseMalformed, "the key in the SSH signature: %v", err)
	}
	verified, err := checkSSHSignature(key, sig, payload)
	if err != nil {
		return Signature{}, err
	}
	return l.authorizeSSH(namespace, key, verified, at)
}

// checkSSHSignature checks that the key in the signature made it, and returns its security key flags (0 for other keys).
func checkSSHSignature(key ssh.PublicKey, sig *git.SSHSignature, payload []byte) (flags byte, err error) {
	if !bytes.Equal(key.Marshal(), sig.PublicKey) {
		return 0, refuse(CauseMalformed, "the key in the SSH signature is not in its canonical form")
	}
	plain := key
	if cert, ok := key.(*ssh.Certificate); ok {
		plain = cert.Key
	}
	if err := strongSSHKey(plain); err != nil {
		return 0, err
	}
	s := new(ssh.Signature)
	if err := ssh.Unmarshal(sig.Signature, s); err != nil {
		return 0, refuse(CauseMalformed, "the SSH signature: %v", err)
	}
	switch plain.Type() {
	case ssh.KeyAlgoRSA:
		if s.Format != ssh.KeyAlgoRSASHA256 && s.Format != ssh.KeyAlgoRSASHA512 {
			return 0, refuse(CauseWeak, "an RSA signature of kind %s is not accepted", clip(s.Format))
		}
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		if len(s.Rest) != 5 { // flags and a counter of four bytes
			return 0, refuse(CauseMalformed, "the security key's signature is cut short or followed by something")
		}
		flags = s.Rest[0]
	default:
		if len(s.Rest) > 0 {
			return 0, refuse(CauseMalformed, "something follows the SSH signature")
		}
	}
	var sum []byte
	if sig.Hash == "sha256" {
		h := sha256.Sum256(payload)
		sum = h[:]
	} else {
		h := sha512.Sum512(payload)
		sum = h[:]
	}
	// Verify insists on the user's presence for security keys.
	if err := plain.Verify(sig.Signed(sum), s); err != nil {
		return 0, refuse(CauseBadSignature, "the SSH signature does not fit the commit: %v", err)
	}
	return flags, nil
}

// authorizeSSH finds the line that makes a key somebody's.
func (l *list) authorizeSSH(namespace string, key ssh.PublicKey, flags byte, at time.Time) (Signature, error) {
	if why := l.revoked.ssh(key); why != "" {
		return Signature{}, refuse(CauseRevoked, "the SSH key %s is revoked: %s", ssh.FingerprintSHA256(key), why)
	}
	cert, isCert := key.(*ssh.Certificate)
	trusted := key
	if isCert {
		trusted = cert.SignatureKey
	}
	var refused error
	for _, line := range l.ssh[string(trusted.Marshal())] {
		if line.authority != isCert {
			continue
		}
		principal, err := line.judge(namespace, cert, flags, at)
		if err == nil {
			return Signature{Principal: principal, Kind: KindSSH, Key: ssh.FingerprintSHA256(key)}, nil
		}
		refused = errors.Join(refused, err)
	}
	if refused != nil {
		return Signature{}, refused
	}
	if isCert {
		return Signature{}, refuse(CauseUnknownKey, "no certificate authority in the signer list has the key %s, which signed the certificate of %s",
			ssh.FingerprintSHA256(trusted), ssh.FingerprintSHA256(cert.Key))
	}
	return Signature{}, refuse(CauseUnknownKey, "the signer list does not hold the SSH key %s", ssh.FingerprintSHA256(key))
}

// judge tells whose signature it is by this line; cert is nil for a plain key.
func (l *sshLine) judge(namespace string, cert *ssh.Certificate, flags byte, at time.Time) (Principal, error) {
	if len(l.namespaces) > 0 && !l.namespaces.match(namespace) {
		return "", refuse(CauseNotAllowed, "the signer list has this key for other namespaces than %q", namespace)
	}
	if !l.after.IsZero() && at.Before(l.after) {
		return "", refuse(CauseExpired, "the signer list has %s only from %s on", l.principal(), l.after.UTC().Format(time.DateTime))
	}
	if !l.before.IsZero() && !at.Before(l.before) {
		return "", refuse(CauseExpired, "the signer list has %s only until %s", l.principal(), l.before.UTC().Format(time.DateTime))
	}
	if l.verify && flags&skUserVerifed == 0 {
		return "", refuse(CauseNotAllowed, "the security key of %s did not verify its user", l.principal())
	}
	if cert == nil {
		return l.principal(), nil
	}
	if cert.CertType != ssh.UserCert {
		return "", refuse(CauseNotAllowed, "the SSH certificate is not a user's")
	}
	if f := cert.Signature.Format; f == ssh.KeyAlgoRSA || f == ssh.InsecureKeyAlgoDSA {
		return "", refuse(CauseWeak, "the SSH certificate is signed with %s", f)
	}
	for _, name := range cert.ValidPrincipals {
		if !l.principals.match(name) {
			continue
		}
		checker := ssh.CertChecker{Clock: func() time.Time { return at }}
		if err := checker.CheckCert(name, cert); err != nil {
			cause := CauseBadSignature
			if u := uint64(at.Unix()); u < cert.ValidAfter || cert.ValidBefore != ssh.CertTimeInfinity && u >= cert.ValidBefore {
				cause = CauseExpired
			}
			return "", refuse(cause, "the SSH certificate of %s: %v", clip(name), err)
		}
		return Principal(name), nil
	}
	return "", refuse(CauseNotAllowed, "the SSH certificate names nobody that its authority may name")
}

// clip bounds text that a commit brings before it goes into a message.
func clip(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return printable(s)
}

// matchPath matches a path with a pattern in which * stays within a segment and ** crosses segments.
func matchPath(pattern, p string) bool {
	head, rest, more := strings.Cut(pattern, "/")
	if head == "**" {
		if !more {
			return true
		}
		for {
			if matchPath(rest, p) {
				return true
			}
			i := strings.IndexByte(p, '/')
			if i < 0 {
				return false
			}
			p = p[i+1:]
		}
	}
	segment, tail, deeper := strings.Cut(p, "/")
	if ok, err := path.Match(head, segment); err != nil || !ok || more != deeper {
		return false
	}
	return !more || matchPath(rest, tail)
}
