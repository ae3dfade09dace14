package webhook

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxDepth is how deep JSON may nest, as in encoding/json.
	maxDepth = 10000
	// maxRepeated is the longest text that is looked up among those of the same review. An object and its old one have nearly all in common.
	maxRepeated = 64
	// headLength is how many bytes of an object or a list tell where to look for the same one.
	headLength = 24
)

// reader reads JSON (RFC 8259) in one pass, and makes of it what sigs.k8s.io/json makes. Each method takes what stands next, and tells whether it did:
// if one has not, nothing that came before holds, and that library has the word.
type reader struct {
	text  []byte
	at    int // of the next byte
	depth int
	// seen holds texts of this review by their hash, as the strings that they became.
	seen [256]seen
	// read holds objects and lists of this review by the hash of their head, as the values that they became.
	read [128]part
}

// part is an object or a list of the review, and where it stands.
type part struct {
	from, to int
	value    any
}

// seen is a string, and the same as a value once it was one.
type seen struct {
	text  string
	value any
}

// next is the next byte that is no space, which stays where it is; 0 at the end.
func (r *reader) next() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take takes one byte.
func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.at++
	return true
}

// word takes a literal.
func (r *reader) word(w string) bool {
	if len(r.text)-r.at < len(w) || string(r.text[r.at:r.at+len(w)]) != w {
		return false
	}
	r.at += len(w)
	return true
}

// value takes anything.
func (r *reader) value() (any, bool) {
	switch c := r.next(); c {
	case '{', '[':
		return r.part(c)
	case '"':
		text, kept, ok := r.string()
		if kept == nil {
			return text, ok
		}
		if kept.value == nil {
			kept.value = text
		}
		return kept.value, ok
	case 't':
		return true, r.word("true")
	case 'f':
		return false, r.word("false")
	case 'n':
		return nil, r.word("null")
	}
	return r.number()
}

// part takes an object or a list. One that stood in the review before, byte by byte, becomes the same value, for nobody changes what was read: of an
// update, most of the old object is the new one's.
func (r *reader) part(bracket byte) (v any, ok bool) {
	from := r.at
	if len(r.text)-from < headLength {
		return r.anew(bracket)
	}
	head := r.text[from : from+headLength]
	hash := binary.LittleEndian.Uint64(head) ^ binary.LittleEndian.Uint64(head[8:])<<1 ^ binary.LittleEndian.Uint64(head[16:])<<2
	kept := &r.read[hash*0x9E3779B97F4A7C15>>57] // Fibonacci hashing: the uppermost seven bits
	n := kept.to - kept.from
	if n > 0 && r.depth+n/2 <= maxDepth && bytes.HasPrefix(r.text[from:], r.text[kept.from:kept.to]) { // no deeper than half its length
		r.at += n
		return kept.value, true
	}
	if v, ok = r.anew(bracket); ok {
		*kept = part{from, r.at, v}
	}
	return v, ok
}

// anew takes an object or a list.
func (r *reader) anew(bracket byte) (any, bool) {
	if bracket == '{' {
		return r.object()
	}
	return r.list()
}

// object takes an object. Of a name that is there twice the last counts.
func (r *reader) object() (map[string]any, bool) {
	m := map[string]any{}
	ok := r.open('{')
	for first := true; ok && !r.end('}'); first = false {
		var name string
		if name, ok = r.name(first); ok {
			m[name], ok = r.value()
		}
	}
	return m, ok
}

func (r *reader) list() ([]any, bool) {
	list := []any{}
	ok := r.open('[')
	for first := true; ok && !r.end(']'); first = false {
		var v any
		if ok = first || r.take(','); ok {
			v, ok = r.value()
			list = append(list, v)
		}
	}
	return list, ok
}

// members takes an object, and has the value of each name taken.
func (r *reader) members(take func(name string) bool) bool {
	ok := r.open('{')
	for first := true; ok && !r.end('}'); first = false {
		var name string
		if name, ok = r.name(first); ok {
			ok = take(name)
		}
	}
	return ok
}

// open takes an opening bracket.
func (r *reader) open(bracket byte) bool {
	r.depth++
	return r.take(bracket) && r.depth <= maxDepth
}

// end takes a closing bracket, if it stands there.
func (r *reader) end(bracket byte) bool {
	if !r.take(bracket) {
		return false
	}
	r.depth--
	return true
}

