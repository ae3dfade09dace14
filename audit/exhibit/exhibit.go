// Package exhibit keeps the documents that records of an audit log name by their digest: signer lists, the trust of the configuration, and
// policies. A record says by what was judged; the exhibit is that, byte for byte.
//
// Exhibits lie beside the log, each in a file that is called by the SHA-256 of its content, so that none can be altered unnoticed and
// each is there once. They are no secret: they come from verified Git history and from the gate's configuration. The package trusts nothing that it reads.
package exhibit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Folder is where the exhibits of a log lie, in the log's folder.
const Folder = "exhibits"

// MaxSize bounds one exhibit, in bytes: no file of policy and no signer list is larger.
const MaxSize = 8 << 20

// prefix of digests in records.
const prefix = "sha256:"

var (
	// ErrNotThere is returned for an exhibit that is not kept (any more).
	ErrNotThere = errors.New("exhibit is not there")
	// ErrAltered is returned for an exhibit that is not what its digest says.
	ErrAltered = errors.New("exhibit is not what its digest says")
)

// Digest is how records name these bytes: sha256: and 64 hexadecimal digits.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return prefix + hex.EncodeToString(sum[:])
}

// Name is the file name of the exhibit with this digest: its hexadecimal digits. ok is false for what is no digest.
func Name(digest string) (name string, ok bool) {
	name, ok = strings.CutPrefix(digest, prefix)
	return name, ok && IsName(name)
}

// IsName tells whether a file name is that of an exhibit.
func IsName(name string) bool {
	if len(name) != 2*sha256.Size || strings.ToLower(name) != name {
		return false
	}
	_, err := hex.DecodeString(name)
	return err == nil
}

// Store keeps the exhibits of one log. It is safe for concurrent use; a log has one.
type Store struct {
	dir string

	mu   sync.Mutex      // guards used, and names in dir
	used map[string]bool // what this process has put, by name: records may name it at any time
}

// Open makes the store of the log in a folder, where it is not there yet.
func Open(log string) (*Store, error) {
	s := &Store{dir: filepath.Join(log, Folder), used: map[string]bool{}}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("exhibits: %w", err)
	}
	return s, syncFolder(log)
}

// Dir is the folder of the exhibits.
func (s *Store) Dir() string { return s.dir }

// Put keeps a document, durably, and returns its digest. It stays at least as long as this process. One that is there already is only marked
// as used now.
func (s *Store) Put(content []byte, now time.Time) (digest string, err error) {
	digest = Digest(content)
	name, _ := Name(digest)
	path := filepath.Join(s.dir, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[name] = true
	if have, err := os.ReadFile(path); err == nil && Digest(have) == digest {
		return digest, os.Chtimes(path, now, now)
	}
	if len(content) > MaxSize {
		return "", fmt.Errorf("exhibit of %d bytes: more than %d", len(content), MaxSize)
	}
	tmp, err := os.CreateTemp(s.dir, ".new-*")
	if err != nil {
		return "", fmt.Errorf("exhibits: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = errors.Join(os.Chtimes(tmp.Name(), now, now), os.Rename(tmp.Name(), path))
	}
	if err == nil {
		err = syncFolder(s.dir)
	}
	if err != nil {
		return "", fmt.Errorf("exhibits: %w", err)
	}
	return digest, nil
}

// Prune removes what was last used before a time, since when no record can have named it, and marks as used now what this process has put. It
// returns how many it removed.
func (s *Store) Prune(now, before time.Time) (removed int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if s.used[e.Name()] {
			if err := os.Chtimes(path, now, now); err != nil {
				return removed, err
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return removed, err
		}
		if !IsName(e.Name()) && !strings.HasPrefix(e.Name(), ".new-") || !info.ModTime().Before(before) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// Names lists the exhibits of the log in a folder by file name, sorted. A log without exhibits has none.
func Names(log string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(log, Folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if IsName(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Read returns the exhibit of a log with this digest. The error wraps ErrNotThere or ErrAltered, or is about reading.
func Read(log, digest string) ([]byte, error) {
	name, ok := Name(digest)
	if !ok {
		return nil, fmt.Errorf("%q: %w", digest, ErrNotThere)
	}
	f, err := os.Open(filepath.Join(log, Folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", digest, ErrNotThere)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && Digest(content) != digest {
		err = fmt.Errorf("%s: %w", digest, ErrAltered)
	}
	return content, err
}

// File is one file of a policy set, as its listing names it.
type File struct {
	Path string // relative to the folder of the policies
	Sum  string // SHA-256, in hexadecimal
}

// Digest is that of the file.
func (f File) Digest() string { return prefix + f.Sum }

// ReadListing reads the text behind the digest of a policy set: a JSON list of files for each folder of policies, one after the other.
func ReadListing(content []byte) ([]File, error) {
	var all []File
	for d := json.NewDecoder(strings.NewReader(string(content))); ; {
		var files []File
		err := d.Decode(&files)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("not the listing of a policy set: %w", err)
		}
		for _, f := range files {
			if !IsName(f.Sum) {
				return nil, fmt.Errorf("not the listing of a policy set: %q is no sum", f.Sum)
			}
		}
		all = append(all, files...)
	}
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
