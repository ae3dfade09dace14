package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/git"
)

const tip = "1111111111111111111111111111111111111111"

func pkt(lines ...string) string {
	var b strings.Builder
	for _, l := range lines {
		switch l {
		case "0000", "0001", "0002":
			b.WriteString(l)
		default:
			fmt.Fprintf(&b, "%04x%s", len(l)+4, l)
		}
	}
	return b.String()
}

const (
	advertisement = "application/x-git-upload-pack-advertisement"
	result        = "application/x-git-upload-pack-result"
)

// server answers a GET with the first body and POSTs with the following ones.
func server(t testing.TB, bodies ...string) string {
	t.Helper()
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := result
		if r.Method == http.MethodGet {
			n, kind = 0, advertisement
		}
		w.Header().Set("Content-Type", kind)
		if n < len(bodies) {
			io.WriteString(w, bodies[n])
		}
		n++
	}))
	t.Cleanup(s.Close)
	return s.URL + "/r.git"
}

func visit(t testing.TB, url string, o Options) (pack string, err error) {
	t.Helper()
	c, err := New(url, o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Open(t.Context(), "main")
	if err != nil {
		return "", err
	}
	defer s.Close()
	if s.Tip() != tip {
		t.Errorf("tip %s", s.Tip())
	}
	r, err := s.Fetch(t.Context(), []git.ID{tip})
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// What servers say, and what is made of it.
func TestServers(t *testing.T) {
	hello2 := pkt("version 2\n", "agent=x\n", "ls-refs=unborn\n", "fetch=shallow\n", "0000")
	refs2 := pkt(tip+" refs/heads/main\n", "0000")
	hello0 := pkt("# service=git-upload-pack\n", "0000", tip+" HEAD\x00multi_ack_detailed side-band-64k ofs-delta symref=HEAD:refs/heads/main\n",
		tip+" refs/heads/main\n", "0000")
	packed := pkt("\x01PA", "\x02counting\n", "\x01CK", "0000")
	cases := map[string]struct {
		bodies []string
		pack   string
		err    error
		words  string
	}{
		"version 2": {bodies: []string{hello2, refs2, pkt("packfile\n") + packed}, pack: "PACK"},
		"version 2 with sections before the pack":     {bodies: []string{hello2, refs2, pkt("shallow-info\n", "0001", "packfile\n") + packed}, pack: "PACK"},
		"version 2 behind a preamble":                 {bodies: []string{pkt("# service=git-upload-pack\n", "0000") + hello2, refs2, pkt("packfile\n") + packed}, pack: "PACK"},
		"version 0":                                   {bodies: []string{hello0, pkt("NAK\n") + packed}, pack: "PACK"},
		"version 0 with many acknowledgments":         {bodies: []string{hello0, pkt("ACK "+tip+" common\n", "ACK "+tip+" ready\n", "ACK "+tip+"\n") + packed}, pack: "PACK"},
		"version 1":                                   {bodies: []string{pkt("# service=git-upload-pack\n", "0000", "version 1\n", tip+" refs/heads/main\x00side-band-64k\n", "0000"), pkt("NAK\n") + packed}, pack: "PACK"},
		"a branch whose name only begins alike":       {bodies: []string{hello2, pkt(tip+" refs/heads/main-2\n", "0000")}, err: ErrNoBranch},
		"an empty repository, version 2":              {bodies: []string{hello2, pkt("unborn refs/heads/main\n", "0000")}, err: ErrNoBranch},
		"an empty repository, version 0":              {bodies: []string{pkt("# service=git-upload-pack\n", "0000", strings.Repeat("0", 40)+" capabilities^{}\x00side-band-64k\n", "0000")}, err: ErrNoBranch},
		"an error instead of a pack":                  {bodies: []string{hello2, refs2, pkt("ERR upload-pack: not our ref\n")}, err: ErrRemote, words: "not our ref"},
		"an error in the middle of a pack":            {bodies: []string{hello2, refs2, pkt("packfile\n", "\x01PA", "\x03fatal: disk\x1b[31m full\n")}, err: ErrRemote, words: "fatal: disk [31m full"},
		"a pack cut short":                            {bodies: []string{hello2, refs2, pkt("packfile\n", "\x01PA")}, err: io.ErrUnexpectedEOF},
		"a connection cut inside a packet":            {bodies: []string{hello2, refs2, pkt("packfile\n") + "0009\x01P"}, err: io.ErrUnexpectedEOF},
		"no pack":                                     {bodies: []string{hello2, refs2, pkt("0000")}, err: ErrProtocol},
		"an id that is none":                          {bodies: []string{hello2, pkt("../../x refs/heads/main\n", "0000")}, err: ErrProtocol},
		"an id of the other object format":            {bodies: []string{hello2, pkt(strings.Repeat("1", 64)+" refs/heads/main\n", "0000")}, err: ErrProtocol},
		"an object format of the future":              {bodies: []string{pkt("version 2\n", "fetch\n", "object-format=sha512\n", "0000")}, err: ErrProtocol},
		"a server that cannot fetch":                  {bodies: []string{pkt("version 2\n", "ls-refs\n", "0000")}, err: ErrProtocol},
		"a server without sidebands":                  {bodies: []string{pkt("# service=git-upload-pack\n", "0000", tip+" refs/heads/main\x00ofs-delta\n", "0000")}, err: ErrProtocol},
		"a band that is none":                         {bodies: []string{hello2, refs2, pkt("packfile\n", "\x07x")}, err: ErrProtocol},
		"packets without a length":                    {bodies: []string{"<html>"}, err: ErrProtocol},
		"packets that are too long":                   {bodies: []string{"ffff" + strings.Repeat("x", 70000)}, err: ErrProtocol},
		"an answer of version 0 that is neither":      {bodies: []string{hello0, pkt("whatever\n")}, err: ErrProtocol},
		"an advertisement that does not come to end":  {bodies: []string{hello0 + strings.Repeat(pkt(tip+" refs/heads/x\n"), 10000)}, err: ErrProtocol},
		"an advertisement that stops in the middle":   {bodies: []string{pkt("# service=git-upload-pack\n", "0000", tip+" refs/heads/x\x00side-band-64k\n")}, err: io.ErrUnexpectedEOF},
		"a repository that answers without any words": {bodies: []string{""}, err: io.ErrUnexpectedEOF},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pack, err := visit(t, server(t, c.bodies...), Options{MaxAdvertisement: 1 << 18})
			if !errors.Is(err, c.err) || err == nil && pack != c.pack {
				t.Fatalf("pack %q, error %v, want %q, %v", pack, err, c.pack, c.err)
			}
			if c.words != "" && !strings.Contains(err.Error(), c.words) {
				t.Errorf("error %q, want the words %q", err, c.words)
			}
		})
	}
}

