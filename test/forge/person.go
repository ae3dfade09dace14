package forge

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Person makes commits. One without a key cannot sign.
type Person struct {
	Name, Email string

	format string // gpg.format of git: "ssh", "openpgp", or "" without a key
	key    string // user.signingkey: the private key's file (SSH) or the fingerprint (OpenPGP)
	public string // as authorized_keys or ASCII-armoured
}

// WithoutKey is somebody who does not sign.
func WithoutKey(name, email string) *Person { return &Person{Name: name, Email: email} }

// WithSSHKey is somebody who signs with a new Ed25519 key, made by ssh-keygen.
func (f *Forge) WithSSHKey(ctx context.Context, name, email string) (*Person, error) {
	program, err := exec.LookPath("ssh-keygen")
	if err != nil {
		return nil, fmt.Errorf("%w (Debian package: openssh-client)", err)
	}
	dir, err := os.MkdirTemp(f.dir, "ssh-")
	if err != nil {
		return nil, err
	}
	key := filepath.Join(dir, "id_ed25519")
	if _, err := output(ctx, dir, quiet(), program, "-q", "-t", "ed25519", "-N", "", "-C", email, "-f", key); err != nil {
		return nil, err
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		return nil, err
	}
	return &Person{Name: name, Email: email, format: "ssh", key: key, public: strings.TrimSpace(string(public))}, nil
}

// WithOpenPGPKey is somebody who signs with a new Ed25519 key, made by gpg.
func (f *Forge) WithOpenPGPKey(ctx context.Context, name, email string) (*Person, error) {
	if f.gpgHome == "" {
		// Not under dir: gpg-agent's socket lives here, and a socket's path has 107 bytes at most.
		home, err := os.MkdirTemp("", "gpg-")
		if err != nil {
			return nil, err
		}
		f.gpgHome = home
	}
	user := fmt.Sprintf("%s <%s>", name, email)
	if err := f.gpg(ctx, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", user, "ed25519", "sign", "never"); err != nil {
		return nil, err
	}
	list, err := f.gpgOutput(ctx, "gpg", "--batch", "--with-colons", "--list-keys", "="+user)
	if err != nil {
		return nil, err
	}
	var fingerprint string
	for line := range strings.Lines(list) {
		if fields := strings.Split(line, ":"); fields[0] == "fpr" && fingerprint == "" {
			fingerprint = fields[9] // doc/DETAILS of GnuPG: field 10 of an fpr record
		}
	}
	public, err := f.gpgOutput(ctx, "gpg", "--batch", "--armor", "--export", fingerprint)
	if err != nil {
		return nil, err
	}
	return &Person{Name: name, Email: email, format: "openpgp", key: fingerprint, public: public}, nil
}

func (f *Forge) gpg(ctx context.Context, program string, args ...string) error {
	_, err := f.gpgOutput(ctx, program, args...)
	return err
}

func (f *Forge) gpgOutput(ctx context.Context, program string, args ...string) (string, error) {
	if ctx == nil {
		ctx = context.Background()
	}
	if _, err := exec.LookPath(program); err != nil {
		return "", fmt.Errorf("%w (Debian package: gnupg)", err)
	}
	return output(ctx, f.dir, append(quiet(), "GNUPGHOME="+f.gpgHome), program, args...)
}

// Signer is how the configuration of a gate names this person.
func (p *Person) Signer() v1alpha1.Signer {
	signer := v1alpha1.Signer{Principal: p.Email}
	switch p.format {
	case "ssh":
		signer.SSH = []string{p.public}
	case "openpgp":
		signer.OpenPGP = p.public
	}
	return signer
}

// Kind is the kind of this person's key in one word: "SSH", "OpenPGP" or "none".
func (p *Person) Kind() string {
	switch p.format {
	case "ssh":
		return "SSH"
	case "openpgp":
		return "OpenPGP"
	default:
		return "none"
	}
}

// OpenPGPKey is the fingerprint of an OpenPGP key, "" for people with other keys.
func (p *Person) OpenPGPKey() string {
	if p.format != "openpgp" {
		return ""
	}
	return p.key
}

// GNUPGHome is where the OpenPGP keys of this forge's people lie, "" if there are none.
func (f *Forge) GNUPGHome() string { return f.gpgHome }

// KeyFile is where an SSH private key lies, "" for people with other keys: for tests that sign by themselves.
func (p *Person) KeyFile() string {
	if p.format != "ssh" {
		return ""
	}
	return p.key
}
