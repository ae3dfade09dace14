package audit

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/commitgate/commitgate/compact"
)

// Digester makes keyed digests of values that may be secret: a plain hash of a short password can be guessed. Each log and
// shard has its own key, derived from one master key, so that digests of different periods cannot be compared,
// and forgetting the master key makes all of them meaningless.
type Digester struct {
	master []byte
	origin string
}

// minMaster is the shortest master key, in bytes.
const minMaster = 32

// lastApplied holds a copy of the whole object, secrets included.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// NewDigester uses a master key of at least 32 bytes for the log of this origin.
func NewDigester(master []byte, origin string) (*Digester, error) {
	if len(master) < minMaster {
		return nil, fmt.Errorf("digest key: %d bytes, want at least %d", len(master), minMaster)
	}
	if origin == "" {
		return nil, errors.New("digest key: no origin")
	}
	return &Digester{bytes.Clone(master), origin}, nil
}

// LoadDigester reads the master key from a file; white space around it does not count.
func LoadDigester(path, origin string) (*Digester, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("digest key: %w", err)
	}
	return NewDigester(bytes.TrimSpace(b), origin)
}

// Sum is the digest of a value in a shard: "hmac:", an id of the key, ":", and the HMAC-SHA256 in hexadecimal.
func (d *Digester) Sum(shard string, value []byte) string {
	key, err := hkdf.Key(sha256.New, d.master, nil, "commitgate.dev/audit-digest\x00"+d.origin+"\x00"+shard, sha256.Size)
	if err != nil {
		panic("audit: hkdf: " + err.Error()) // unreachable: one block is never too long
	}
	id := sha256.Sum256(key)
	mac := hmac.New(sha256.New, key)
	mac.Write(value)
	return "hmac:" + hex.EncodeToString(id[:4]) + ":" + hex.EncodeToString(mac.Sum(nil))
}

// Matches tells whether digest is that of the value, in constant time.
func (d *Digester) Matches(shard, digest string, value []byte) bool {
	return hmac.Equal([]byte(d.Sum(shard, value)), []byte(digest))
}

// Object is the digest of a Kubernetes object, given as JSON, without what the server or kubectl keeps in it for
// themselves (managedFields, the last applied configuration).
func (d *Digester) Object(shard string, object []byte) (string, error) {
	plain, err := plainObject(object)
	if err != nil {
		return "", err
	}
	return d.Sum(shard, plain), nil
}

// plainObject writes an object with sorted members, and drops what does not belong to it. Its errors never quote it.
func plainObject(object []byte) ([]byte, error) {
	in := json.NewDecoder(bytes.NewReader(object))
	in.UseNumber()
	var o map[string]any
	if err := in.Decode(&o); err != nil {
		return nil, errors.New("digest: not a JSON object")
	}
	return json.Marshal(withoutBookkeeping(o))
}

// withoutBookkeeping is an object without what the server or kubectl keeps in it for themselves. It leaves o as it is.
func withoutBookkeeping(o map[string]any) map[string]any {
	meta, ok := o["metadata"].(map[string]any)
	if !ok {
		return o
	}
	o, meta = maps.Clone(o), maps.Clone(meta)
	o["metadata"] = meta
	delete(meta, "managedFields")
	if annotations, ok := meta["annotations"].(map[string]any); ok {
		annotations = maps.Clone(annotations)
		meta["annotations"] = annotations
		if delete(annotations, lastApplied); len(annotations) == 0 {
			delete(meta, "annotations")
		}
	}
	return o
}

// LogDigester makes the digests that go into the records of one log.
type LogDigester struct {
	Digester *Digester
	Log      *Log
}

// Digest is that of an object, as Digester.Object makes it from JSON; empty for none.
func (d LogDigester) Digest(object map[string]any) string {
	if object == nil {
		return ""
	}
	plain, err := json.Marshal(withoutBookkeeping(object))
	if err != nil {
		return "" // it came from JSON
	}
	return d.Digester.Sum(d.Log.Shard(), plain)
}

// Declared is that of what Git declares, as Digest makes it; empty for none. It is part of most decisions, and most often the digest of the text at hand.
func (d LogDigester) Declared(content compact.Object) string {
	text := content.JSON()
	for _, bookkeeping := range []string{`"managedFields":`, lastApplied, `"annotations":{}`} {
		if strings.Contains(text, bookkeeping) {
			return d.Digest(content.Map())
		}
	}
	if content.IsZero() {
		return ""
	}
	return d.Digester.Sum(d.Log.Shard(), []byte(text))
}

// Text is that of a text, as Digester.Sum makes it; empty for none.
func (d LogDigester) Text(text string) string {
	if text == "" {
		return ""
	}
	return d.Digester.Sum(d.Log.Shard(), []byte(text))
}

// Shard names the current shard of the log: the one whose digests go into the next record.
func (l *Log) Shard() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head.shard
}
