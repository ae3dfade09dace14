// Package wire speaks the client's side of Git's fetch protocol: version 2, and 0 and 1 where a server knows nothing newer; over
// HTTP(S) and SSH; for SHA-1 and SHA-256 repositories. It asks for one branch and nothing else: no tags, no other refs.
//
// The server is believed in nothing: what it sends is bounded here and hashed by package objects, and the time is bounded by the
// context. Credentials go to the configured host only and appear in no error.
//
// Formats: gitprotocol-common(5), gitprotocol-pack(5), gitprotocol-v2(5), gitprotocol-http(5).
package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror/objects"
)

var (
	// ErrProtocol is wrapped by errors about a server that does not speak the protocol.
	ErrProtocol = errors.New("not Git's protocol")
	// ErrRemote is wrapped by errors that the server gave in its own words.
	ErrRemote = errors.New("the server says")
	// ErrDenied is returned when the server does not accept the credentials, or wants some.
	ErrDenied = errors.New("the server refuses the credentials")
	// ErrNoBranch is returned when the repository has no such branch.
	ErrNoBranch = errors.New("no such branch")
)

// Credentials are what a server may be told. They are used for one connection.
type Credentials struct {
	Username, Password string // HTTP basic; a forge's token is a password, often with any user name
	Bearer             string // HTTP bearer token

	Key        []byte // SSH private key, in OpenSSH's or PEM's form
	Passphrase []byte // of Key
}

// Options say how to reach a repository.
type Options struct {
	// Credentials are asked for at each connection, so that they may rotate; nil means none.
	Credentials func(context.Context) (Credentials, error)
	// CA are PEM certificates that are trusted beside the system's.
	CA []byte
	// ClientCert and ClientKey are PEM, for servers that want a client certificate.
	ClientCert, ClientKey []byte
	// KnownHosts are the lines of a known_hosts file. Without one that matches, an SSH server is refused.
	KnownHosts []byte
	// MaxAdvertisement bounds what a server says before the pack, in bytes; 64 MiB if it is 0. Only servers without
	// version 2 list all their refs.
	MaxAdvertisement int64
}

// Client reaches one repository.
type Client struct {
	dial func(ctx context.Context) (conversation, error)
}

// conversation is one connection. An HTTP server keeps no state between requests, an SSH server does.
type conversation interface {
	// greeting reads the server's advertisement.
	greeting() io.Reader
	// ask sends a request and returns the answer, which the caller reads to its end before the next one.
	ask(ctx context.Context, request []byte) (io.ReadCloser, error)
	io.Closer
}

// New checks the URL and the options: https://, http://, ssh://, or user@host:path.
func New(address string, o Options) (*Client, error) {
	if o.MaxAdvertisement == 0 {
		o.MaxAdvertisement = 64 << 20
	}
	u, err := parseURL(address)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "http", "https":
		return newHTTP(u, o)
	case "ssh":
		return newSSH(u, o)
	}
	return nil, fmt.Errorf("URL scheme %q is not supported: use https, http, ssh, file or a path", u.Scheme)
}

// parseURL reads a URL or the user@host:path form. A password in it is refused, because URLs are shown.
func parseURL(address string) (*url.URL, error) {
	if !strings.Contains(address, "://") {
		host, path, ok := strings.Cut(address, ":")
		if !ok || strings.Contains(host, "/") {
			return nil, errors.New("neither a URL nor user@host:path")
		}
		u := &url.URL{Scheme: "ssh", Host: host, Path: path}
		if user, h, ok := strings.Cut(host, "@"); ok {
			u.User, u.Host = url.User(user), h
		}
		return u, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the URL does not parse") // the parser's error would show all of it
	}
	if _, secret := u.User.Password(); secret {
		return nil, errors.New("the URL holds a password: give it as a credential")
	}
	if u.Host == "" {
		return nil, errors.New("the URL has no host")
	}
	return u, nil
}

// Session is one visit to the repository.
type Session struct {
	conv    conversation
	pkt     reader
	version int
	caps    map[string]string
	tip     git.ID
	format  objects.Format
}

