package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
)

// ParseRecord reads the record of a line, without its line feed. It understands what encoding/json does; a line as this package writes it is read
// several times faster, because its members stand in order and without white space.
func ParseRecord(line []byte) (Record, error) {
	var r Record
	d := decoder{text: line}
	if d.value(reflect.ValueOf(&r).Elem()) && d.at == len(line) {
		return r, nil
	}
	r = Record{}
	err := json.Unmarshal(line, &r)
	return r, err
}

// Parser reads one record after another into the same memory, for those who look at each once and keep nothing of it. The zero
// value is ready. A Parser is for one goroutine.
type Parser struct {
	record Record
	rooms  []room
}

// room is the memory of one part of a record: each part has a type of its own.
type room struct {
	is   reflect.Type
	part reflect.Value // a pointer
}

// Parse reads the record of a line as ParseRecord does. The record is valid until the next call; whoever keeps a text of it keeps the whole line.
func (p *Parser) Parse(line []byte) (*Record, error) {
	v := reflect.ValueOf(&p.record).Elem()
	if p.rooms == nil {
		for _, f := range v.Fields() {
			if f.Kind() == reflect.Pointer {
				p.rooms = append(p.rooms, room{f.Type(), reflect.New(f.Type().Elem())})
			}
		}
	}
	p.record = Record{}
	d := decoder{text: line, rooms: p.rooms}
	if utf8.Valid(line) {
		d.copied = string(line)
	}
	if d.value(v) && d.at == len(line) {
		return &p.record, nil
	}
	p.record = Record{}
	err := json.Unmarshal(line, &p.record)
	return &p.record, err
}

// decoder reads canonical JSON into the types of a record. Where it is not sure to do what encoding/json does, it says no.
type decoder struct {
	text   []byte
	at     int
	copied string // text, if it is UTF-8 and the record's texts may be parts of it: one copy in place of dozens
	rooms  []room // for the parts of the record; where there is none, memory is allocated
}

// next takes one byte if it is this one.
func (d *decoder) next(c byte) bool {
	if d.at < len(d.text) && d.text[d.at] == c {
		d.at++
		return true
	}
	return false
}

// literal takes some bytes if they are these.
func (d *decoder) literal(s string) bool {
	if bytes.HasPrefix(d.text[d.at:], []byte(s)) {
		d.at += len(s)
		return true
	}
	return false
}

func (d *decoder) value(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return d.time(v)
		}
		return d.object(v)
	case reflect.Pointer:
		v.Set(d.room(v.Type()))
		return d.value(v.Elem())
	case reflect.String:
		s, ok := d.string()
		v.SetString(s)
		return ok
	case reflect.Slice:
		return d.list(v)
	case reflect.Map:
		return d.texts(v)
	case reflect.Bool:
		v.SetBool(d.literal("true"))
		return v.Bool() || d.literal("false")
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(d.number(), 10, 64)
		v.SetInt(n)
		return err == nil
	case reflect.Uint64:
		n, err := strconv.ParseUint(d.number(), 10, 64)
		v.SetUint(n)
		return err == nil
	}
	return false
}

// room returns a pointer of this type to a zero value.
func (d *decoder) room(t reflect.Type) reflect.Value {
	for _, r := range d.rooms {
		if r.is == t {
			r.part.Elem().SetZero()
			return r.part
		}
	}
	return reflect.New(t.Elem())
}

// object reads the members of a struct. They stand in the order of their names, each once.
func (d *decoder) object(v reflect.Value) bool {
	if !d.next('{') {
		return false
	}
	if d.next('}') {
		return true
	}
	plan := membersOf(v.Type())
	for {
		name, ok := d.plain()
		if !ok || !d.next(':') {
			return false
		}
		for len(plan) > 0 && plan[0].name != string(name) {
			plan = plan[1:]
		}
		if len(plan) == 0 || !d.value(v.Field(plan[0].index)) {
			return false
		}
		plan = plan[1:]
		if d.next('}') {
			return true
		}
		if !d.next(',') {
			return false
		}
	}
}

func (d *decoder) list(v reflect.Value) bool {
	if !d.next('[') {
		return false
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 2))
	if d.next(']') {
		return true
	}
	for n := 0; ; n++ {
		v.Grow(1)
		v.SetLen(n + 1)
		if v.Index(n).SetZero(); !d.value(v.Index(n)) {
			return false
		}
		if d.next(']') {
			return true
		}
		if !d.next(',') {
			return false
		}
	}
}

// texts reads a map of texts.
func (d *decoder) texts(v reflect.Value) bool {
	m, ok := v.Addr().Interface().(*map[string]string)
	if !ok || !d.next('{') {
		return false
	}
	*m = map[string]string{}
	if d.next('}') {
		return true
	}
	for {
		name, ok := d.string()
		if !ok || !d.next(':') {
			return false
		}
		if (*m)[name], ok = d.string(); !ok {
			return false
		}
		if d.next('}') {
			return true
		}
		if !d.next(',') {
			return false
		}
	}
}

// plain takes a text without escapes.
func (d *decoder) plain() ([]byte, bool) {
	if !d.next('"') {
		return nil, false
	}
	for i, c := range d.text[d.at:] {
		switch {
		case c == '"':
			s := d.text[d.at : d.at+i]
			d.at += i + 1
			return s, true
		case c < ' ' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// string takes a text.
func (d *decoder) string() (string, bool) {
	start := d.at
	if s, ok := d.plain(); ok {
		if d.copied != "" {
			return d.copied[start+1 : start+1+len(s)], true
		}
		return string(s), utf8.Valid(s)
	}
	d.at = start
	end, err := skipValue(d.text, start)
	if err != nil || d.text[start] != '"' {
		return "", false
	}
	var s string
	d.at = end
	return s, json.Unmarshal(d.text[start:end], &s) == nil
}

func (d *decoder) time(v reflect.Value) bool {
	start := d.at
	if _, ok := d.plain(); !ok {
		return false
	}
	t := v.Addr().Interface().(*time.Time)
	return t.UnmarshalJSON(d.text[start:d.at]) == nil
}

// number takes the digits of a whole number as JSON writes it.
func (d *decoder) number() string {
	start := d.at
	d.next('-')
	digits := d.at
	for d.at < len(d.text) && '0' <= d.text[d.at] && d.text[d.at] <= '9' {
		d.at++
	}
	if d.at > digits+1 && d.text[digits] == '0' {
		return "" // no number in JSON
	}
	return string(d.text[start:d.at])
}
