package signing

import (
	"crypto/ed25519"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const fuzzKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIt1GSh7ZkySYxmFWRhNgWBcYAVMZJJrSmMqTeHp9YO"

func FuzzAllowedSigners(f *testing.F) {
	f.Add("ada@example.org " + fuzzKey)
	f.Add(`"*@example.org,!eve@example.org" cert-authority,namespaces="git,file",valid-after="20200101",valid-before="20300101120000Z" ` + fuzzKey + " comment")
	f.Add("# nobody\n\n\tx\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, _ := parseAllowedSigners(text)
		for _, l := range lines {
			if l.key == nil || l.principal() == "" || len(l.principals) == 0 {
				t.Errorf("a line without a key or a principal: %+v", l)
			}
			if l.principals.match("") && !strings.Contains(strings.Join(l.principals, ","), "*") {
				t.Errorf("%q matches nobody", l.principals)
			}
		}
	})
}

func FuzzSignerList(f *testing.F) {
	f.Add([]byte("apiVersion: commitgate.dev/v1alpha1\nkind: SignerList\nsigners:\n- {principal: ada@example.org, ssh: [" + fuzzKey + "]}\n"))
	f.Add([]byte(`{"apiVersion": "commitgate.dev/v1alpha1", "kind": "SignerList", "revoked": ["SHA256:x"], "signers": [{"principal": "a", "openpgp": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n-----END PGP PUBLIC KEY BLOCK-----"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseListFile("signers.yaml", data)
		if err != nil {
			return
		}
		l, err := newList(d, nil, nil)
		if err == nil && len(l.people) == 0 && len(l.forges) == 0 && !l.open {
			t.Error("a list of nobody")
		}
	})
}

func FuzzKRL(f *testing.F) {
	f.Add([]byte(krlMagic + "\x00\x00\x00\x01" + strings.Repeat("\x00", 32)))
	f.Add([]byte(krlMagic + "\x00\x00\x00\x01" + strings.Repeat("\x00", 32) + "\x01\x00\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01"))
	key, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		f.Fatal(err)
	}
	cert := &ssh.Certificate{Key: key, SignatureKey: key, Serial: 1}
	f.Fuzz(func(_ *testing.T, data []byte) {
		if k, err := parseKRL(data); err == nil {
			k.revokes(cert)
		}
	})
}

// FuzzSignatures: whatever stands in a signature, it is refused and nothing breaks: nobody has signed these payloads.
func FuzzSignatures(f *testing.F) {
	l, err := newList(document{allowedSigners: "ada@example.org " + fuzzKey}, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	seeds, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout", filepath.Join(f.TempDir(), "key"), "-outform", "DER").Output()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byte(2), seeds)
	f.Add(byte(0), []byte("SSHSIG\x00\x00\x00\x01\x00\x00\x00\x01k\x00\x00\x00\x03git\x00\x00\x00\x00\x00\x00\x00\x06sha512\x00\x00\x00\x01s"))
	f.Add(byte(1), []byte{0xc2, 0x5e, 0x04, 0x00})
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		ssh := func(blob, payload []byte, at time.Time) (Signature, error) {
			return l.verifySSH(sshNamespace, blob, payload, at)
		}
		verify := []func([]byte, []byte, time.Time) (Signature, error){ssh, l.verifyOpenPGP, l.verifyCMS}[kind%3]
		if s, err := verify(data, []byte("payload"), time.Now()); err == nil {
			t.Errorf("%+v accepted", s)
		}
	})
}
