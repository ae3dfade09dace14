package signing

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

const (
	// cacheVersion is part of what the records are authenticated with: a version that judges differently must have another.
	cacheVersion = "commitgate verified commits 1"
	minCacheKey  = 32
)

// cache remembers which commits were accepted, by the rules as they are. A commit's verdict follows from the commit, from what it descends from
// and from the configuration; all but the last is in its id. Each record is authenticated on its own, by the key and the digest of the
// configuration, so that whoever can write the file can make the gate forget, and nothing else.
type cache struct {
	file string
	key  []byte // HMAC key, which the configuration's digest is part of

	mu    sync.Mutex // guards what follows
	known map[git.ID][]Signature
	fresh []cacheRecord // not written yet
}

// cacheRecord is one line of the file, after its code and a space.
type cacheRecord struct {
	Commit     git.ID      `json:"commit"`
	Signatures []Signature `json:"signatures"`
}

// UseCache has the authority remember accepted commits in a file, which it makes if there is none. The key has 32 bytes at least and must not be where the file is: whoever has both
// can make unsigned commits pass. Records of other rules, and records that were tampered with, are dropped. It must be called before the first use.
func (a *Authority) UseCache(file string, key []byte) error {
	if len(key) < minCacheKey {
		return fmt.Errorf("the key of the cache of verified commits has %d bytes, fewer than %d", len(key), minCacheKey)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(a.digest[:])
	c := &cache{file: file, key: mac.Sum(nil), known: map[git.ID][]Signature{}}
	dropped, err := c.read()
	if err != nil {
		return fmt.Errorf("cache of verified commits: %w", err)
	}
	if dropped {
		if err := c.rewrite(); err != nil {
			return fmt.Errorf("cache of verified commits: %w", err)
		}
	}
	a.cache = c
	return nil
}

// trustText is what verdicts depend on beside the history.
func trustText(spec v1alpha1.TrustedRepositorySpec, trustedRoot []byte, policies []git.Path) ([]byte, error) {
	spec.URL, spec.Aliases, spec.Credentials, spec.Branch, spec.Anchor = "", nil, "", "", v1alpha1.Anchor{} // where history comes from and begins; ids say the rest
	spec.Interval.Duration, spec.StaleAfter.Duration = 0, 0
	spec.SigstoreTrustedRoot = string(trustedRoot)
	return json.Marshal(struct {
		Spec     v1alpha1.TrustedRepositorySpec
		Policies []git.Path
	}{spec, policies})
}

// rulesDigest names them.
func rulesDigest(trust []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte(cacheVersion+"\n"), trust...))
}

func (c *cache) code(line string) string {
	mac := hmac.New(sha256.New, c.key)
	mac.Write([]byte(line))
	return base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
}

func (c *cache) read() (dropped bool, err error) {
	f, err := os.Open(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	const maxLine = 1 << 20 // a merge of many people's work
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		code, line, _ := strings.Cut(lines.Text(), " ")
		var r cacheRecord
		if !hmac.Equal([]byte(code), []byte(c.code(line))) || json.Unmarshal([]byte(line), &r) != nil {
			dropped = true // torn by a crash, of other rules, or tampered with
			continue
		}
		c.known[r.Commit] = r.Signatures
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return true, nil
	}
	return dropped, lines.Err()
}

// rewrite leaves only what holds.
func (c *cache) rewrite() error {
	f, err := os.CreateTemp(filepath.Dir(c.file), ".verified-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for id, signatures := range c.known {
		if err = c.write(w, cacheRecord{id, signatures}); err != nil {
			break
		}
	}
	if err = errors.Join(err, w.Flush(), f.Close()); err == nil {
		err = os.Rename(f.Name(), c.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (c *cache) write(w *bufio.Writer, r cacheRecord) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s %s\n", c.code(string(line)), line)
	return err
}

// look tells with which signatures a commit was accepted before.
func (c *cache) look(id git.ID) ([]Signature, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.known[id]
	return s, ok
}

// add remembers an accepted commit until flush.
func (c *cache) add(id git.ID, signatures []Signature) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[id]; !ok {
		c.known[id] = signatures
		c.fresh = append(c.fresh, cacheRecord{id, signatures})
	}
}

// flush appends what is new. It need not be durable: what a crash loses is verified again.
func (c *cache) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.fresh) == 0 {
		return nil
	}
	f, err := os.OpenFile(c.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, r := range c.fresh {
		if err = c.write(w, r); err != nil {
			break
		}
	}
	c.fresh = nil // also after an error: it is only a cache
	return errors.Join(err, w.Flush(), f.Close())
}
