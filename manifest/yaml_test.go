package manifest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/git"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/yaml"
)

// kubernetes reads one document as kubectl and the API server do.
func kubernetes(data []byte) (map[string]any, error) {
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, kjson.UnmarshalCaseSensitivePreserveInts(text, &m)
}

// kustomize reads one document as kustomize and Flux do.
func kustomize(data []byte) (map[string]any, error) {
	n, err := kyaml.Parse(string(data))
	if err != nil {
		return nil, err
	}
	text, err := n.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, kjson.UnmarshalCaseSensitivePreserveInts(text, &m)
}

// A value that the gate reads in another way than the agent is a field that nobody signed.
func TestValuesAreReadAsTheAgentReadsThem(t *testing.T) {
	readers := map[string]struct {
		dialect dialect
		read    func([]byte) (map[string]any, error)
	}{"Kubernetes": {dialectKubernetes, kubernetes}, "kustomize": {dialectKustomize, kustomize}}
	for name, reader := range readers {
		for _, value := range []string{
			"yes", "Yes", "YES", "no", "NO", "on", "off", "OFF", "y", "Y", "n", "N", "true", "True", "TRUE", "false", `"yes"`, "'no'", "!!str yes", "|-\n  yes",
			"null", "~", "Null", "", `""`, "0", "-0", "1", "-1", "+1", "0644", "0o644", "0x1F", "0b101", "1_000", "1e3", "1.5e3", "1.0", "1.25", ".5", "-.5", "1.",
			"12:30:45", "2026-11-21", "2026-11-21T10:00:00Z", "2026-11-21 10:00:00", "!!timestamp 2026-11-21", "2026-11-21T10:00:00.5+02:00", `"2026-11-21"`,
			"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "1e18", "9.3e18",
			"1e400", "123456789012345678901234567890", "0.1", "0.10", "500m", "1Gi", "1e21", "1e20", "1E5", "1e-7", "0.0000001", "1.7976931348623157e308", ".inf", "-.INF", ".nan",
			"!!binary aGVsbG8=", "!!float 1", "!!int '7'", "!!str 7", "!custom x", "=", "<<", "_", "0_7", "1__0", "08", "0x", "-0x10", "-0b1", "+0o7", "-0o7",
			"|\n  a\n  b\n", ">-\n  a\n  b\n", "[a, 1, yes]", "{a: 1, b: [c]}", "{2: b, true: c, 1.5: d}", "{yes: 1}", "{y: 1}", "{~: 1}", "{2026-11-21: x}", "&a [1]", "{&k a: *k}", `"\u00e9\x41"`,
		} {
			text := []byte("v: " + value + "\n")
			want, wantErr := reader.read(text)
			docs, err := parse("x.yaml", text, reader.dialect)
			switch {
			case wantErr != nil && err == nil:
				t.Errorf("%q: read as %#v, %s refuses it: %v", value, docs[0].content.At("v"), name, wantErr)
			case wantErr == nil && err != nil:
				t.Errorf("%q: %v, %s reads %#v", value, err, name, want["v"])
			case err == nil && !reflect.DeepEqual(docs[0].content.Map(), want):
				t.Errorf("%q: %#v, %s reads %#v", value, docs[0].content.At("v"), name, want["v"])
			}
		}
	}
}

func TestFilesAreRefusedThatWouldHideSomething(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'l'; i++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", i, i, strings.Repeat(fmt.Sprintf("*%c,", i-1), 8), i-1)
	}
	tests := map[string]struct {
		file, text string
		want       string
	}{
		"a key that stands twice":              {text: "a: 1\nb: 2\na: 3\n", want: `line 3: the key "a" stands twice in one map, first in line 1: only one of them would count`},
		"a key that stands twice, deep":        {text: "a:\n  b: 1\n  'b': 3\n", want: `line 3: the key "b" stands twice in one map, first in line 2: only one of them would count`},
		"keys that become the same text":       {text: "a: {1: x, \"1\": y}\n", want: `line 1: the key "1" stands twice in one map, first in line 1: only one of them would count`},
		"a key that stands twice in JSON":      {file: "a.json", text: "{\n\"a\": 1, \"a\": 2}", want: `line 1: duplicate field "a"`},
		"aliases that grow (a billion laughs)": {text: bomb, want: "the document grows beyond 1048576 values"},
		"an anchor that holds itself":          {text: "a: &a {b: *a}\n", want: `line 1: anchor "a" holds itself`},
		"nesting without end":                  {text: strings.Repeat("[", 500), want: "line"},
		"nesting in JSON":                      {file: "a.json", text: strings.Repeat(`{"a":`, 500), want: "line 1: nested more than 200 levels deep"},
		"a list":                               {text: "- a\n- b\n", want: "line 1: a document that is a list, not an object with apiVersion and kind"},
		"text":                                 {text: "---\nhello\n", want: "line 2: a document that is text, not an object with apiVersion and kind"},
		"what ends in the middle, in JSON":     {file: "a.json", text: "{\n\"a\":\n", want: "line 2: not JSON: EOF"},
		"an error in the second document":      {text: "a: 1\n---\nb: 1\nc\n", want: "line 4: could not find expected ':'"},
		"binary":                               {text: "a: \x00\x01\n", want: "line 1: control characters are not allowed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := test.file
			if file == "" {
				file = "a.yaml"
			}
			_, err := parse(git.Path(file), []byte(test.text), dialectKubernetes)
			var syntax *syntaxError
			if !errors.As(err, &syntax) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

// FuzzParse: whatever is pushed, a file is read as Kubernetes reads it, or refused with a line.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"a: 1\n", "a: yes\n---\nb: {c: [1, ~]}\n", "a: &x {b: 1}\nc: {<<: *x, b: 2}\n", "a: |\n  x\n---\n", "? a\n: b\n", "a: !!binary aGk=\n", "a: 1e3\nb: 0644\n",
		"kind: List\nitems:\n- {kind: A}\n- 1\n", "{\"a\": [1.0, 2]}", "%YAML 1.1\n---\na: b\n...\n---\nc: d\n", "a: &a [*a]\n", "<<: [{a: 1}, {b: 2}]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parse("a.json", data, dialectKubernetes); err != nil {
			checkLine(t, err, data)
		}
		docs, err := parse("a.yaml", data, dialectKubernetes)
		if err != nil {
			checkLine(t, err, data)
			return
		}
		if len(docs) != 1 || strings.Contains(string(data), "---") || strings.Contains(string(data), "...") || strings.Contains(string(data), "List") ||
			strings.Contains(string(data), "!") { // the parser forgets the tag ! that says nothing
			return
		}
		if want, err := kubernetes(data); err == nil && !reflect.DeepEqual(docs[0].content.Map(), want) {
			t.Errorf("%#v, Kubernetes reads %#v", docs[0].content.JSON(), want)
		}
	})
}

func checkLine(t *testing.T, err error, data []byte) {
	var syntax *syntaxError
	if !errors.As(err, &syntax) {
		t.Fatalf("an error without a line: %v", err)
	}
	if n := 2 + strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + strings.Count(string(data), "\u0085"); syntax.line < 1 || syntax.line > n {
		t.Errorf("line %d of a file with %d", syntax.line, n)
	}
}
