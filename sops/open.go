package sops

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// macOnlyEncrypted begins the MAC of a file in which it covers encrypted values only, so that it is never that of a file in which it covers
// all: SHA-256 of "sops".
const macOnlyEncrypted = "\x8a\x3f\xd2\xad\x54\xce\x66\x52\x7b\x10\x34\xf3\xd1\x47\xbe\x0b\x0b\x97\x5b\x3b\xf4\x4f\x72\xc6\xfd\xad\xec\x81\x76\xf2\x7d\x69"

// maxNonce bounds a value's nonce; that of SOPS has 32 bytes.
const maxNonce = 64

// opener decrypts the values of one file.
type opener struct {
	*metadata
	key    []byte
	mac    hash.Hash
	values map[string]any
}

// open decrypts documents that SOPS wrote together.
func (o *opener) open(branches []branch) (plain []branch, err error) {
	o.mac = sha512.New()
	if o.onlyEncrypted {
		o.mac.Write([]byte(macOnlyEncrypted))
	}
	for _, b := range branches {
		opened, err := o.branch(b, nil)
		if err != nil {
			return nil, err
		}
		plain = append(plain, opened)
	}
	want, err := decrypt(o.metadata.mac, o.key, o.modified.Format(time.RFC3339))
	if err != nil {
		return nil, &Error{o.macLine, ErrMAC}
	}
	made := fmt.Sprintf("%X", o.mac.Sum(nil))
	if s, ok := want.(string); !ok || subtle.ConstantTimeCompare([]byte(s), []byte(made)) != 1 {
		return nil, &Error{o.macLine, ErrMAC}
	}
	return plain, nil
}

func (o *opener) branch(b branch, path []string) (branch, error) {
	out := make(branch, 0, len(b))
	for _, it := range b {
		if it.comment {
			it.key = o.comment(it.key, path)
			out = append(out, it)
			continue
		}
		v, err := o.value(it.value, append(path[:len(path):len(path)], it.key), it.line)
		if err != nil {
			return nil, err
		}
		it.value = v
		out = append(out, it)
	}
	return out, nil
}

func (o *opener) value(v any, path []string, line int) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case branch:
		return o.branch(v, path)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = o.value(item, path, line); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return o.leaf(v, path, line)
}

// leaf decrypts a value where the rule says that it is encrypted, and adds it to the MAC.
func (o *opener) leaf(v any, path []string, line int) (any, error) {
	encrypted := o.rule.encrypted(path)
	if encrypted {
		text, ok := v.(string)
		if !ok {
			return nil, errorf(line, "%s should be encrypted and is not", path[len(path)-1])
		}
		plain, err := decrypt(text, o.key, strings.Join(path, ":")+":")
		if err != nil {
			return nil, errorf(line, "%s: %w", path[len(path)-1], err)
		}
		if text != "" {
			o.values[text] = plain
		}
		v = plain
	}
	if encrypted || !o.onlyEncrypted {
		if _, ok := v.(comment); !ok {
			text, err := textOf(v)
			if err != nil {
				return nil, errorf(line, "%s: %w", path[len(path)-1], err)
			}
			o.mac.Write([]byte(text))
		}
	}
	return v, nil
}

// comment decrypts a comment, or leaves it as it is: older versions did not encrypt them.
func (o *opener) comment(text string, path []string) string {
	if !o.rule.encrypted(path) {
		return text
	}
	if c, err := decrypt(text, o.key, strings.Join(path, ":")+":"); err == nil {
		switch c := c.(type) {
		case comment:
			return string(c)
		case string:
			return c
		}
	}
	return text
}

// encryptedValue is how SOPS spells an encrypted value.
func encryptedValue() *regexp.Regexp {
	return regexp.MustCompile(`^ENC\[AES256_GCM,data:([^,]+),iv:([^,]+),tag:([^,]+),type:([a-z]+)\]$`)
}

// IsValue tells whether a text is how SOPS spells an encrypted value.
func IsValue(text string) bool {
	return strings.HasPrefix(text, "ENC[AES256_GCM,") && strings.HasSuffix(text, "]")
}

// decrypt opens one value: AES-256-GCM with the keys above it as additional data, so that a value cannot be moved. Empty text is not encrypted.
func decrypt(text string, key []byte, additional string) (any, error) {
	if text == "" {
		return "", nil
	}
	m := encryptedValue().FindStringSubmatch(text)
	if m == nil {
		return nil, errors.New("should be encrypted and is not")
	}
	var parts [3][]byte
	for i := range parts {
		var err error
		if parts[i], err = base64.StdEncoding.DecodeString(m[i+1]); err != nil {
			return nil, errors.New("an encrypted value that is no base64")
		}
	}
	data, nonce, tag := parts[0], parts[1], parts[2]
	if len(nonce) == 0 || len(nonce) > maxNonce || len(tag) != aes.BlockSize {
		return nil, errors.New("an encrypted value with a nonce or tag of no length that SOPS knows")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(nonce))
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nonce, append(data, tag...), []byte(additional))
	if err != nil {
		return nil, errors.New("an encrypted value that was changed, moved, or taken from another file")
	}
	return typed(string(plain), m[4])
}

// comment is a decrypted comment where a value stands.
type comment string

// typed gives a decrypted text its type. The errors of strconv would quote it.
func typed(text, kind string) (any, error) {
	var v any
	var err error
	switch kind {
	case "str", "bytes":
		return text, nil
	case "int":
		v, err = strconv.Atoi(text)
	case "float":
		v, err = strconv.ParseFloat(text, 64)
	case "bool":
		v, err = strconv.ParseBool(text)
	case "time":
		v, err = time.Parse(time.RFC3339, text)
	case "comment":
		return comment(text), nil
	default:
		return nil, fmt.Errorf("an encrypted value of type %s, which SOPS does not know", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("an encrypted value that is no %s", kind)
	}
	return v, nil
}

// textOf is a value as the MAC covers it.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case time.Time:
		text, err := v.MarshalText()
		return string(text), err
	}
	return "", fmt.Errorf("a value of a type that SOPS does not know (%T)", v)
}
