package signing

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

var (
	// ErrNotDescendant is returned when the tip does not descend from the last verified commit: a rewind, a force-push, another repository.
	ErrNotDescendant = errors.New("does not descend from the last verified commit")
	// ErrAnchor is returned when the trust anchor cannot be used: its signer list is not readable, or it leaves nobody to sign.
	ErrAnchor = errors.New("trust anchor")
)

// Cause is why a commit is refused, in one word; append-only.
type Cause string

// The causes.
const (
	CauseMalformed    Cause = "Malformed"    // the object or the signature is not in the one shape that is accepted
	CauseUnsigned     Cause = "Unsigned"     // no signature
	CauseUnknownKey   Cause = "UnknownKey"   // the signer list does not hold the key, or not any more
	CauseBadSignature Cause = "BadSignature" // the signature is not over this commit, or not by this key
	CauseRevoked      Cause = "Revoked"      // the key is revoked
	CauseExpired      Cause = "Expired"      // the key was not valid (any more, or yet) when the gate first saw the commit
	CauseWeak         Cause = "Weak"         // an algorithm or a key size that is not accepted
	CauseNotOffline   Cause = "NotOffline"   // a keyless signature whose log entry is not in the commit
	CauseNotAllowed   Cause = "NotAllowed"   // the signer may not change one of the paths
	CauseTooFew       Cause = "TooFew"       // fewer distinct people than the rule asks for
	CauseSignerList   Cause = "SignerList"   // the commit would leave no signer list that can be read
	CauseLine         Cause = "Line"         // the first-parent line does not pass through the last verified commit
)

// refusal is a "no" about one commit: we looked, and the answer is no. Every other error of this package means that we could not tell.
type refusal struct {
	cause Cause
	why   string
}

func (r *refusal) Error() string { return r.why }

// maxWhy bounds a reason, in bytes: names and addresses in it come from whoever made the commit.
const maxWhy = 1000

func refuse(cause Cause, format string, args ...any) error {
	why := fmt.Sprintf(format, args...)
	if len(why) > maxWhy {
		why = why[:maxWhy] + "…"
	}
	return &refusal{cause, printable(why)}
}

// printable keeps what a commit brings from writing anything but text into terminals and logs.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