// Open connects and asks where the branch is. The error wraps ErrNoBranch if it is nowhere.
func (c *Client) Open(ctx context.Context, branch string) (*Session, error) {
	conv, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	s := &Session{conv: conv, caps: make(map[string]string), format: objects.SHA1}
	if err := s.open(ctx, "refs/heads/"+branch); err != nil {
		return nil, errors.Join(err, conv.Close())
	}
	return s, nil
}

// Tip is the commit that the branch is at.
func (s *Session) Tip() git.ID { return s.tip }

// Format is the object format of the repository.
func (s *Session) Format() objects.Format { return s.format }

// Close ends the visit.
func (s *Session) Close() error { return s.conv.Close() }

func (s *Session) open(ctx context.Context, ref string) error {
	s.pkt.r = s.conv.greeting()
	line, kind, err := s.pkt.line()
	if err == nil && kind == data && strings.HasPrefix(line, "# service=") { // HTTP's own preamble
		if _, kind, err = s.pkt.line(); err == nil && kind != flush {
			err = fmt.Errorf("%w: no end to the preamble", ErrProtocol)
		}
		if err == nil {
			line, kind, err = s.pkt.line()
		}
	}
	if err != nil {
		return fmt.Errorf("advertisement: %w", unexpected(err))
	}
	switch {
	case kind == data && line == "version 2":
		s.version = 2
		if err := s.capabilities(); err != nil {
			return err
		}
		return s.listRefs(ctx, ref)
	case kind == data && line == "version 1":
		if line, kind, err = s.pkt.line(); err != nil {
			return fmt.Errorf("advertisement: %w", unexpected(err))
		}
	}
	return s.advertised(line, kind, ref)
}

// capabilities reads the greeting of version 2: a line for each.
func (s *Session) capabilities() error {
	for {
		line, kind, err := s.pkt.line()
		if err != nil {
			return fmt.Errorf("capabilities: %w", unexpected(err))
		}
		if kind != data {
			break
		}
		key, value, _ := strings.Cut(line, "=")
		s.caps[key] = value
	}
	if _, ok := s.caps["fetch"]; !ok {
		return fmt.Errorf("%w: version 2 without fetch", ErrProtocol)
	}
	return s.setFormat()
}

func (s *Session) setFormat() error {
	switch f := s.caps["object-format"]; f {
	case "", "sha1":
		s.format = objects.SHA1
	case "sha256":
		s.format = objects.SHA256
	default:
		return fmt.Errorf("%w: object format %q", ErrProtocol, f)
	}
	return nil
}

// command begins a request of version 2.
func (s *Session) command(name string) *writer {
	w := new(writer)
	w.linef("command=%s", name)
	if f, ok := s.caps["object-format"]; ok {
		w.linef("object-format=%s", f)
	}
	w.delimiter()
	return w
}

func (s *Session) listRefs(ctx context.Context, ref string) error {
	w := s.command("ls-refs")
	w.linef("ref-prefix %s", ref)
	w.flush()
	answer, err := s.conv.ask(ctx, w.Bytes())
	if err != nil {
		return err
	}
	defer answer.Close()
	s.pkt.r = answer
	for {
		line, kind, err := s.pkt.line()
		if err != nil {
			return fmt.Errorf("list refs: %w", unexpected(err))
		}
		if kind != data {
			break
		}
		if err := s.offer(line, ref); err != nil { // a prefix also finds main-2
			return err
		}
	}
	return s.found(ref)
}

// offer takes "ID REF ATTRIBUTES" if it is the ref.
func (s *Session) offer(line, ref string) error {
	f := strings.Split(line, " ")
	if len(f) < 2 {
		return fmt.Errorf("%w: ref line", ErrProtocol)
	}
	if f[1] != ref || f[0] == "unborn" {
		return nil
	}
	id, err := git.ParseID(f[0])
	if err != nil || len(id) != 2*int(s.format) {
		return fmt.Errorf("%w: ref line", ErrProtocol)
	}
	s.tip = id
	return nil
}

