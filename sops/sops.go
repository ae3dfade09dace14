// Package sops opens files that SOPS encrypted (getsops.io), with age and OpenPGP keys that are at hand.
//
// It owns the reading of the file format: the metadata, the data key, the values and the MAC over them. It trusts nothing in a file
// before its MAC is verified. It does not encrypt, asks no key service, no agent and no network, and knows no cloud's keys: a file
// that none of the keys opens stays closed (ErrNoKey).
package sops

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
)

// Format is how a file is written.
type Format int

// The formats of files. A file of no known extension is Binary: a JSON envelope around its bytes.
const (
	Binary Format = iota
	YAML
	JSON
	Dotenv
	INI // known, and not opened
)

// FormatOf is the format that SOPS and Flux go by for a file of this name.
func FormatOf(name string) Format {
	switch ext := path.Ext(name); {
	case strings.HasSuffix(name, ".dockerconfigjson"), ext == ".json":
		return JSON
	case ext == ".yaml", ext == ".yml":
		return YAML
	case ext == ".env":
		return Dotenv
	case ext == ".ini":
		return INI
	}
	return Binary
}

// Marked tells whether bytes look like a file of the format that SOPS encrypted: by the words by which Flux tells.
func Marked(data []byte, as Format) bool {
	return bytes.Contains(data, []byte(map[Format]string{
		Binary: `"mac": "ENC[`, JSON: `"mac": "ENC[`, YAML: "mac: ENC[", Dotenv: "sops_mac=ENC[", INI: "[sops]",
	}[as]))
}

// ErrNoKey is returned when none of the keys opens a file, or it needs several people's keys at once (Shamir's secret sharing).
var ErrNoKey = errors.New("encrypted with SOPS for keys that are not at hand")

// ErrMAC is wrapped when a file was changed after SOPS wrote it.
var ErrMAC = errors.New("the MAC of SOPS does not match: the file was changed without it")

// Error is what is wrong with a file, and where. It never holds a decrypted value.
type Error struct {
	Line int // from 1; 0 if it concerns no line in particular
	What error
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.What.Error()
	}
	return fmt.Sprintf("line %d: %v", e.Line, e.What)
}

func (e *Error) Unwrap() error { return e.What }

func errorf(line int, format string, args ...any) error {
	return &Error{line, fmt.Errorf(format, args...)}
}

// File is an opened file: its values in the clear. It must not be kept longer than it takes to use it.
type File struct {
	// Values are the decrypted values by the text that stands for each in the encrypted file: string, int, float64, bool or time.Time.
	Values   map[string]any
	branches []branch
	sealed   []branch // as they stand in the encrypted file
	rule     rule
}

// Open decrypts a file and verifies its MAC. ErrNoKey: it stays closed. Any other error says what is wrong with the file.
func (k *Keys) Open(data []byte, as Format) (*File, error) {
	branches, err := read(data, as)
	if err != nil {
		return nil, err
	}
	m, err := takeMetadata(branches, as)
	if err != nil {
		return nil, err
	}
	key, err := k.dataKey(m)
	if err != nil {
		return nil, err
	}
	o := opener{metadata: m, key: key, values: map[string]any{}}
	return o.open(branches)
}
