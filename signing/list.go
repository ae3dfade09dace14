package signing

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

// list is a signer list, worked out: whose signatures are accepted. It never changes once it is made.
type list struct {
	ssh     map[string][]sshLine // by the key's wire form
	openpgp map[string]pgpKey    // by fingerprint
	byKeyID map[uint64][]pgpKey  // the same, by key id
	x509    x509List
	gitsign []gitsignIdentity
	keyless *keyless // nil if there is no trusted root
	revoked revocations
	expires map[Principal]time.Time // of those that end
	forges  map[Principal]bool      // keys of a forge count only where a rule names them
	people  []Principal             // who is no forge, each once
	open    bool                    // more people than can be listed: a certificate authority, a pattern
}

// document is what a signer list is made of, be it in the configuration or in Git.
type document struct {
	signers        []v1alpha1.Signer
	allowedSigners string
	revoked        []string
	krl            string
	x509Roots      string
}

// parseListFile reads a signer list that a repository keeps.
func parseListFile(p git.Path, data []byte) (document, error) {
	switch path.Ext(string(p)) {
	case ".yaml", ".yml", ".json":
		l, err := v1alpha1.ParseSignerList(data)
		if err != nil {
			return document{}, err
		}
		return document{l.Signers, l.AllowedSigners, l.Revoked, l.SSHRevocationList, l.X509Roots}, nil
	}
	return document{allowedSigners: string(data)}, nil
}

// newList works a document out. Keys that always revokes are refused whoever lists them. The error lists all that is wrong, by field.
func newList(d document, always revocations, keyless *keyless) (*list, error) {
	l := &list{
		x509: x509List{emails: map[string]Principal{}, prints: map[string]Principal{}}, keyless: keyless,
		ssh: map[string][]sshLine{}, openpgp: map[string]pgpKey{}, byKeyID: map[uint64][]pgpKey{},
		expires: map[Principal]time.Time{}, forges: map[Principal]bool{},
	}
	var problems []error
	var err error
	if l.x509.roots, err = readRoots(d.x509Roots); err != nil {
		problems = append(problems, err)
	}
	for i, s := range d.signers {
		for _, err := range l.signer(s) {
			problems = append(problems, fmt.Errorf("signers[%d].%w", i, err))
		}
	}
	lines, errs := parseAllowedSigners(d.allowedSigners)
	problems = append(problems, errs...)
	for _, line := range lines {
		problems = append(problems, l.addSSH(line)...)
	}
	revoked, errs := newRevocations(d.revoked, d.krl)
	problems = append(problems, errs...)
	l.revoked = append(slices.Clone(always), revoked...)
	if len(problems) == 0 && len(l.people) == 0 && len(l.forges) == 0 && !l.open {
		problems = append(problems, errors.New("no signer: nobody could sign the next commit"))
	}
	if err = errors.Join(problems...); err != nil {
		return nil, err
	}
	return l, nil
}

// signer adds one principal with its keys.
func (l *list) signer(s v1alpha1.Signer) (problems []error) {
	principal := Principal(s.Principal)
	if s.Principal == "" {
		return []error{errors.New("principal: required")}
	}
	_, ends := l.expires[principal]
	if slices.Contains(l.people, principal) || l.forges[principal] || ends {
		return []error{fmt.Errorf("principal: %s stands here twice", principal)}
	}
	if s.Expires != nil {
		l.expires[principal] = s.Expires.Time
	}
	if s.Forge {
		l.forges[principal] = true
	}
	many := strings.ContainsAny(s.Principal, "*?!,")
	if many && (s.Forge || s.OpenPGP != "" || len(s.X509) > 0 || len(s.Gitsign) > 0) {
		return []error{fmt.Errorf("principal: %q is a pattern: only a certificate authority under ssh stands for several people", s.Principal)}
	}
	keys := 0
	for i, text := range s.SSH {
		line, err := parseSSHLine(s.Principal, strings.TrimSpace(text))
		switch {
		case err != nil:
		case many && !line.authority:
			err = fmt.Errorf("principal %q is a pattern, and this is one person's key", s.Principal)
		case s.Forge && line.authority:
			err = errors.New("a forge has a key of its own, not an authority's certificates")
		default:
			keys++
			if s.Expires != nil { // a certificate has another principal than this
				line.before = earlier(line.before, s.Expires.Time)
			}
			err = errors.Join(l.addSSH(line)...)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("ssh[%d]: %w", i, err))
		}
	}
	if s.OpenPGP != "" {
		found, errs := readOpenPGP(principal, s.OpenPGP)
		problems = append(problems, errs...)
		for _, k := range found {
			keys++
			problems = append(problems, l.addOpenPGP(k)...)
		}
	}
	for i, entry := range s.X509 {
		keys++
		err := l.addX509(principal, entry)
		if l.x509.roots == nil {
			err = errors.New("there are no x509Roots")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("x509[%d]: %w", i, err))
		}
	}
	for i, in := range s.Gitsign {
		keys++
		g, err := newGitsignIdentity(principal, in)
		if l.keyless == nil {
			err = errors.New("there is no sigstoreTrustedRoot")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("gitsign[%d]: %w", i, err))
			continue
		}
		l.gitsign = append(l.gitsign, g)
		l.person(principal)
	}
	if keys == 0 && len(problems) == 0 {
		problems = append(problems, fmt.Errorf("principal: %s has no key", principal))
	}
	return problems
}