// name takes the name of a member and its colon, and before it the comma, if it is not the first.
func (r *reader) name(first bool) (string, bool) {
	if !first && !r.take(',') {
		return "", false
	}
	name, _, ok := r.string()
	return name, ok && r.take(':')
}

// string takes a string, and tells where it is kept; nil if it is not.
func (r *reader) string() (text string, kept *seen, ok bool) {
	if !r.take('"') {
		return "", nil, false
	}
	for i := r.at; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			text, kept = r.keep(r.text[r.at:i])
			r.at = i + 1
			return text, kept, true
		case c < ' ':
			return "", nil, false
		case c == '\\' || c >= utf8.RuneSelf:
			text, ok = r.unquote(i)
			return text, nil, ok
		}
	}
	return "", nil, false
}

// keep makes a string of a text, or finds the one that was made of it before.
func (r *reader) keep(text []byte) (string, *seen) {
	n := len(text)
	if n > maxRepeated {
		return string(text), nil
	}
	hash := uint64(n)
	if n >= 8 {
		hash += binary.LittleEndian.Uint64(text) ^ binary.LittleEndian.Uint64(text[n/2-4:])<<1 ^ binary.LittleEndian.Uint64(text[n-8:])<<2
	} else {
		for _, c := range text {
			hash = hash<<8 | uint64(c)
		}
	}
	kept := &r.seen[hash*0x9E3779B97F4A7C15>>56] // Fibonacci hashing: the uppermost eight bits
	if kept.text != string(text) {
		*kept = seen{text: string(text)}
	}
	return kept.text, kept
}

// unquote takes the rest of a string in which the byte at i is the first of more than plain ASCII. What is no UTF-8, and half of a surrogate pair, is U+FFFD.
func (r *reader) unquote(i int) (string, bool) {
	out := append(make([]byte, 0, 2*(i-r.at)+64), r.text[r.at:i]...)
	for i < len(r.text) {
		switch c := r.text[i]; {
		case c == '"':
			r.at = i + 1
			return string(out), true
		case c < ' ':
			return "", false
		case c == '\\':
			char, size := escape(r.text[i:])
			if size == 0 {
				return "", false
			}
			out, i = utf8.AppendRune(out, char), i+size
		case c < utf8.RuneSelf:
			out, i = append(out, c), i+1
		default:
			char, size := utf8.DecodeRune(r.text[i:])
			out, i = utf8.AppendRune(out, char), i+size
		}
	}
	return "", false
}

// escape reads what a backslash begins, and its size; 0 if that is none.
func escape(text []byte) (rune, int) {
	if len(text) < 2 {
		return 0, 0
	}
	switch c := text[1]; c {
	case '"', '\\', '/':
		return rune(c), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	first, ok := codeUnit(text)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(first) {
		return first, 6
	}
	if second, ok := codeUnit(text[6:]); ok {
		if char := utf16.DecodeRune(first, second); char != unicode.ReplacementChar {
			return char, 12
		}
	}
	return unicode.ReplacementChar, 6
}

// codeUnit reads \uXXXX.
func codeUnit(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	var char rune
	for _, c := range text[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		char = char<<4 | rune(c)
	}
	return char, true
}

// number takes a number: an int64 if it is written as one and fits, else a float64.
func (r *reader) number() (any, bool) {
	start := r.at
	if r.at < len(r.text) && r.text[r.at] == '-' {
		r.at++
	}
	whole := r.at
	if r.digits(); r.at == whole || r.text[whole] == '0' && r.at > whole+1 {
		return nil, false
	}
	integer := true
	if r.at < len(r.text) && r.text[r.at] == '.' {
		integer = false
		if r.at++; !r.digits() {
			return nil, false
		}
	}
	if r.at < len(r.text) && (r.text[r.at] == 'e' || r.text[r.at] == 'E') {
		integer = false
		if r.at++; r.at < len(r.text) && (r.text[r.at] == '+' || r.text[r.at] == '-') {
			r.at++
		}
		if !r.digits() {
			return nil, false
		}
	}
	text := string(r.text[start:r.at])
	if integer {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, true
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil
}

// digits takes decimal digits, one at least.
func (r *reader) digits() bool {
	start := r.at
	for r.at < len(r.text) && '0' <= r.text[r.at] && r.text[r.at] <= '9' {
		r.at++
	}
	return r.at > start
}
