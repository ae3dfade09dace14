// Package compact keeps what a Kubernetes object says in little memory: as canonical JSON, which takes a tenth of what decoded maps do. A gate
// keeps all that Git declares for as long as it is declared, and looks into little of it.
//
// The text is that of encoding/json: members sorted by name, no white space, no member twice. Only Of makes one, so that what reads it need
// not expect anything else.
package compact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Object is the content of one object. It is immutable; two are equal if they say the same. The zero value says nothing.
type Object struct{ text string }

// Of makes the text of a decoded object. A number without a fraction is an integer, as far as 64 bits hold it, whatever a decoder made of it: JSON knows
// no difference. Text that is not UTF-8 is mended as encoding/json does, which is how an agent would send it; what JSON cannot say is null.
func Of(object map[string]any) Object {
	if object == nil {
		return Object{}
	}
	return Object{string(appendValue(nil, object))}
}

// IsZero tells whether it says nothing, not even {}.
func (o Object) IsZero() bool { return o.text == "" }

// JSON is the text; "" of the zero value.
func (o Object) JSON() string { return o.text }

// String tells nothing of what it says, which may be secret: JSON does.
func (o Object) String() string { return fmt.Sprintf("an object of %d bytes", len(o.text)) }

// MarshalJSON is the text; null of the zero value.
func (o Object) MarshalJSON() ([]byte, error) {
	if o.IsZero() {
		return []byte("null"), nil
	}
	return []byte(o.text), nil
}

// Map decodes it, with numbers as int64 and float64. The map is the caller's; nil of the zero value.
func (o Object) Map() map[string]any {
	return o.Child()
}

// At decodes what stands at a path of fields, as Map does; nil if nothing does. It costs what is decoded, and a look at what stands before it.
// Texts share the memory of the object.
func (o Object) At(fields ...string) any {
	text := o.at(fields)
	if text == "" {
		return nil
	}
	r := reader{text: text}
	return r.value()
}

// Has tells whether something stands at a path of fields, if only null.
func (o Object) Has(fields ...string) bool { return o.at(fields) != "" }

// Child is the map at a path of fields, nil if there is none.
func (o Object) Child(fields ...string) map[string]any {
	m, _ := o.At(fields...).(map[string]any)
	return m
}

// Text is the text at a path of fields, "" if there is none.
func (o Object) Text(fields ...string) string {
	s, _ := o.At(fields...).(string)
	return s
}

// at is the text of what stands at a path of fields, "" if nothing does.
func (o Object) at(fields []string) string {
	text := o.text
	for _, name := range fields {
		text = member(text, name)
	}
	return text
}

func appendValue(to []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		v = mended(v)
		to = append(to, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				to = append(to, ',')
			}
			to = append(appendText(to, name), ':')
			to = appendValue(to, v[name])
		}
		return append(to, '}')
	case []any:
		to = append(to, '[')
		for i, item := range v {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendValue(to, item)
		}
		return append(to, ']')
	case string:
		return appendText(to, v)
	case bool:
		return strconv.AppendBool(to, v)
	case int64:
		return strconv.AppendInt(to, v, 10)
	}
	return appendForeign(to, v)
}

// appendForeign writes a value of a type that is none of the decoders'.
func appendForeign(to []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return append(to, "null"...)
	}
	if text[0] != '{' && text[0] != '[' {
		return append(to, text...)
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	var decoded any
	_ = in.Decode(&decoded) // json.Marshal has written it
	return appendValue(to, decoded)
}

// mended is a map whose names are UTF-8: two that become the same are one.
func mended(m map[string]any) map[string]any {
	sound := true
	for name := range m {
		sound = sound && utf8.ValidString(name)
	}
	if sound {
		return m
	}
	out := make(map[string]any, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out[string([]rune(name))] = m[name]
	}
	return out
}

func appendText(to []byte, s string) []byte {
	if plain(s) {
		return append(append(append(to, '"'), s...), '"')
	}
	text, _ := json.Marshal(s) // never fails for a string
	return append(to, text...)
}

// plain tells whether a text stands in JSON as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// member is the text of a member of a map; "" if there is none.
func member(text, name string) string {
	if text == "" || text[0] != '{' {
		return ""
	}
	for r := (reader{text: text, at: 1}); r.text[r.at] != '}'; {
		key := r.key()
		if key == name {
			from := r.at
			r.skip()
			return r.text[from:r.at]
		}
		if key > name {
			return "" // they are sorted
		}
		if r.skip(); r.text[r.at] == ',' {
			r.at++
		}
	}
	return ""
}

// reader reads a text that Of has made.
type reader struct {
	text string
	at   int
}

func (r *reader) value() any {
	switch r.text[r.at] {
	case '{':
		return r.object()
	case '[':
		return r.list()
	case '"':
		return r.string()
	case 't':
		r.at += len("true")
		return true
	case 'f':
		r.at += len("false")
		return false
	case 'n':
		r.at += len("null")
		return nil
	}
	return r.number()
}

func (r *reader) object() map[string]any {
	m := map[string]any{}
	for r.at++; r.text[r.at] != '}'; {
		key := r.key()
		m[key] = r.value()
		if r.text[r.at] == ',' {
			r.at++
		}
	}
	r.at++
	return m
}

func (r *reader) list() []any {
	list := []any{}
	for r.at++; r.text[r.at] != ']'; {
		list = append(list, r.value())
		if r.text[r.at] == ',' {
			r.at++
		}
	}
	r.at++
	return list
}

// key reads the name of a member and the colon.
func (r *reader) key() string {
	key := r.string()
	r.at++
	return key
}

func (r *reader) string() string {
	from := r.at
	r.skipString()
	quoted := r.text[from:r.at]
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	_ = json.Unmarshal([]byte(quoted), &s) // json.Marshal has written it
	return s
}

func (r *reader) number() any {
	text := r.word()
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i
	}
	f, _ := strconv.ParseFloat(text, 64)
	return f
}

// word reads a number, true, false or null.
func (r *reader) word() string {
	from := r.at
	for r.at < len(r.text) && strings.IndexByte(",]}", r.text[r.at]) < 0 {
		r.at++
	}
	return r.text[from:r.at]
}

func (r *reader) skipString() {
	for r.at++; r.text[r.at] != '"'; r.at++ {
		if r.text[r.at] == '\\' {
			r.at++
		}
	}
	r.at++
}

// skip passes over a value.
func (r *reader) skip() {
	depth := 0
	for {
		switch r.text[r.at] {
		case '"':
			r.skipString()
		case '{', '[':
			depth++
			r.at++
		case '}', ']':
			depth--
			r.at++
		case ',', ':':
			r.at++
		default:
			r.word()
		}
		if depth == 0 {
			return
		}
	}
}
