package mirror_test

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/mirror/wire"
)

// sshHost is an SSH server that runs git-upload-pack, as a forge does.
type sshHost struct {
	address string
	host    ssh.Signer
	client  []byte // private key, PEM
	env     bool   // it takes GIT_PROTOCOL, and so speaks version 2
}

func newSSHHost(t *testing.T, env bool) *sshHost {
	t.Helper()
	h := &sshHost{env: env, host: newSigner(t)}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	h.client = pem.EncodeToMemory(block)
	allowed, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, errors.New("who is that?")
		}
		return nil, nil
	}}
	config.AddHostKey(h.host)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	h.address = listener.Addr().String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go h.serve(t, conn, config)
		}
	}()
	return h
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *sshHost) serve(t *testing.T, conn net.Conn, config *ssh.ServerConfig) {
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer server.Close()
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go h.session(t, channel, requests)
	}
}

func (h *sshHost) session(t *testing.T, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	env := append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	for r := range requests {
		var payload struct{ First, Second string }
		switch {
		case r.Type == "env" && h.env && ssh.Unmarshal(r.Payload, &payload) == nil:
			env = append(env, payload.First+"="+payload.Second)
			r.Reply(true, nil)
		case r.Type == "exec":
			r.Reply(true, nil)
			var command struct{ Line string }
			if ssh.Unmarshal(r.Payload, &command) != nil {
				return
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", command.Line)
			cmd.Env, cmd.Stdin, cmd.Stdout = env, channel, channel
			_ = cmd.Run() // git complains when the client leaves after the greeting
			return
		default:
			r.Reply(false, nil)
		}
	}
}

func (h *sshHost) options(known ssh.PublicKey) mirror.Options {
	return mirror.Options{Options: wire.Options{
		Credentials: func(context.Context) (wire.Credentials, error) { return wire.Credentials{Key: h.client}, nil },
		KnownHosts:  []byte(knownhosts.Line([]string{h.address}, known) + "\n"),
	}}
}

func TestHistoryArrivesOverSSH(t *testing.T) {
	for name, env := range map[string]bool{"version 2": true, "version 0": false} {
		t.Run(name, func(t *testing.T) {
			w := newWork(t)
			first := w.commit("first", map[string]string{"it's a file!": "1"})
			h := newSSHHost(t, env)
			for _, url := range []string{"ssh://git@" + h.address + w.dir, "ssh://" + h.address + w.dir} {
				m, err := mirror.Open(filepath.Join(t.TempDir(), "m"), url, "main", h.options(h.host.PublicKey()))
				if err != nil {
					t.Fatal(err)
				}
				fetch(t, m, first)
				second := w.commit("second", map[string]string{"b": "2"})
				fetch(t, m, second)
				equal(t, w, m.Repository(), second)
				w.git("reset", "--quiet", "--hard", string(first))
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestSSHRefusesWhomItDoesNotKnow(t *testing.T) {
	w := newWork(t)
	w.commit("first", map[string]string{"a": "1"})
	h := newSSHHost(t, true)
	url := "ssh://git@" + h.address + w.dir
	stranger := newSSHHost(t, true)
	elsewhere := stranger.options(stranger.host.PublicKey())
	elsewhere.Credentials = h.options(h.host.PublicKey()).Credentials
	wrongKey := h.options(h.host.PublicKey())
	wrongKey.Credentials = stranger.options(stranger.host.PublicKey()).Credentials
	for name, c := range map[string]struct {
		o    mirror.Options
		want string
	}{
		"a host whose key has changed":    {h.options(stranger.host.PublicKey()), "not the one in known_hosts"},
		"a host that nobody has vouched":  {elsewhere, "not in known_hosts"},
		"a client whose key is not known": {wrongKey, "refuses the credentials"},
		"no known_hosts at all":           {mirror.Options{}, "needs known_hosts"},
	} {
		m, err := mirror.Open(filepath.Join(t.TempDir(), "m"), url, "main", c.o)
		if err == nil {
			_, err = m.Fetch(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A token in a URL would be shown in every status and log.
func TestURLsThatAreRefused(t *testing.T) {
	for url, want := range map[string]string{
		"https://alice:s3cr3t@example.com/x.git": "holds a password",
		"git://example.com/x.git":                "not supported",
		"ext::sh -c evil":                        "needs known_hosts", // a host called ext, and no command
		"relative/path":                          "neither a URL",
		"https:///x":                             "no host",
		"file://host/x":                          "file:///",
		"https://exa mple:s3cr3t":                "does not parse",
	} {
		_, err := mirror.Open(t.TempDir(), url, "main", mirror.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, branch := range []string{"", "../../config", "a//b", "a/../b"} {
		if _, err := mirror.Open(t.TempDir(), "/x", branch, mirror.Options{}); err == nil {
			t.Errorf("branch %q is accepted", branch)
		}
	}
}
