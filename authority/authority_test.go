package authority

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const settle = 3 * time.Minute

// world is a folder with authorities, the caBundle of a webhook configuration, and a clock.
type world struct {
	t       *testing.T
	dir     string
	now     time.Time
	trusted []byte
	err     error // of whoever reads the caBundle
}

func newWorld(t *testing.T) *world {
	return &world{t: t, dir: t.TempDir(), now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
}

func (w *world) open() *Server {
	w.t.Helper()
	s, err := Open(Config{
		Dir: w.dir, Names: []string{"commitgate.svc", "127.0.0.1"}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }, Settle: settle,
		Trusted: func(context.Context) ([]byte, error) { return w.trusted, w.err },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// write puts a bundle into the folder, as a Secret reaches it.
func (w *world) write(b Bundle) {
	w.t.Helper()
	keys, err := b.KeyPEM()
	if err != nil {
		w.t.Fatal(err)
	}
	for file, data := range map[string][]byte{certFile: b.CertPEM(), keyFile: keys} {
		if err := os.WriteFile(filepath.Join(w.dir, file), data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) load() Bundle {
	w.t.Helper()
	b, err := Load(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// check does what the API server does: it verifies the leaf by the caBundle, at the time of the world.
func (w *world) check(s *Server) {
	w.t.Helper()
	leaf, err := s.Certificate(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.trusted)
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "commitgate.svc", CurrentTime: w.now}); err != nil {
		w.t.Errorf("%s: the API server refuses the leaf: %v", w.now, err)
	}
}

// A rotation from the first day of one authority to the last trace of it: at no moment does the API server refuse a leaf, whichever replica shows
// it and whatever that has seen.
func TestRotationRefusesNobody(t *testing.T) {
	w := newWorld(t)
	early := w.open()
	first := w.load().Newest()
	w.trusted = w.load().CertPEM()
	rotation := Rotation{Before: 365 * 24 * time.Hour, Overlap: 7 * 24 * time.Hour}

	w.now = first.Cert.NotAfter.Add(-364 * 24 * time.Hour)
	// One that sees no change of its folder yet, one that sees all, and one that cannot ask the cluster.
	late, blind := newWorld(t), newWorld(t)
	late.write(w.load())
	lagging := late.open()
	var steps []string
	for range 40 {
		step, err := rotation.Next(w.load(), w.trusted, w.now)
		if err != nil {
			t.Fatal(err)
		}
		if steps == nil || steps[len(steps)-1] != step.What {
			steps = append(steps, step.What)
		}
		if step.Rotated {
			w.write(step.Bundle)
		}
		w.trusted = step.Trusted
		for range 12 { // six hours each
			w.now = w.now.Add(30 * time.Minute)
			early.Look(t.Context())
			w.check(early)
			late.now = w.now
			w.check(lagging)
			late.write(w.load()) // half an hour later than the others
			lagging.config.Trusted = func(context.Context) ([]byte, error) { return w.trusted, nil }
			lagging.Look(t.Context())
			blind.write(w.load())
			blind.now, blind.trusted, blind.err = w.now, w.trusted, errors.New("connection refused")
			started := blind.open()
			started.Look(t.Context())
			w.check(started)
		}
	}
	if early.Issues(first.Cert) || !early.Issues(w.load().Newest().Cert) || !bytes.Equal(w.trusted, w.load().CertPEM()) || len(w.load()) != 1 {
		t.Error("the old authority is still about")
	}
	for i, want := range []string{"a successor", "beside the old", "nothing is issued from the old", "no longer trusted", "nothing is due"} {
		if i >= len(steps) || !strings.Contains(steps[i], want) {
			t.Fatalf("step %d is not about %q: %q", i, want, steps)
		}
	}
}

// Whoever made a bundle and died before the caBundle had it: the next run trusts it, and no leaf was shown before.
func TestUntrustedAuthorityIssuesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	w.trusted = w.load().CertPEM()
	next, err := New(w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.write(append(w.load(), next))
	for range 30 {
		w.now = w.now.Add(24 * time.Hour)
		s.Look(t.Context())
		w.check(s)
	}
	step, err := Rotation{Overlap: 24 * time.Hour}.Next(w.load(), w.trusted, w.now)
	if err != nil || step.Rotated || !step.Retrusted {
		t.Fatalf("%+v %v", step, err)
	}
	w.trusted = step.Trusted
	s.Look(t.Context())
	if !s.Issues(w.load()[0].Cert) {
		t.Error("the API servers were given no time to see the caBundle")
	}
	w.now = w.now.Add(settle)
	s.Look(t.Context())
	if w.check(s); !s.Issues(next.Cert) {
		t.Error("a trusted successor is not used")
	}
	// A torn write of the folder, and a cluster that does not answer, change nothing.
	w.err = errors.New("connection refused")
	s.Look(t.Context())
	if err := os.WriteFile(filepath.Join(w.dir, keyFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Look(t.Context())
	if w.check(s); !s.Issues(next.Cert) {
		t.Error("the authority was given up")
	}
	// Somebody replaces the caBundle as a whole: it is followed at once.
	w.err, w.trusted = nil, encode(step.Bundle[0].Cert)
	w.write(step.Bundle)
	s.Look(t.Context())
	w.check(s)
}

func TestLeaf(t *testing.T) {
	w := newWorld(t)
	s := w.open()
	w.trusted = w.load().CertPEM()
	leaf := func() *tls.Certificate {
		t.Helper()
		leaf, err := s.Certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	one := leaf()
	if err := one.Leaf.VerifyHostname("127.0.0.1"); err != nil {
		t.Error(err)
	}
	if leaf() != one {
		t.Error("each handshake makes a leaf of its own")
	}
	w.now = w.now.Add(leafLife - leafRenewal + time.Second)
	if leaf() == one {
		t.Error("a leaf is not renewed before it ends")
	}
	w.check(s)
	// The clock of this machine jumps ahead and comes back.
	w.now = w.now.Add(90 * 24 * time.Hour)
	leaf()
	w.now = w.now.Add(-90 * 24 * time.Hour)
	w.check(s)
	// The API server's clock is behind by hours.
	w.now = w.now.Add(20 * time.Hour)
	leaf()
	w.now = w.now.Add(-20 * time.Hour)
	w.check(s)
	// At its end, the leaf does not outlive the authority.
	w.now = s.Expiry().Add(-time.Hour)
	if end := leaf().Leaf.NotAfter; end.After(s.Expiry()) {
		t.Errorf("the leaf ends %s, the authority %s", end, s.Expiry())
	}
	w.check(s)
	w.now = s.Expiry()
	if _, err := Open(s.config); err == nil || !strings.Contains(err.Error(), "replace both files") {
		t.Errorf("an expired authority is named: %v", err)
	}
}

// Replicas that share a folder and begin at once are of one authority.
func TestOneAuthorityOfManyMakers(t *testing.T) {
	w := newWorld(t)
	servers := make([]*Server, 8)
	var all sync.WaitGroup
	for i := range servers {
		all.Go(func() { servers[i] = w.open() })
	}
	all.Wait()
	w.trusted = w.load().CertPEM()
	for _, s := range servers {
		w.check(s)
	}
	// A crash between key and certificate.
	if err := os.Remove(filepath.Join(w.dir, certFile)); err != nil {
		t.Fatal(err)
	}
	s := w.open()
	w.check(s) // by the certificate that is gone: the key is the same
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 2 {
		t.Errorf("files are left behind: %v %v", entries, err)
	}
}

// Without a cluster nobody says what is trusted: a new authority is used when whoever made it had a day to have it trusted.
func TestWithoutACluster(t *testing.T) {
	w := newWorld(t)
	config := w.open().config
	config.Trusted = nil
	first := w.load().Newest()
	next, err := New(w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.write(append(w.load(), next))
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Issues(first.Cert) {
		t.Error("a new authority is used at once")
	}
	w.now = w.now.Add(unseen)
	if s.Look(t.Context()); !s.Issues(next.Cert) {
		t.Error("a new authority is never used")
	}
}

func TestParse(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	one, _ := New(now)
	two, _ := New(now.Add(-time.Hour)) // when it begins does not count: those of others begin when they are made, ours a day before
	both := Bundle{one, two}
	keys, err := Bundle{two, one}.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := Bundle{two}.KeyPEM()
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "leaf"}}, one.Cert, leafKey.Public(), one.key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.MarshalECPrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	leafPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: leafDER})
	tests := map[string]struct {
		certs, keys []byte
		want        int
		err         string
	}{
		"both, the newest last":             {both.CertPEM(), keys, 2, ""},
		"one is only trusted":               {both.CertPEM(), key, 1, ""},
		"a key without its certificate":     {one.pem(), key, 0, "no certificate with its key"},
		"nothing":                           {nil, nil, 0, "no certificate with its key"},
		"a leaf that passes as a authority": {leaf, leafPEM, 0, "is no authority"},
		"no certificate":                    {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), key, 0, "x509"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, err := Parse(tt.certs, tt.keys)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || len(b) != tt.want || !b.Newest().Cert.Equal(two.Cert) {
				t.Errorf("%d authorities, %v", len(b), err)
			}
		})
	}
}

func (a *Authority) pem() []byte { return encode(a.Cert) }
