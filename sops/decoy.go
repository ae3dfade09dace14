package sops

import (
	"crypto/rand"
	"time"
)

// Decoy is the file with other values of the same types in the place of the decrypted ones: what differs between what is made of the one and of
// the other holds something of a decrypted value.
func (f *File) Decoy() *File {
	out := &File{}
	for _, b := range f.sealed {
		out.branches = append(out.branches, f.decoyBranch(b, nil))
	}
	return out
}

func (f *File) decoyBranch(b branch, path []string) branch {
	out := make(branch, len(b))
	for i, it := range b {
		if !it.comment {
			it.value = f.decoy(it.value, append(path[:len(path):len(path)], it.key))
		}
		out[i] = it
	}
	return out
}

func (f *File) decoy(v any, path []string) any {
	switch v := v.(type) {
	case branch:
		return f.decoyBranch(v, path)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = f.decoy(item, path)
		}
		return out
	case string:
		if plain, ok := f.Values[v]; ok && f.rule.encrypted(path) {
			return another(plain)
		}
	}
	return v
}

// another is a value of the same type that nobody has ever seen.
func another(v any) any {
	switch v := v.(type) {
	case int:
		return v ^ 0x5aa5
	case float64:
		return v + 12345
	case bool:
		return !v
	case time.Time:
		return v.Add(12345 * time.Second)
	}
	return rand.Text()
}

// Shape is a file that stays closed, without its metadata: its encrypted values stand for themselves. Nothing about it is verified.
func Shape(data []byte, as Format) (*File, error) {
	branches, err := read(data, as)
	if err != nil {
		return nil, err
	}
	m, err := takeMetadata(branches, as)
	if err != nil {
		return nil, err
	}
	f := &File{Values: map[string]any{}, branches: branches, sealed: branches, rule: m.rule}
	for _, b := range branches {
		f.standIns(b, nil)
	}
	return f, nil
}

func (f *File) standIns(v any, path []string) {
	switch v := v.(type) {
	case branch:
		for _, it := range v {
			if !it.comment {
				f.standIns(it.value, append(path[:len(path):len(path)], it.key))
			}
		}
	case []any:
		for _, item := range v {
			f.standIns(item, path)
		}
	case string:
		if IsValue(v) && f.rule.encrypted(path) {
			f.Values[v] = v
		}
	}
}
