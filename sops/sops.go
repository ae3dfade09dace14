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
	INI
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

// ErrNoKey is returned when the keys do not open a file: none of them does, or fewer than it takes where its key is shared (Shamir's secret sharing).
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
	parts    bool // not all of the file, or not of one piece
}

// Open decrypts a file and verifies its MAC. ErrNoKey: it stays closed. Any other error says what is wrong with the file.
//
// Documents that SOPS encrypted one by one and somebody put into one file are opened one by one, each group with its own metadata; those that no key opens,
// and those that are not encrypted, stay as they are. Such a file cannot be written.
func (k *Keys) Open(data []byte, as Format) (*File, error) {
	branches, err := read(data, as)
	if err != nil {
		return nil, err
	}
	f := &File{Values: map[string]any{}}
	groups := grouped(branches, as)
	for _, g := range groups {
		m, err := takeMetadata(g, as)
		if err != nil {
			return nil, err
		}
		key, err := k.dataKey(m)
		if errors.Is(err, ErrNoKey) {
			continue
		}
		o := opener{metadata: m, key: key, values: f.Values}
		opened, err := o.open(g)
		if err != nil {
			return nil, err
		}
		f.branches, f.sealed, f.rule = append(f.branches, opened...), append(f.sealed, g...), m.rule
	}
	if len(f.branches) == 0 {
		return nil, ErrNoKey
	}
	f.parts = len(groups) > 1 || len(f.branches) < len(branches)
	return f, nil
}

// grouped are the documents that SOPS wrote together: it repeats the metadata in each. Without any, all are one group.
func grouped(branches []branch, as Format) [][]branch {
	if as != YAML || len(branches) < 2 {
		return [][]branch{branches}
	}
	var groups [][]branch
	places := map[string]int{}
	for _, b := range branches {
		metadata, ok := b.plainField("sops").(map[string]any)
		if !ok {
			continue
		}
		mac := fmt.Sprint(metadata["mac"])
		at, ok := places[mac]
		if !ok {
			at = len(groups)
			places[mac] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], b)
	}
	if len(groups) == 0 {
		return [][]branch{branches}
	}
	return groups
}