func (s *Session) found(ref string) error {
	if s.tip == "" {
		return fmt.Errorf("%w: %s", ErrNoBranch, ref)
	}
	return nil
}

// advertised reads the greeting of versions 0 and 1: all refs, with the capabilities behind the first.
func (s *Session) advertised(line string, kind packet, ref string) error {
	for first := true; kind == data; first = false {
		if first {
			text, caps, _ := strings.Cut(line, "\x00")
			line = text
			for _, c := range strings.Fields(caps) {
				key, value, _ := strings.Cut(c, "=")
				s.caps[key] = value
			}
			if err := s.setFormat(); err != nil {
				return err
			}
		}
		if !strings.HasPrefix(line, "shallow ") {
			if err := s.offer(line, ref); err != nil {
				return err
			}
		}
		var err error
		if line, kind, err = s.pkt.line(); err != nil {
			return fmt.Errorf("advertisement: %w", unexpected(err))
		}
	}
	if err := s.found(ref); err != nil {
		return err
	}
	if _, ok := s.caps["side-band-64k"]; !ok {
		return fmt.Errorf("%w: the server does not know side-band-64k", ErrProtocol)
	}
	return nil
}

// Fetch asks for the tip and everything that it needs, but not for what have needs. The answer is a pack that is complete in itself.
func (s *Session) Fetch(ctx context.Context, have []git.ID) (io.ReadCloser, error) {
	have = slices.DeleteFunc(slices.Clone(have), func(id git.ID) bool { return len(id) != 2*int(s.format) })
	var request []byte
	if s.version == 2 {
		request = s.fetch2(have)
	} else {
		request = s.fetch0(have)
	}
	answer, err := s.conv.ask(ctx, request)
	if err != nil {
		return nil, err
	}
	s.pkt.r = answer
	side := &sideband{pkt: &s.pkt}
	if err := s.skipToPack(side); err != nil {
		return nil, errors.Join(err, answer.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{side, answer}, nil
}

func (s *Session) fetch2(have []git.ID) []byte {
	w := s.command("fetch")
	w.linef("no-progress")
	w.linef("ofs-delta")
	w.linef("want %s", s.tip)
	for _, id := range have {
		w.linef("have %s", id)
	}
	w.linef("done")
	w.flush()
	return w.Bytes()
}

func (s *Session) fetch0(have []git.ID) []byte {
	caps := []string{"side-band-64k"}
	// multi_ack_detailed only changes how much is acknowledged, which is skipped; some servers insist on it.
	for _, c := range []string{"ofs-delta", "no-progress", "multi_ack_detailed"} {
		if _, ok := s.caps[c]; ok {
			caps = append(caps, c)
		}
	}
	if f, ok := s.caps["object-format"]; ok {
		caps = append(caps, "object-format="+f)
	}
	w := new(writer)
	w.linef("want %s %s", s.tip, strings.Join(caps, " "))
	w.flush()
	for _, id := range have {
		w.linef("have %s", id)
	}
	w.linef("done")
	return w.Bytes()
}

// skipToPack reads what comes before the pack: section headers (version 2), acknowledgments (version 0).
func (s *Session) skipToPack(side *sideband) error {
	for {
		kind, b, err := s.pkt.next()
		if err != nil {
			return fmt.Errorf("fetch: %w", unexpected(err))
		}
		if kind == flush && s.version == 2 {
			return fmt.Errorf("%w: answer without a pack", ErrProtocol)
		}
		if kind != data {
			continue
		}
		switch line := strings.TrimSuffix(string(b), "\n"); {
		case s.version == 2 && line == "packfile":
			return nil
		case s.version != 2 && len(b) > 0 && b[0] <= 3:
			return side.take(b)
		case s.version != 2 && line != "NAK" && !strings.HasPrefix(line, "ACK "):
			return fmt.Errorf("%w: answer %q", ErrProtocol, printable(b))
		}
	}
}