// Credentials are for the configured host; a redirect must not carry them to another one, nor out of TLS.
func TestRedirectsStayOnTheHost(t *testing.T) {
	stolen := make(chan string, 8)
	thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { stolen <- r.Header.Get("Authorization") }))
	defer thief.Close()
	to := strings.Replace(thief.URL, "127.0.0.1", "localhost", 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/away.git/info/refs", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to+"/x/info/refs", http.StatusFound) })
	mux.HandleFunc("/moved.git/info/refs", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/new.git/info/refs?service=git-upload-pack", http.StatusMovedPermanently)
	})
	mux.HandleFunc("/new.git/info/refs", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", advertisement)
		io.WriteString(w, pkt("version 2\n", "fetch\n", "0000"))
	})
	mux.HandleFunc("/new.git/git-upload-pack", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "alice" || password != "s3cr3t" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", result)
		if b, _ := io.ReadAll(r.Body); bytes.Contains(b, []byte("ls-refs")) {
			io.WriteString(w, pkt(tip+" refs/heads/main\n", "0000"))
			return
		}
		io.WriteString(w, pkt("packfile\n", "\x01PACK", "0000"))
	})
	host := httptest.NewServer(mux)
	defer host.Close()
	o := Options{Credentials: func(context.Context) (Credentials, error) {
		return Credentials{Username: "alice", Password: "s3cr3t"}, nil
	}}
	if _, err := visit(t, host.URL+"/away.git", o); err == nil || !strings.Contains(err.Error(), "redirects to") {
		t.Errorf("a redirect to another host: %v", err)
	}
	select {
	case s := <-stolen:
		t.Errorf("the other host was asked, with %q", s)
	default:
	}
	if pack, err := visit(t, host.URL+"/moved.git", o); err != nil || pack != "PACK" {
		t.Errorf("a repository that has moved on its host: %q %v", pack, err)
	}
	o.Credentials = func(context.Context) (Credentials, error) {
		return Credentials{Username: "alice", Password: "wr0ng"}, nil
	}
	if _, err := visit(t, host.URL+"/moved.git", o); !errors.Is(err, ErrDenied) || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("the wrong password: %v", err)
	}
}

// A server that says nothing must not hold anybody longer than the context allows.
func TestSilentServersAreLeft(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	c, err := New(s.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Open(ctx, "main"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(pkt("version 2\n", "fetch\n", "0000") + pkt(tip+" refs/heads/main\n", "0000") + pkt("packfile\n", "\x01PACK", "0000")))
	f.Add([]byte(pkt(tip+" refs/heads/main\x00side-band-64k\n", "0000") + pkt("NAK\n", "\x01PACK", "0000")))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		c := &Client{dial: func(context.Context) (conversation, error) { return recorded{r}, nil }}
		s, err := c.Open(t.Context(), "main")
		if err != nil {
			return
		}
		if _, err := git.ParseID(string(s.Tip())); err != nil {
			t.Fatal(err)
		}
		pack, err := s.Fetch(t.Context(), nil)
		if err != nil {
			return
		}
		if n, _ := io.Copy(io.Discard, pack); n > int64(len(stream)) {
			t.Fatalf("%d bytes out of %d", n, len(stream))
		}
	})
}

// recorded is a conversation in which the server's words are known beforehand.
type recorded struct{ r io.Reader }

func (c recorded) greeting() io.Reader { return c.r }
func (c recorded) ask(context.Context, []byte) (io.ReadCloser, error) {
	return io.NopCloser(c.r), nil
}
func (c recorded) Close() error { return nil }
