package seal

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// Range computes the root of a tree whose leaves come one after the other, in memory that grows with their logarithm.
// The zero value is the empty tree.
type Range struct {
	size  int64
	stack []tlog.Hash // roots of the full subtrees, the largest first: one per bit of size
}

// Add appends a leaf.
func (r *Range) Add(leaf tlog.Hash) {
	r.stack = append(r.stack, leaf)
	r.size++
	for n := r.size; n&1 == 0; n >>= 1 {
		last := len(r.stack) - 1
		r.stack[last-1] = tlog.NodeHash(r.stack[last-1], r.stack[last])
		r.stack = r.stack[:last]
	}
}

// Size is the number of leaves.
func (r *Range) Size() int64 { return r.size }

// Root is the root of the tree as it is (RFC 6962, section 2.1).
func (r *Range) Root() tlog.Hash {
	if len(r.stack) == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return h
	}
	root := r.stack[len(r.stack)-1]
	for i := len(r.stack) - 2; i >= 0; i-- {
		root = tlog.NodeHash(r.stack[i], root)
	}
	return root
}

// hashFile keeps the stored hashes of a tree (tlog.StoredHashes) in a file, from which proofs are made. Each process
// makes it again from the records of the shard: what lies on disk is compared with what was signed, and nothing else is believed.
type hashFile struct {
	f    *os.File
	size int64 // leaves
}

func openHashFile(path string) (*hashFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &hashFile{f: f}, nil
}

// add appends the hashes of one more leaf. It is not made durable.
func (h *hashFile) add(leaf tlog.Hash) error {
	hashes, err := tlog.StoredHashesForRecordHash(h.size, leaf, h)
	if err != nil {
		return err
	}
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, x := range hashes {
		b = append(b, x[:]...)
	}
	if _, err := h.f.WriteAt(b, tlog.StoredHashCount(h.size)*tlog.HashSize); err != nil {
		return err
	}
	h.size++
	return nil
}

// ReadHashes implements tlog.HashReader.
func (h *hashFile) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if _, err := h.f.ReadAt(hashes[i][:], x*tlog.HashSize); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("stored hash %d: %w", x, err)
		}
	}
	return hashes, nil
}

func (h *hashFile) root(size int64) (tlog.Hash, error) { return tlog.TreeHash(size, h) }

func (h *hashFile) close() error { return h.f.Close() }