func (l *list) addSSH(line sshLine) []error {
	id := string(line.key.Marshal())
	for _, other := range l.ssh[id] {
		// One key must be one person's: with two names it would count as two.
		if other.authority == line.authority && !line.authority && other.principal() != line.principal() {
			return []error{fmt.Errorf("the same key for %s and %s: one key is one person's", other.principal(), line.principal())}
		}
	}
	l.ssh[id] = append(l.ssh[id], line)
	if line.authority {
		l.open = true
		return nil
	}
	l.person(line.principal())
	return nil
}

func (l *list) addOpenPGP(k pgpKey) []error {
	if other, ok := l.openpgp[k.fingerprint]; ok {
		if other.principal != k.principal {
			return []error{fmt.Errorf("openpgp: the same key %s for %s and %s: one key is one person's", k.fingerprint, other.principal, k.principal)}
		}
		return []error{fmt.Errorf("openpgp: the key %s stands here twice", k.fingerprint)}
	}
	l.openpgp[k.fingerprint] = k
	l.byKeyID[k.public.KeyId] = append(l.byKeyID[k.public.KeyId], k)
	l.person(k.principal)
	return nil
}

func (l *list) person(p Principal) {
	if !l.forges[p] && !slices.Contains(l.people, p) {
		l.people = append(l.people, p)
	}
}

// verify tells who signed a commit, by this list. The error is a *refusal.
func (l *list) verify(c *git.Commit, at time.Time) (Signature, error) {
	if len(c.Signature) == 0 {
		return Signature{}, refuse(CauseUnsigned, "it is not signed")
	}
	return l.verifyDetached(sshNamespace, c.Signature, c.Payload, at)
}

// verifyDetached tells who made an armoured signature over a payload; an SSH signature must be made for the namespace.
func (l *list) verifyDetached(namespace string, signature, payload []byte, at time.Time) (Signature, error) {
	armour, data, err := git.OpenArmour(signature)
	if err != nil {
		return Signature{}, refuse(CauseMalformed, "%v", err)
	}
	var s Signature
	switch armour {
	case git.ArmourSSH:
		s, err = l.verifySSH(namespace, data, payload, at)
	case git.ArmourOpenPGP:
		s, err = l.verifyOpenPGP(data, payload, at)
	default:
		s, err = l.verifyCMS(data, payload, at)
	}
	if err != nil {
		return Signature{}, err
	}
	if end, ok := l.expires[s.Principal]; ok && !at.Before(end) {
		return Signature{}, refuse(CauseExpired, "the signer list has %s only until %s", s.Principal, end.UTC().Format(time.DateOnly))
	}
	return s, nil
}

// verifyAll tells who signed a commit by all of some lists: the intersection of whom they allow, and by one name.
func verifyAll(lists []*list, c *git.Commit, at time.Time) (Signature, error) {
	var first Signature
	for i, l := range lists {
		s, err := l.verify(c, at)
		if err != nil {
			var r *refusal
			if i > 0 && errors.As(err, &r) {
				err = refuse(r.cause, "by the signer list of one of its parents, %s (a merge takes a key that all of them hold: bring the branch up to date first)", r.why)
			}
			return Signature{}, err
		}
		if i > 0 && s.Principal != first.Principal {
			return Signature{}, refuse(CauseUnknownKey, "the signer lists of its parents name its key differently: %s and %s", first.Principal, s.Principal)
		}
		if i == 0 {
			first = s
		}
	}
	return first, nil
}

// revocations are keys that are refused, from several sources.
type revocations []*revocationList

// revocationList is one source: fingerprints of any kind of key, and an OpenSSH revocation list.
type revocationList struct {
	fingerprints map[string]bool // SHA256:… (SSH), or lower-case hexadecimal
	krl          *krl            // nil if there is none
}

func newRevocations(entries []string, encoded string) (revocations, []error) {
	r := &revocationList{fingerprints: map[string]bool{}}
	var problems []error
	for i, e := range entries {
		fp, err := revokedKey(strings.TrimSpace(e))
		if err != nil {
			problems = append(problems, fmt.Errorf("revoked[%d]: %w", i, err))
			continue
		}
		r.fingerprints[fp] = true
	}
	if encoded != "" {
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
		if err != nil {
			err = errors.New("not base64")
		} else {
			r.krl, err = parseKRL(data)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("sshRevocationList: %w", err))
		}
	}
	if len(r.fingerprints) == 0 && r.krl == nil {
		return nil, problems
	}
	return revocations{r}, problems
}

// revokedKey is the fingerprint that an entry means.
func revokedKey(e string) (string, error) {
	if strings.HasPrefix(e, "SHA256:") {
		if sum, err := base64.RawStdEncoding.DecodeString(e[len("SHA256:"):]); err != nil || len(sum) != 32 {
			return "", fmt.Errorf("%q is not a SHA-256 fingerprint", clip(e))
		}
		return e, nil
	}
	if isSSHKeyType(e) {
		return sshFingerprint(e)
	}
	fp := strings.ToLower(strings.NewReplacer(" ", "", ":", "").Replace(e))
	if b, err := hex.DecodeString(fp); err != nil || len(b) != 20 && len(b) != 32 {
		return "", fmt.Errorf("%q is neither a key nor a full fingerprint", clip(e))
	}
	return fp, nil
}

func (rs revocations) has(fingerprint string) bool {
	for _, r := range rs {
		if r.fingerprints[fingerprint] {
			return true
		}
	}
	return false
}

// cutString takes a string with its length before it (RFC 4251, section 5).
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
		return nil, nil, false
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	return b[4:n], b[n:], true
}
