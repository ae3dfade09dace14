package audit

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// full is a record with something in each member.
func full() (r Record) {
	fill(reflect.ValueOf(&r).Elem())
	return r
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	l := open(t, testConfig(t))
	for name, r := range map[string]Record{"everything": full(), "a decision": decision(1), "a note": {Type: TypeStop, Event: &Event{Message: "x", Details: map[string]string{}}}} {
		want := mustAppend(t, l, r)
		line := newDraft(&want).line(nil, &want)
		line = line[:len(line)-1]
		d := decoder{text: line}
		var quick Record
		if !d.value(reflect.ValueOf(&quick).Elem()) || d.at != len(line) {
			t.Errorf("%s: the quick way does not know a line of ours: stopped at %q", name, line[d.at:])
		}
		sameAsJSON(t, line)
	}
}

// sameAsJSON compares with encoding/json, which is right by definition.
func sameAsJSON(t *testing.T, line []byte) {
	t.Helper()
	var want Record
	wantErr := json.Unmarshal(line, &want)
	have, err := ParseRecord(line)
	if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(have, want) {
		t.Errorf("%s:\n%+v, %v\nwant %+v, %v", line, have, err, want, wantErr)
	}
}

func TestAParserForgetsTheRecordBefore(t *testing.T) {
	r := full()
	everything := newDraft(&r).line(nil, &r)
	var p Parser
	for _, line := range []string{
		string(everything[:len(everything)-1]), `{"seq":1}`, `{"actor":{"role":"agent","username":"x"},"seq":2}`, `{"actor":{"username":"y"},"origin":{},"seq":3}`, `{ "seq":4}`,
		`{"event":{"message":"z"},"seq":"not a number"}`, `{"event":{"details":{"a":"b"},"message":"z"}}`, `{"event":{"message":"z"}}`,
		"{\"event\":{\"message\":\"\xff\"}}", "{\"event\":{\"message\":\"ä\"}}",
	} {
		want, wantErr := ParseRecord([]byte(line))
		have, err := p.Parse([]byte(line))
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(*have, want) {
			t.Errorf("%s:\n%+v, %v\nwant %+v, %v", line, have, err, want, wantErr)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	r := full()
	line, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	canonical := newDraft(&r).line(nil, &r)
	for _, seed := range []string{
		string(line), strings.TrimSpace(string(canonical)), `{}`, `null`, `[]`, `{"seq":1}`, `{"seq":01}`, `{"seq":-0}`, `{"seq":1.0}`, `{"Seq":3}`, `{"seq":1,"seq":2}`, `{"seq":18446744073709551616}`,
		`{"actor":null}`, `{"actor":{"groups":null}}`, `{"actor":{"groups":[]}}`, `{"actor":{"groups":["a",null]}}`, `{"event":{"details":{"a":"1","a":"2"},"message":"x"}}`, `{"event":{"details":{"a":1}}}`,
		`{"type":"a\u0041"}`, `{"type":"\ud800"}`, "{\"type\":\"\xff\"}", "{\"type\":\"a\nb\"}", `{"type":"a`, `{"truncated":tru}`, `{"truncated":false,"type":"x"}`, `{"time":"2026"}`,
		`{"time":"2026-11-21T09:00:00Z"}`, `{"time":"2026-11-21T09:00:00+02:00"}`, `{"time":null}`, `{ "seq":1}`, `{"seq":1} `, `{"seq":1}x`, `{"new":1,"seq":2}`, `{"decision":{"code":1e2}}`, `{"decision":{"code":99999999999999999999}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) { sameAsJSON(t, line) })
}

func BenchmarkParseRecord(b *testing.B) {
	r := mustAppend(b, open(b, testConfig(b)), decision(1))
	line := newDraft(&r).line(nil, &r)
	line = line[:len(line)-1]
	b.Run("quick", func(b *testing.B) {
		for b.Loop() {
			if _, err := ParseRecord(line); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("into the same memory", func(b *testing.B) {
		var p Parser
		for b.Loop() {
			if _, err := p.Parse(line); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			var r Record
			if err := json.Unmarshal(line, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Some members of a line are what they are in the whole line.
func TestAppendMembers(t *testing.T) {
	for name, tt := range map[string]struct{ line, want string }{
		"none":              {`{"a":1,"b":2}`, `{}`},
		"the first":         {`{"event":{"x":"}"},"z":2}`, `{"event":{"x":"}"}}`},
		"the last":          {`{"a":[1,{"b":"]"}],"type":"decision"}`, `{"type":"decision"}`},
		"several":           {`{"a":1,"event":{"a":1},"b":"\",","origin":null,"type":"t"}`, `{"event":{"a":1},"origin":null,"type":"t"}`},
		"only at the top":   {`{"a":{"type":"x"},"b":["type"]}`, `{}`},
		"by the whole name": {`{"typ":1,"types":2}`, `{}`},
		"nothing":           {`{}`, `{}`},
		"no value":          {`{"type":}`, `{}`},
		"no end":            {`{"type":"x`, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			if have := string(AppendMembers([]byte("before"), []byte(tt.line), "event", "origin", "type")); have != "before"+tt.want {
				t.Errorf("have %s, want before%s", have, tt.want)
			}
		})
	}
}
