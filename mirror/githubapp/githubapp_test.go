package githubapp

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// host plays GitHub's API: it gives a token to whoever proves to be the App, and nothing to others.
type host struct {
	t      *testing.T
	key    *rsa.PublicKey
	now    func() time.Time
	answer func(http.ResponseWriter) bool // answers otherwise; nil or false does not
	given  int
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/api/v3/app/installations/77/access_tokens" {
		http.NotFound(w, r)
		return
	}
	if h.answer != nil && h.answer(w) {
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || rsa.VerifyPKCS1v15(h.key, crypto.SHA256, digest[:], signature) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var claims struct {
		Iat, Exp int64
		Iss      string
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Iss != "4711" || claims.Iat > h.now().Unix() || claims.Exp > h.now().Add(10*time.Minute).Unix() {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	h.given++
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"token": "ghs_%d", "expires_at": %q, "permissions": {"contents": "read"}}`, h.given, h.now().Add(time.Hour).Format(time.RFC3339))
}

type fixture struct {
	*host
	cfg   Config
	clock time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{clock: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return f.clock }
	f.host = &host{t: t, key: &key.PublicKey, now: now}
	server := httptest.NewTLSServer(f.host)
	t.Cleanup(server.Close)
	f.cfg = Config{
		AppID: "4711", InstallationID: "77", API: server.URL + "/api/v3/", Now: now,
		PrivateKey: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		CA:         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	return f
}

// A token is asked for once and used until shortly before its end, however many ask at the same time.
func TestTokensAreKeptUntilTheyEnd(t *testing.T) {
	f := newFixture(t)
	app, err := New(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := func(token string) {
		t.Helper()
		if got, err := app.Token(t.Context()); got != token || err != nil {
			t.Errorf("token %q, want %q (%v)", got, token, err)
		}
	}
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() { want("ghs_1") })
	}
	crowd.Wait()
	f.clock = f.clock.Add(54 * time.Minute)
	want("ghs_1")
	f.clock = f.clock.Add(2 * time.Minute) // four minutes before its end
	want("ghs_2")
}

// What goes wrong is said without a word of key, proof or token; and no proof is shown to whom GitHub's answer names.
func TestNoTokenIsGiven(t *testing.T) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("somebody else was shown the proof") }))
	t.Cleanup(elsewhere.Close)
	for name, test := range map[string]struct {
		change func(*fixture)
		want   string
	}{
		"the key is another's":       {func(f *fixture) { other := newFixture(f.t); f.key = other.key }, "401"},
		"no such installation":       {func(f *fixture) { f.cfg.InstallationID = "78" }, "404"},
		"the clock is an hour ahead": {func(f *fixture) { now := f.cfg.Now; f.cfg.Now = func() time.Time { return now().Add(time.Hour) } }, "401"},
		"a redirect": {func(f *fixture) {
			f.answer = func(w http.ResponseWriter) bool {
				w.Header().Set("Location", elsewhere.URL)
				w.WriteHeader(307)
				return true
			}
		}, "307"},
		"an answer that is none": {func(f *fixture) {
			f.answer = func(w http.ResponseWriter) bool {
				w.WriteHeader(201)
				fmt.Fprint(w, `{"token": "ghs_secret"`)
				return true
			}
		}, "holds none"},
		"a token of two lines": {func(f *fixture) {
			f.answer = func(w http.ResponseWriter) bool {
				w.WriteHeader(201)
				fmt.Fprint(w, `{"token": "ghs_secret\r\nX: y", "expires_at": "2030-01-01T00:00:00Z"}`)
				return true
			}
		}, "holds none"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			test.change(f)
			app, err := New(f.cfg)
			if err != nil {
				t.Fatal(err)
			}
			_, err = app.Token(t.Context())
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "ghs_") {
				t.Errorf("have %v, want %q", err, test.want)
			}
		})
	}
}

func TestWhoWeAreIsChecked(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*Config){
		"no app":                     func(c *Config) { c.AppID = "" },
		"an installation with a way": func(c *Config) { c.InstallationID = "77/../78" },
		"no key":                     func(c *Config) { c.PrivateKey = []byte("secret") },
		"an API without TLS":         func(c *Config) { c.API = "http://ghe.example.org/api/v3" },
		"authorities that are none":  func(c *Config) { c.CA = []byte("x") },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := f.cfg
			change(&cfg)
			if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("have %v", err)
			}
		})
	}
}
