package ship

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/audit/seal"
)

const origin = "gate.test/prod/gate-0"

// writer is a log with its key.
type writer struct {
	dir       string
	signers   []note.Signer
	verifiers []note.Verifier
}

func newWriter(t *testing.T) *writer {
	t.Helper()
	secret, vkey, err := seal.GenerateKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{dir: filepath.Join(t.TempDir(), "log"), signers: []note.Signer{s}}
	if w.verifiers, err = seal.ParseVerifiers([]string{vkey}); err != nil {
		t.Fatal(err)
	}
	return w
}

// write appends n records, and seals them if it is told to. It returns the last sequence number.
func (w *writer) write(t *testing.T, n int, sealed bool) uint64 {
	t.Helper()
	l, err := audit.Open(audit.Config{Dir: w.dir, Origin: origin, SegmentSize: 8 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := l.Append(t.Context(), audit.Record{
			Type:     audit.TypeDecision,
			Request:  &audit.Request{Operation: "UPDATE", Kind: "Deployment", Namespace: "shop", Name: fmt.Sprint("app-", i)},
			Actor:    &audit.Actor{Username: "fl\x00ux", Role: "agent"},
			Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Reason: "FromGit"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !sealed {
		return l.Health().Seq
	}
	s, err := seal.New(seal.Config{Dir: w.dir, Origin: origin, Durable: func() uint64 { return l.Health().Seq }, Signers: w.signers, Verifiers: w.verifiers,
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
	return l.Health().Seq
}

// testShip is what every destination must do.
func testShip(t *testing.T, open func() Destination) {
	w := newWriter(t)
	ship := func(want uint64) {
		t.Helper()
		to := open()
		defer to.Close()
		r, err := Log(t.Context(), w.dir, to)
		if err != nil {
			t.Fatal(err)
		}
		if last, err := to.Last(t.Context(), origin); err != nil || last != want || r.Last != want {
			t.Fatalf("%+v, and it has %d (%v): want %d", r, last, err, want)
		}
	}
	store, err := exhibit.Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	exhibited := func(documents ...string) {
		t.Helper()
		to := open()
		defer to.Close()
		there, err := to.Exhibits(t.Context(), origin)
		if err != nil || len(there) != len(documents) {
			t.Errorf("it has the exhibits %v, %v; want %d", there, err, len(documents))
		}
		for _, d := range documents {
			if name, _ := exhibit.Name(exhibit.Digest([]byte(d))); !there[name] {
				t.Errorf("it does not have %q", d)
			}
		}
	}
	keep := func(document string) {
		t.Helper()
		if _, err := store.Put([]byte(document), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	keep("alice")
	sealed := w.write(t, 40, true)
	ship(sealed)
	exhibited("alice")
	keep("alice, bob")
	ship(sealed) // nothing new
	w.write(t, 10, false)
	ship(sealed) // what is not sealed may still be lost in a crash
	ship(w.write(t, 40, true))
	exhibited("alice", "alice, bob")
	if last, err := open().Last(t.Context(), "gate.test/another"); err != nil || last != 0 {
		t.Errorf("of another log it has %d, %v", last, err)
	}
}

// bucket is an object store that speaks enough of the S3 API, with Object Lock.
type bucket struct {
	t  *testing.T
	mu sync.Mutex
	// objects by key, and until when they are locked
	objects  map[string][]byte
	retained map[string]string
	broken   int // so many puts from now fails
	// retentions counts the locks that were to be changed.
	retentions int
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !strings.Contains(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIATEST/") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	key, _ := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/logs/"))
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Has("list-type"):
		b.list(w, r.URL.Query())
	case r.Method == http.MethodPut && r.URL.Query().Has("retention"):
		b.retain(w, r, key)
	case r.Method == http.MethodGet && r.URL.Query().Has("retention"):
		_, until, _ := strings.Cut(b.retained[key], " ")
		fmt.Fprintf(w, "<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>", until)
	case r.Method == http.MethodPut:
		if b.broken--; b.broken == 0 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if b.objects[key] != nil {
			if r.Header.Get("If-None-Match") != "*" {
				b.t.Errorf("%s would be replaced", key)
			}
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING") {
			b.t.Error("a body in chunks: this store reads none")
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.t.Error(err)
		}
		b.objects[key] = body
		b.retained[key] = r.Header.Get("X-Amz-Object-Lock-Mode") + " " + r.Header.Get("X-Amz-Object-Lock-Retain-Until-Date")
		w.Header().Set("ETag", `"x"`)
	default:
		b.t.Errorf("%s %s", r.Method, r.URL)
	}
}

// retain extends a lock. In compliance mode nobody shortens one.
func (b *bucket) retain(w http.ResponseWriter, r *http.Request, key string) {
	var asked struct{ Mode, RetainUntilDate string }
	if err := xml.NewDecoder(r.Body).Decode(&asked); err != nil || b.objects[key] == nil || asked.Mode != "COMPLIANCE" {
		b.t.Errorf("%s: %+v, %v", key, asked, err)
	}
	b.retentions++
	if _, was, _ := strings.Cut(b.retained[key], " "); asked.RetainUntilDate < was {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	b.retained[key] = asked.Mode + " " + asked.RetainUntilDate
}

func (b *bucket) list(w http.ResponseWriter, q url.Values) {
	type object struct{ Key string }
	type prefix struct{ Prefix string }
	var out struct {
		XMLName        xml.Name `xml:"ListBucketResult"`
		IsTruncated    bool
		Contents       []object
		CommonPrefixes []prefix
	}
	seen := map[string]bool{}
	for key := range b.objects {
		rest, ok := strings.CutPrefix(key, q.Get("prefix"))
		if !ok {
			continue
		}
		if i := strings.Index(rest, "/"); i >= 0 && q.Get("delimiter") == "/" {
			if p := q.Get("prefix") + rest[:i+1]; !seen[p] {
				seen[p] = true
				out.CommonPrefixes = append(out.CommonPrefixes, prefix{p})
			}
			continue
		}
		out.Contents = append(out.Contents, object{key})
	}
	if err := xml.NewEncoder(w).Encode(out); err != nil {
		b.t.Error(err)
	}
}

func newBucket(t *testing.T) (*bucket, func() Destination) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
	b := &bucket{t: t, objects: map[string][]byte{}, retained: map[string]string{}}
	server := httptest.NewTLSServer(b)
	t.Cleanup(server.Close)
	u, err := url.Parse("s3://logs/commitgate?region=eu-1&lock=9600h&endpoint=" + strings.TrimPrefix(server.URL, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	return b, func() Destination {
		s, err := newS3(u, server.Client().Transport)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestABucketHoldsTheLog(t *testing.T) {
	_, open := newBucket(t)
	testShip(t, open)
}

// TestTheLogIsMadeAgainFromABucket: the objects one after the other are the files that `audit verify` takes, whatever happened in between.
func TestTheLogIsMadeAgainFromABucket(t *testing.T) {
	b, open := newBucket(t)
	w := newWriter(t)
	w.write(t, 60, true)
	b.broken = 3
	if _, err := Log(t.Context(), w.dir, open()); err == nil {
		t.Fatal("a put failed, and nobody heard of it")
	}
	w.write(t, 60, true)
	if _, err := Log(t.Context(), w.dir, open()); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range b.objects {
			if !yield(key) {
				return
			}
		}
	}) {
		until, err := time.Parse(time.RFC3339, strings.TrimPrefix(b.retained[key], "COMPLIANCE "))
		if err != nil || time.Until(until) < 9000*time.Hour {
			t.Errorf("%s is locked %q", key, b.retained[key])
		}
		rest, ok := strings.CutPrefix(key, "commitgate/"+origin+"/")
		if !ok {
			t.Fatalf("key %s", key)
		}
		file := filepath.Join(home, path.Dir(rest))
		if strings.HasSuffix(path.Dir(rest), "/checkpoints") {
			file = filepath.Join(home, path.Dir(path.Dir(rest)), "checkpoint") // the last one stays
			os.Remove(file)
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(b.objects[key]); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	report, sealed, err := seal.Verify(home, seal.Options{Verifiers: w.verifiers})
	if err != nil || len(report.Problems) > 0 || len(sealed) != 1 || sealed[0].Sealed != sealed[0].Records {
		t.Errorf("%+v, %+v, %v", report, sealed, err)
	}
}

// An auditor looks at a record of the last quarter: the list by which it was judged is years older, and its lock must not end before the record's.
func TestAnExhibitIsLockedAsLongAsWhatNamesIt(t *testing.T) {
	b, open := newBucket(t)
	w := newWriter(t)
	store, err := exhibit.Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := store.Put([]byte("alice"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	name, _ := exhibit.Name(digest)
	key := "commitgate/" + origin + "/" + exhibit.Folder + "/" + name
	until := func(key string) time.Time {
		t.Helper()
		_, s, _ := strings.Cut(b.retained[key], " ")
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatalf("%s: %q", key, b.retained[key])
		}
		return at
	}
	clock := time.Now()
	to := open().(*S3)
	ship := func(after time.Duration, extended int) {
		t.Helper()
		clock = clock.Add(after)
		to.now = func() time.Time { return clock }
		before := b.retentions
		w.write(t, 10, true)
		if _, err := Log(t.Context(), w.dir, to); err != nil {
			t.Fatal(err)
		}
		if n := b.retentions - before; n != extended {
			t.Errorf("after %s: %d locks changed, want %d", after, n, extended)
		}
		for other := range b.objects {
			if until(other).After(until(key)) {
				t.Errorf("after %s: %s is locked until %s, and the exhibit only until %s", after, other, until(other), until(key))
			}
		}
	}
	ship(0, 0)
	ship(time.Minute, 1) // until when it is locked is not known yet
	ship(time.Minute, 0)
	ship(6*24*time.Hour, 0)
	ship(2*24*time.Hour, 1)
	ship(800*24*time.Hour, 1)
	ship(time.Minute, 0)
	to = open().(*S3) // after a restart
	ship(time.Minute, 1)
	to = open().(*S3)
	to.lock /= 2 // somebody shortens what is asked for: what is locked longer stays so
	b.retained[key] = "COMPLIANCE " + until(key).Add(time.Hour).Format(time.RFC3339)
	ship(time.Minute, 1)
	ship(time.Minute, 0)
}

func TestDestinationsThatAreNone(t *testing.T) {
	for _, s := range []string{"s3:///prefix", "s3://b?lock=soon", "s3://b?lock=-1h"} {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewS3(u); err == nil {
			t.Errorf("%s was taken", s)
		}
	}
	if _, err := NewPostgres(t.Context(), "postgres://nobody:canary-password@127.0.0.1:1/x"); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
	if _, err := Log(t.Context(), t.TempDir(), nil); !errors.Is(err, errNoLog) {
		t.Errorf("a folder without a log: %v", err)
	}
}
