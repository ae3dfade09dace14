package sops

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
)

// dataKeySize is that of AES-256, in bytes.
const dataKeySize = 32

// maxKeyFile bounds a file of keys, in bytes.
const maxKeyFile = 1 << 20

// Keys open files. They are never changed, and nil opens nothing.
type Keys struct {
	identities []age.Identity
	ring       openpgp.EntityList
}

// Load reads a folder of keys, named as in the Secret that a Flux Kustomization's spec.decryption names: age identities in *.agekey,
// armored OpenPGP private keys without a passphrase in *.asc. Other files are left alone; a folder without a key is an error.
func Load(dir string) (*Keys, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	k := &Keys{}
	var errs []error
	for _, e := range entries {
		var add func([]byte) error
		switch filepath.Ext(e.Name()) {
		case ".agekey":
			add = k.addAge
		case ".asc":
			add = k.addPGP
		default:
			continue
		}
		data, err := readKeyFile(filepath.Join(dir, e.Name()))
		if err == nil {
			err = add(data)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.Name(), err))
		}
	}
	if len(errs) == 0 && len(k.identities)+len(k.ring) == 0 {
		errs = append(errs, fmt.Errorf("%s holds no *.agekey and no *.asc", dir))
	}
	return k, errors.Join(errs...)
}

func readKeyFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // for reading: there is nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("larger than %d bytes", maxKeyFile)
	}
	return data, err
}

// addAge reads age identities. The errors of the library would quote a line of the file.
func (k *Keys) addAge(data []byte) error {
	identities, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return errors.New("no age identities: lines that begin with AGE-SECRET-KEY-, as age-keygen writes them")
	}
	k.identities = append(k.identities, identities...)
	return nil
}

func (k *Keys) addPGP(data []byte) error {
	entities, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
	if err != nil {
		return errors.New("no armored OpenPGP keys, as gpg --export-secret-keys --armor writes them")
	}
	for _, e := range entities {
		usable := e.PrivateKey != nil && !e.PrivateKey.Encrypted
		for _, s := range e.Subkeys {
			usable = usable || s.PrivateKey != nil && !s.PrivateKey.Dummy() && !s.PrivateKey.Encrypted
		}
		if !usable {
			return fmt.Errorf("key %X is public only, or has a passphrase", e.PrimaryKey.Fingerprint)
		}
	}
	k.ring = append(k.ring, entities...)
	return nil
}

// dataKey is the key of a file's values. Each recipient holds a copy of it; where there are several groups of them, of a share of it.
func (k *Keys) dataKey(m *metadata) ([]byte, error) {
	if k == nil {
		return nil, ErrNoKey
	}
	if len(m.groups) == 1 {
		if key := k.openGroup(m.groups[0], dataKeySize); key != nil {
			return key, nil
		}
		return nil, ErrNoKey
	}
	var shares [][]byte
	for _, g := range m.groups {
		if share := k.openGroup(g, dataKeySize+1); share != nil {
			shares = append(shares, share)
		}
	}
	if len(shares) < max(m.threshold, 2) {
		return nil, ErrNoKey
	}
	if key := combine(shares); key != nil {
		return key, nil
	}
	return nil, ErrNoKey
}

// openGroup is what the recipients of a group hold, nil if none of the keys is one of theirs.
func (k *Keys) openGroup(g group, size int) []byte {
	for _, r := range g.age {
		if held := k.openAge(r.enc); len(held) == size {
			return held
		}
	}
	for _, r := range g.pgp {
		if held := k.openPGP(r.enc); len(held) == size {
			return held
		}
	}
	return nil
}

// openAge is nil if none of the identities is a recipient's.
func (k *Keys) openAge(enc string) []byte {
	if len(k.identities) == 0 {
		return nil
	}
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(enc)), k.identities...)
	if err != nil {
		return nil
	}
	return readKey(r)
}

// openPGP is nil if none of the private keys is a recipient's.
func (k *Keys) openPGP(enc string) []byte {
	if len(k.ring) == 0 {
		return nil
	}
	block, err := pgparmor.Decode(strings.NewReader(enc))
	if err != nil {
		return nil
	}
	m, err := openpgp.ReadMessage(block.Body, k.ring, nil, nil)
	if err != nil {
		return nil
	}
	return readKey(m.UnverifiedBody)
}

func readKey(r io.Reader) []byte {
	key, err := io.ReadAll(io.LimitReader(r, dataKeySize+2)) // one more than a share has
	if err != nil {
		return nil
	}
	return key
}
