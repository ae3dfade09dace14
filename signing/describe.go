package signing

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/commitgate/commitgate/git"
)

// Key is one key of a signer list, for people.
type Key struct {
	Principal Principal `json:"principal"`
	Kind      Kind      `json:"kind"`
	Key       string    `json:"key"`            // fingerprint; for X.509 also an e-mail address, for gitsign the identity and its issuer
	Ends      time.Time `json:"ends,omitzero"`  // zero is never
	Note      string    `json:"note,omitempty"` // what is peculiar: a forge's, an authority's, revoked, why it cannot sign
}

// DescribeList reads a signer list as a repository keeps it, and tells all its keys, sorted by principal. The error lists all that is wrong with it.
func DescribeList(p git.Path, data []byte) ([]Key, error) {
	d, err := parseListFile(p, data)
	if err != nil {
		return nil, err
	}
	l, err := newList(d, nil, &keyless{}) // nothing is verified by it
	if err != nil {
		return nil, err
	}
	var keys []Key
	add := func(k Key, notes ...string) {
		if end, ok := l.expires[k.Principal]; ok {
			k.Ends = earlier(k.Ends, end)
		}
		if l.forges[k.Principal] {
			notes = append(notes, "a forge's")
		}
		k.Note = strings.Join(notes, ", ")
		keys = append(keys, k)
	}
	for _, lines := range l.ssh {
		for i := range lines {
			l.describeSSH(&lines[i], add)
		}
	}
	for _, k := range l.openpgp {
		var notes []string
		if k.fingerprint != k.primary {
			notes = append(notes, "subkey of "+k.primary)
		}
		if k.unfit != nil {
			notes = append(notes, k.unfit.Error())
		}
		if l.revoked.has(k.fingerprint) || l.revoked.has(k.primary) {
			notes = append(notes, "revoked")
		}
		add(Key{Principal: k.principal, Kind: KindOpenPGP, Key: k.fingerprint, Ends: k.expires}, notes...)
	}
	for _, names := range []map[string]Principal{l.x509.emails, l.x509.prints} {
		for name, p := range names {
			add(Key{Principal: p, Kind: KindX509, Key: name})
		}
	}
	for _, g := range l.gitsign {
		name := g.identity
		if g.pattern != nil {
			name = g.pattern.String()
		}
		add(Key{Principal: g.principal, Kind: KindGitsign, Key: name + " by " + g.issuer})
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return keys, nil
}

func (l *list) describeSSH(line *sshLine, add func(Key, ...string)) {
	var notes []string
	if line.authority {
		notes = append(notes, "authority for "+strings.Join(line.principals, ","))
	}
	if !line.after.IsZero() {
		notes = append(notes, "from "+line.after.Format(time.DateTime))
	}
	if line.verify {
		notes = append(notes, "must verify its user")
	}
	if len(line.namespaces) > 0 && !line.namespaces.match(sshNamespace) {
		notes = append(notes, "not for git")
	}
	if l.revoked.ssh(line.key) != "" {
		notes = append(notes, "revoked")
	}
	add(Key{Principal: line.principal(), Kind: KindSSH, Key: ssh.FingerprintSHA256(line.key), Ends: line.before}, notes...)
}
