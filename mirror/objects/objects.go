// Package objects reads and writes Git object stores: packs, their indexes and loose objects, with SHA-1 and with
// SHA-256 names.
//
// It trusts neither the wire nor the disk: an object is returned only after its bytes have been hashed and the hash is its name
// (SHA-1 with collision detection), so an index, a pack or a loose file that somebody changed gives an error, never
// other content. Every size is bounded before memory is taken for it. Alternates, grafts and replace refs are not known here at all.
//
// Formats: gitformat-pack(5), gitrepository-layout(5).
package objects

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"

	"github.com/pjbgf/sha1cd"

	"github.com/commitgate/commitgate/git"
)

// Format is the hash that names the objects of a repository.
type Format int

// The object formats, by the length of a name in bytes.
const (
	SHA1   Format = 20
	SHA256 Format = 32
)

// String is the name of the format as in extensions.objectFormat.
func (f Format) String() string {
	if f == SHA256 {
		return "sha256"
	}
	return "sha1"
}

// Kind is the type of an object, by its number in packs.
type Kind byte

// The kinds of object.
const (
	Commit Kind = 1
	Tree   Kind = 2
	Blob   Kind = 3
	Tag    Kind = 4

	offsetDelta Kind = 6
	refDelta    Kind = 7
)

// String is the name of the kind as in object headers.
func (k Kind) String() string {
	switch k {
	case Commit:
		return "commit"
	case Tree:
		return "tree"
	case Blob:
		return "blob"
	case Tag:
		return "tag"
	}
	return fmt.Sprintf("kind %d", byte(k))
}

func parseKind(s string) (Kind, bool) {
	for _, k := range []Kind{Commit, Tree, Blob, Tag} {
		if k.String() == s {
			return k, true
		}
	}
	return 0, false
}

var (
	// ErrCorrupt is wrapped by errors about stores and packs whose bytes are not what they should be.
	ErrCorrupt = errors.New("corrupt object store")
	// ErrTooLarge is wrapped by errors about objects and packs above the configured size.
	ErrTooLarge = errors.New("too large")
	// ErrCollision is returned for an object that carries the marks of a SHA-1 collision attack.
	ErrCollision = errors.New("SHA-1 collision attack detected")
)

// name is a binary object id, zero-padded: comparable and without a pointer, since there are many.
type name [32]byte

func parseName(id git.ID, f Format) (name, error) {
	var n name
	if len(id) != 2*int(f) {
		return n, fmt.Errorf("object id %q: this is a %s repository", id, f)
	}
	if _, err := hex.Decode(n[:], []byte(id)); err != nil {
		return n, fmt.Errorf("object id %q: %w", id, err)
	}
	return n, nil
}

func (n *name) id(f Format) git.ID { return git.ID(hex.EncodeToString(n[:f])) }

func newHash(f Format) hash.Hash {
	if f == SHA256 {
		return sha256.New()
	}
	return sha1cd.New()
}

// sum finishes a hash, and refuses what looks like one half of a SHA-1 collision.
func sum(h hash.Hash) (n name, err error) {
	if c, ok := h.(sha1cd.CollisionResistantHash); ok {
		s, found := c.CollisionResistantSum(nil)
		if found {
			return n, ErrCollision
		}
		copy(n[:], s)
		return n, nil
	}
	copy(n[:], h.Sum(nil))
	return n, nil
}

func nameOf(f Format, k Kind, content []byte) (name, error) {
	h := newHash(f)
	fmt.Fprintf(h, "%s %d\x00", k, len(content))
	h.Write(content)
	return sum(h)
}

// missing is the error for an object that is not there; it wraps fs.ErrNotExist.
func missing(id git.ID) error { return fmt.Errorf("object %s: %w", id, fs.ErrNotExist) }
