package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Sealed are keyed digests of values that Git holds encrypted and that were decrypted when they were rendered: with them a live value
// is compared with the decrypted one, which is kept nowhere. The zero value holds none.
type Sealed struct {
	sealer *Sealer
	seals  map[string]Seal // by the text that stands for the value in the content
}

// Seal is the keyed digest of one value.
type Seal [sha256.Size]byte

// Sealer makes seals. Its key is random, of one process, and leaves it never: nobody can guess values against a seal that came out.
type Sealer struct{ key [sha256.Size]byte }

// NewSealer makes a key.
func NewSealer() *Sealer {
	s := &Sealer{}
	rand.Read(s.key[:]) // never fails (crypto/rand)
	return s
}

// Seal digests a value as it stands in an object. A number is the same with and without a fraction of nothing, as in JSON.
func (s *Sealer) Seal(v any) Seal {
	if f, ok := v.(float64); ok && f == math.Trunc(f) && math.Abs(f) < 1<<63 {
		v = int64(f)
	}
	return s.Bytes([]byte(scalarText(v)))
}

// Bytes digests what the data of a Secret holds, decoded.
func (s *Sealer) Bytes(b []byte) Seal {
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write(b)
	return Seal(mac.Sum(nil))
}

// Sealed holds the seals of one object's values, by the text that stands for each in its content.
func (s *Sealer) Sealed(seals map[string]Seal) Sealed { return Sealed{s, seals} }

// Len is how many values are sealed.
func (s Sealed) Len() int { return len(s.seals) }

// Covers tells whether a text in the content stands for a sealed value.
func (s Sealed) Covers(text string) bool {
	_, ok := s.seals[text]
	return ok
}

// String tells nothing: seals are for comparing alone.
func (s Sealed) String() string { return "sealed" }

// sealedLeaf is the value of an expectOpaque node whose decrypted value is known by its seal.
type sealedLeaf struct {
	seal  Seal
	bytes bool // it stands in the data of a Secret, in base64
}

// String stands for the value where a message names an item of a list by it.
func (sealedLeaf) String() string { return "encrypted" }

// agrees tells whether a live value is the decrypted one.
func (w *walk) agrees(v any, with sealedLeaf) bool {
	sealer := w.object.declaration.Sealed.sealer
	made := sealer.Seal(v)
	if with.bytes {
		text, _ := v.(string)
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return false
		}
		made = sealer.Bytes(b)
	}
	return hmac.Equal(made[:], with.seal[:])
}

// With holds the seals of both. They must be of one Sealer.
func (s Sealed) With(more Sealed) Sealed {
	switch {
	case s.sealer == nil:
		return more
	case more.sealer == nil:
		return s
	}
	seals := maps.Clone(s.seals)
	maps.Copy(seals, more.seals)
	return Sealed{s.sealer, seals}
}

// Digest changes with what is sealed. It is of this process alone, as the seals are.
func (s Sealed) Digest() [sha256.Size]byte {
	digest := sha256.New()
	for _, text := range slices.Sorted(maps.Keys(s.seals)) {
		seal := s.seals[text]
		digest.Write(strconv.AppendQuote(nil, text))
		digest.Write(seal[:])
	}
	return [sha256.Size]byte(digest.Sum(nil))
}
