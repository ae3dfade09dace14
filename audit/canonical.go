package audit

import (
	"encoding/hex"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// MaxRecord is the longest line of the log in bytes, its line feed included: the limit of an entry in C2SP tiles.
const MaxRecord = 64<<10 - 1

// late are the members that are only known once the record has its place in the order, as they stand in a line.
const (
	lateID = iota
	lateMonotonic
	latePrev
	lateSeq
	lateSum
	lateTime
	lateCount
)

var lateNames = [lateCount]string{"id", "monotonic", "prev", "seq", "sum", "time"}

// limits bound what one record holds.
type limits struct{ maxText, maxList int }

// widths are the limits tried in turn until a record fits into MaxRecord. The last always fits: the schema has
// fewer than 1,000 places for text when lists have two elements.
var widths = []limits{{2048, 128}, {512, 64}, {256, 16}, {64, 4}, {16, 2}}

// draft is a record encoded as canonical JSON but for the values of its late members, which belong where text is cut.
type draft struct {
	text []byte
	cuts [lateCount]int
}

// piece is the text before a late member, and after the last one.
func (d draft) piece(late int) []byte {
	from, to := 0, len(d.text)
	if late > 0 {
		from = d.cuts[late-1]
	}
	if late < lateCount {
		to = d.cuts[late]
	}
	return d.text[from:to]
}

// draftRoom is what most records take, in bytes.
const draftRoom = 2 << 10

// newDraft encodes r, shortening what is too long.
func newDraft(r *Record) draft {
	for _, w := range widths {
		e := encoder{limits: w, out: make([]byte, 0, draftRoom)}
		d := e.draft(r)
		if e.truncated {
			marked := *r
			marked.Truncated = true
			e = encoder{limits: w, out: e.out[:0]}
			d = e.draft(&marked)
		}
		if d.size() <= MaxRecord {
			return d
		}
	}
	panic("audit: the schema outgrew its limits") // unreachable: TestTheLongestRecordFits
}

// size is the most that the line may take, with its line feed.
func (d draft) size() int { return len(d.text) + lateRoom + 1 }

// lateRoom is the most that the late members take: id, two digests, two numbers, a time.
const lateRoom = 28 + 2*66 + 2*20 + 32

// encoder writes values as canonical JSON (RFC 8785): members sorted, no space, the shortest escapes.
type encoder struct {
	limits
	truncated bool
	out       []byte
}

func (e *encoder) draft(r *Record) (d draft) {
	v := reflect.ValueOf(r).Elem()
	e.out = append(e.out, '{')
	next, first := 0, true
	for _, m := range membersOf(v.Type()) {
		isLate := next < lateCount && m.name == lateNames[next]
		f := v.Field(m.index)
		if !isLate && m.omitempty && f.IsZero() {
			continue
		}
		if !first {
			e.out = append(e.out, ',')
		}
		first = false
		e.text(m.name)
		e.out = append(e.out, ':')
		if isLate {
			d.cuts[next] = len(e.out)
			next++
			continue
		}
		e.value(f)
	}
	e.out = append(e.out, '}')
	d.text = e.out
	return d
}

// member is one field of a struct as it stands in JSON.
type member struct {
	name      string
	index     int
	omitempty bool
}

// members caches membersOf by type; it only ever grows by the few types of the schema.
var members sync.Map

func membersOf(t reflect.Type) []member {
	if m, ok := members.Load(t); ok {
		return m.([]member)
	}
	var ms []member
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		ms = append(ms, member{name, i, options == "omitempty"})
	}
	slices.SortFunc(ms, func(a, b member) int { return strings.Compare(a.name, b.name) })
	members.Store(t, ms)
	return ms
}

func (e *encoder) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		e.bounded(v.String())
	case reflect.Int, reflect.Int64:
		e.out = strconv.AppendInt(e.out, v.Int(), 10)
	case reflect.Uint64:
		e.out = strconv.AppendUint(e.out, v.Uint(), 10)
	case reflect.Bool:
		e.out = strconv.AppendBool(e.out, v.Bool())
	case reflect.Pointer:
		e.value(v.Elem())
	case reflect.Slice:
		e.list(v)
	case reflect.Map:
		e.dictionary(v.Interface().(map[string]string))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			e.text(v.Interface().(time.Time).UTC().Format(time.RFC3339Nano))
			return
		}
		e.object(v)
	default:
		panic("audit: the schema has no " + v.Kind().String()) // unreachable: TestRecordsAreCanonical encodes every field
	}
}

