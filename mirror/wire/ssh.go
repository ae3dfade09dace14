package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// handshakeTimeout bounds connecting and authenticating, so that a silent host does not use up a whole fetch.
const handshakeTimeout = 15 * time.Second

func newSSH(u *url.URL, o Options) (*Client, error) {
	if len(o.KnownHosts) == 0 {
		return nil, errors.New("ssh needs known_hosts: without it, any host could answer")
	}
	db, err := parseKnownHosts(o.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	user := u.User.Username()
	if user == "" {
		user = "git"
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "22")
	}
	// ssh://host/path is absolute; user@host:path is relative to the home folder, and kept as written.
	command := "git-upload-pack " + quote(u.Path)
	return &Client{dial: func(ctx context.Context) (conversation, error) {
		if o.Credentials == nil {
			return nil, errors.New("ssh needs a key")
		}
		k, err := o.Credentials(ctx)
		if err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
		signer, err := parseKey(k)
		if err != nil {
			return nil, err
		}
		config := &ssh.ClientConfig{
			User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
			HostKeyCallback: db.HostKeyCallback(), HostKeyAlgorithms: db.HostKeyAlgorithms(address),
		}
		return dialSSH(ctx, address, config, command, o.MaxAdvertisement)
	}}, nil
}

// parseKnownHosts goes by way of a file, because that is all that the parser reads.
func parseKnownHosts(lines []byte) (*knownhosts.HostKeyDB, error) {
	f, err := os.CreateTemp("", "known_hosts")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(lines)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return knownhosts.NewDB(f.Name())
}

func parseKey(k Credentials) (ssh.Signer, error) {
	if len(k.Key) == 0 {
		return nil, errors.New("ssh needs a key")
	}
	var signer ssh.Signer
	var err error
	if len(k.Passphrase) > 0 {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(k.Key, k.Passphrase)
	} else {
		signer, err = ssh.ParsePrivateKey(k.Key)
	}
	if err != nil {
		return nil, errors.New("the ssh key does not parse, or its passphrase is wrong")
	}
	return signer, nil
}

// quote is how git quotes a path for the server's shell: in single quotes, with ' and ! outside of them.
func quote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

type sshConversation struct {
	client  *ssh.Client
	session *ssh.Session
	stdin   io.WriteCloser
	stdout  io.Reader
	limit   *io.LimitedReader // bounds the greeting
	stop    func() bool
}

func dialSSH(ctx context.Context, address string, config *ssh.ClientConfig, command string, limit int64) (conversation, error) {
	early, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(early, "tcp", address)
	if err != nil {
		return nil, err
	}
	// The ssh package knows no context: its connection is closed when ours ends.
	hurry := context.AfterFunc(early, func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(conn, address, config)
	if !hurry() || err != nil {
		conn.Close()
		return nil, sshError(errors.Join(err, early.Err()))
	}
	client := ssh.NewClient(c, channels, requests)
	s := &sshConversation{client: client, stop: context.AfterFunc(ctx, func() { client.Close() })}
	if err := s.start(command, limit); err != nil {
		return nil, errors.Join(err, ctx.Err(), s.Close())
	}
	return s, nil
}

func sshError(err error) error {
	switch {
	case knownhosts.IsHostUnknown(err):
		return errors.New("ssh: the host's key is not in known_hosts")
	case knownhosts.IsHostKeyChanged(err):
		return errors.New("ssh: the host's key is not the one in known_hosts")
	case strings.Contains(err.Error(), "unable to authenticate"):
		return ErrDenied
	}
	return err
}

func (s *sshConversation) start(command string, limit int64) error {
	var err error
	if s.session, err = s.client.NewSession(); err != nil {
		return err
	}
	// A server that does not accept the variable answers in version 0.
	_ = s.session.Setenv("GIT_PROTOCOL", "version=2")
	if s.stdin, err = s.session.StdinPipe(); err != nil {
		return err
	}
	if s.stdout, err = s.session.StdoutPipe(); err != nil {
		return err
	}
	s.limit = &io.LimitedReader{R: s.stdout, N: limit}
	return s.session.Start(command)
}

func (s *sshConversation) greeting() io.Reader { return s.limit }

func (s *sshConversation) ask(_ context.Context, request []byte) (io.ReadCloser, error) {
	if _, err := s.stdin.Write(request); err != nil {
		return nil, err
	}
	return io.NopCloser(s.stdout), nil
}

func (s *sshConversation) Close() error {
	s.stop()
	err := s.client.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
