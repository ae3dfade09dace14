package signing

import (
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// People sign other things than commits: grants. It never changes, and is safe for concurrent use.
type People struct{ list *list }

// NewPeople works out the keys of some signers. The error lists all that is wrong with them, by field.
func NewPeople(signers []v1alpha1.Signer) (*People, error) {
	l, err := newList(document{signers: signers}, nil, nil)
	if err != nil {
		return nil, err
	}
	return &People{l}, nil
}

// Verify tells whose armoured, detached signature over a message this is. An SSH signature (OpenSSH PROTOCOL.sshsig) must be made for the namespace; an
// OpenPGP signature knows no such thing, so the message itself must say what it is. at is when the keys must be good. The error says why
// it is nobody's.
func (p *People) Verify(namespace string, signature, message []byte, at time.Time) (Signature, error) {
	return p.list.verifyDetached(namespace, signature, message, at)
}