func (e *encoder) object(v reflect.Value) {
	e.out = append(e.out, '{')
	first := true
	for _, m := range membersOf(v.Type()) {
		f := v.Field(m.index)
		if m.omitempty && (f.IsZero() || f.Kind() == reflect.Slice && f.Len() == 0 || f.Kind() == reflect.Map && f.Len() == 0) {
			continue
		}
		if !first {
			e.out = append(e.out, ',')
		}
		first = false
		e.text(m.name)
		e.out = append(e.out, ':')
		e.value(f)
	}
	e.out = append(e.out, '}')
}

func (e *encoder) list(v reflect.Value) {
	n := v.Len()
	shown := min(n, e.maxList)
	e.out = append(e.out, '[')
	for i := range shown {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.value(v.Index(i))
	}
	if shown < n {
		e.truncated = true
		if v.Type().Elem().Kind() == reflect.String {
			e.out = append(e.out, ',')
			e.text("…(+" + strconv.Itoa(n-shown) + " more)")
		}
	}
	e.out = append(e.out, ']')
}

func (e *encoder) dictionary(m map[string]string) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if len(keys) > e.maxList {
		e.truncated = true
		keys = keys[:e.maxList]
	}
	e.out = append(e.out, '{')
	for i, k := range keys {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.bounded(k)
		e.out = append(e.out, ':')
		e.bounded(m[k])
	}
	e.out = append(e.out, '}')
}

// bounded writes s, cut at the longest text that a record may hold.
func (e *encoder) bounded(s string) {
	if len(s) <= e.maxText {
		e.text(s)
		return
	}
	e.truncated = true
	cut := e.maxText
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	e.text(s[:cut] + "…(+" + strconv.Itoa(len(s)-cut) + " bytes)")
}

// text writes s as a JSON string. What is not UTF-8, and what could move a cursor, hide text or end a line in a
// terminal that shows the log, becomes U+FFFD.
func (e *encoder) text(s string) {
	e.out = append(e.out, '"')
	start := 0
	for i := 0; i < len(s); {
		if c := s[i]; c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		replacement := ""
		switch {
		case r == '"':
			replacement = `\"`
		case r == '\\':
			replacement = `\\`
		case r == '\n':
			replacement = `\n`
		case r == '\t':
			replacement = `\t`
		case r == utf8.RuneError || unsafeToShow(r):
			replacement = "\uFFFD"
		}
		if replacement != "" {
			e.out = append(e.out, s[start:i]...)
			e.out = append(e.out, replacement...)
			start = i + size
		}
		i += size
	}
	e.out = append(e.out, s[start:]...)
	e.out = append(e.out, '"')
}

// unsafeToShow tells whether r is a control character, a line separator or turns the direction of text.
func unsafeToShow(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0x200e || r == 0x200f ||
		r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// line appends the line of a record, with its line feed, to out; r holds its late members but the sum, which it gets here.
func (d draft) line(out []byte, r *Record) []byte {
	out = slices.Grow(out, d.size())
	start := len(out)
	quoted := func(piece []byte, s string) {
		out = append(append(append(append(out, piece...), '"'), s...), '"')
	}
	quoted(d.piece(lateID), r.ID)
	out = strconv.AppendInt(append(out, d.piece(lateMonotonic)...), r.Monotonic, 10)
	quoted(d.piece(latePrev), r.Prev)
	out = strconv.AppendUint(append(out, d.piece(lateSeq)...), r.Seq, 10)
	from := len(out) + 1 // the piece begins with the comma before "sum"
	quoted(d.piece(lateSum), noSum)
	to := len(out)
	out = append(out, d.piece(lateTime)...)
	out = append(r.Time.AppendFormat(append(out, '"'), time.RFC3339Nano), '"')
	out = append(out, d.piece(lateCount)...)
	sum := sumWithout(out[start:], from-start, to-start)
	r.Sum = hex.EncodeToString(sum[:])
	copy(out[to-1-len(noSum):], r.Sum)
	return append(out, '\n')
}

// noSum holds the place of a sum.
const noSum = "0000000000000000000000000000000000000000000000000000000000000000"
