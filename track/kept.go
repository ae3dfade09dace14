package track

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/commitgate/commitgate/manifest"
)

const (
	// keptRendered and keptChanges make the keys of these files other ones than that of the cache of verified commits.
	keptRendered keptPurpose = "commitgate rendered objects 1"
	keptChanges  keptPurpose = "commitgate changed paths 1"
	// minCacheKey is what the cache of verified commits asks for too, in bytes.
	minCacheKey = 32
	// maxKept bounds the file, in bytes: some 200,000 objects. What does not fit is computed again after a restart.
	maxKept = 512 << 20
	// keptSlack is how much of the file may be superseded before it is written anew, in bytes, beside as much as is in use.
	keptSlack = 16 << 20
	keptHead  = sha256.Size + 4
)

// keptPurpose is what a file of this kind is for.
type keptPurpose string

// String is what the log calls what is in it.
func (p keptPurpose) String() string {
	if p == keptChanges {
		return "what was known of the history"
	}
	return "what was rendered"
}

// keptFile keeps across restarts what was computed of verified commits (what they render to, what they changed), in a file that only grows until it is
// written anew. It is encrypted and authenticated by a key that is not where the file is (AES-256-GCM, with the name as additional data), so that
// whoever can read or write the file learns nothing and can make the gate compute it again, and nothing else. It need not be durable.
//
// A record is the name (32 bytes), the length of what follows (four bytes, most significant first), a nonce (12 bytes) and the sealed text.
type keptFile struct {
	path string
	what keptPurpose
	aead cipher.AEAD
	log  *slog.Logger

	// Owned by the goroutine of the loop, or of the repository's round.
	file  *os.File
	spans map[[sha256.Size]byte]span
	used  map[[sha256.Size]byte]bool // asked for, or put, since the start
	end   int64                      // of the last whole record
	live  int64                      // bytes of those that are the newest of their name
	told  bool                       // that something is wrong with it
}

var _ manifest.Keep = (*keptFile)(nil)

// span is where the sealed text of a record lies.
type span struct {
	at   int64
	size uint32
}

func (s span) bytes() int64 { return keptHead + int64(s.size) }

// openKept opens the file, or makes it. What a crash has torn off its end is cut off.
func openKept(path string, what keptPurpose, key []byte, log *slog.Logger) (*keptFile, error) {
	if len(key) < minCacheKey {
		return nil, fmt.Errorf("the key of the cache of %s has %d bytes, fewer than %d", what, len(key), minCacheKey)
	}
	own, err := hkdf.Key(sha256.New, key, nil, string(what), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return nil, err
	}
	k := &keptFile{path: path, what: what, log: log, spans: map[[sha256.Size]byte]span{}, used: map[[sha256.Size]byte]bool{}}
	if k.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, err
	}
	if k.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := k.index(); err != nil {
		return nil, errors.Join(err, k.file.Close())
	}
	return k, nil
}

// index finds the records; the texts are looked at when they are asked for.
func (k *keptFile) index() error {
	info, err := k.file.Stat()
	if err != nil {
		return err
	}
	var head [keptHead]byte
	for {
		if _, err := k.file.ReadAt(head[:], k.end); err != nil {
			break // the end, or a part of a record
		}
		s := span{k.end + keptHead, binary.BigEndian.Uint32(head[sha256.Size:])}
		if s.at+int64(s.size) > info.Size() {
			break
		}
		k.note([sha256.Size]byte(head[:sha256.Size]), s)
	}
	if k.end == info.Size() {
		return nil
	}
	k.wrong("the end of %s before the restart is damaged, and made again", nil)
	return k.file.Truncate(k.end)
}

// note is a record at the end of the file.
func (k *keptFile) note(name [sha256.Size]byte, s span) {
	if old, ok := k.spans[name]; ok {
		k.live -= old.bytes()
	}
	k.spans[name] = s
	k.live += s.bytes()
	k.end = s.at + int64(s.size)
}

// Get reads and authenticates what was kept.
func (k *keptFile) Get(name [sha256.Size]byte) []byte {
	s, ok := k.spans[name]
	if !ok {
		return nil
	}
	sealed := make([]byte, s.size)
	_, err := k.file.ReadAt(sealed, s.at)
	var text []byte
	if err == nil {
		text, err = k.aead.Open(sealed[:0], nil, sealed, name[:])
	}
	if err != nil {
		k.wrong("%s before the restart was damaged or tampered with, or is of another key, and is made again", err)
		k.drop(name)
		return nil
	}
	k.used[name] = true
	return text
}

// drop forgets a record. It stays in the file until that is written anew.
func (k *keptFile) drop(name [sha256.Size]byte) {
	k.live -= k.spans[name].bytes()
	delete(k.spans, name)
	delete(k.used, name)
}

// Put appends a record. An error costs the cache, not the revision.
func (k *keptFile) Put(name [sha256.Size]byte, text []byte) {
	k.used[name] = true
	record := make([]byte, keptHead, keptHead+len(text)+k.aead.Overhead())
	copy(record, name[:])
	record = k.aead.Seal(record, nil, text, name[:])
	binary.BigEndian.PutUint32(record[sha256.Size:], uint32(len(record)-keptHead))
	if k.live+int64(len(record)) > maxKept {
		k.wrong("not all of %s fits into its cache", nil)
		return
	}
	if _, err := k.file.WriteAt(record, k.end); err != nil {
		k.wrong("%s could not be kept for the next start", err)
		return
	}
	k.note(name, span{k.end + keptHead, uint32(len(record) - keptHead)})
}

// tidy writes the file anew when much of it is superseded, or of no use since the start. The truth must have been built before.
func (k *keptFile) tidy() error {
	live := int64(0)
	for name := range k.used {
		if s, ok := k.spans[name]; ok {
			live += s.bytes()
		}
	}
	if k.end < 2*live+keptSlack {
		return nil
	}
	next, err := os.OpenFile(k.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600) // one that a crash has left is of no use
	if err != nil {
		return err
	}
	fresh := &keptFile{path: k.path, what: k.what, aead: k.aead, log: k.log, file: next, spans: map[[sha256.Size]byte]span{}, used: k.used}
	if err = k.copyTo(fresh); err == nil {
		err = os.Rename(next.Name(), k.path)
	}
	if err != nil {
		return errors.Join(err, next.Close(), os.Remove(next.Name()))
	}
	err = k.file.Close()
	*k = *fresh
	return err
}

// copyTo writes the records in use.
func (k *keptFile) copyTo(fresh *keptFile) error {
	w := bufio.NewWriterSize(fresh.file, 1<<20)
	for name := range k.used {
		s, ok := k.spans[name]
		if !ok {
			continue
		}
		if _, err := io.Copy(w, io.NewSectionReader(k.file, s.at-keptHead, s.bytes())); err != nil {
			return err
		}
		fresh.note(name, span{fresh.end + keptHead, s.size})
	}
	return w.Flush()
}

// wrong tells once in a process's life; what follows is told by how long a start takes.
func (k *keptFile) wrong(format string, err error) {
	if !k.told {
		k.log.Warn(fmt.Sprintf(format, k.what), "file", k.path, "err", err)
	}
	k.told = true
}

func (k *keptFile) close() error { return k.file.Close() }
