// Package signing answers one question: who signed this commit, and was that enough here?
//
// It fetches nothing and trusts no clock but the one it is handed. It is the only package that can make a
// Verified, and manifests and policies load only from one.
package signing

import (
	"context"
	"io/fs"

	"github.com/commitgate/commitgate/git"
)

// Principal is who signed: the name that the signer list gives to a key, never a key id and never the
// commit's author.
type Principal string

// Kind is a kind of signature.
type Kind string

// The kinds of signature.
const (
	KindOpenPGP Kind = "OpenPGP" // RFC 9580, RFC 4880
	KindSSH     Kind = "SSH"     // OpenSSH PROTOCOL.sshsig
	KindX509    Kind = "X509"    // RFC 5652
	KindGitsign Kind = "Gitsign" // X.509 by Fulcio, logged in Rekor
	KindAnchor  Kind = "Anchor"  // no signature judged: the commit is the trust anchor, vouched for by configuration
)

// Signature is one accepted signature of a commit.
type Signature struct {
	Principal Principal
	Kind      Kind
	Key       string // fingerprint: SHA256:… (SSH), 40 or 64 hex digits (OpenPGP), SHA-256 of the certificate (X.509)
}

// Tree reads the files of one verified tree. Symbolic links and submodules are reported by Open as errors
// that name them; they are never followed.
type Tree interface {
	fs.FS
	// ID is the object id of the file or folder at a path, "" if there is none: equal ids mean equal content.
	ID(p git.Path) (git.ID, error)
}

// History is what a mirror offers for verification: objects by id, nothing that needs the network.
type History interface {
	// Commit returns the raw commit. It must return an error that wraps fs.ErrNotExist if the object is not there.
	Commit(ctx context.Context, id git.ID) ([]byte, error)
	// Tree opens the tree with this id.
	Tree(ctx context.Context, id git.ID) (Tree, error)
	// Changed lists the files that differ between two trees, sorted; from may be "" for the empty tree.
	Changed(ctx context.Context, from, to git.ID) ([]git.Path, error)
}

// Verified is a commit of the protected branch that the rules accept. Only this package makes one; the zero
// value is no commit.
type Verified struct {
	repository string
	branch     string
	commit     *git.Commit
	signatures []Signature
	tree       Tree
}

// Repository is the name of the trusted repository.
func (v Verified) Repository() string { return v.repository }

// Branch is the protected branch, as in refs/heads/BRANCH.
func (v Verified) Branch() string { return v.branch }

// Commit is the verified commit.
func (v Verified) Commit() *git.Commit { return v.commit }

// Signatures are those that were accepted: of the commit itself and, for a merge, of what it brought in. For the trust anchor
// it is one of KindAnchor.
func (v Verified) Signatures() []Signature { return v.signatures }

// Tree is the commit's tree.
func (v Verified) Tree() Tree { return v.tree }

// IsZero tells whether v is no commit.
func (v Verified) IsZero() bool { return v.commit == nil }
