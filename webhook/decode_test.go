package webhook

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	kjson "sigs.k8s.io/json"
)

// asLibrary reads a review by sigs.k8s.io/json alone, which is what the API server reads with.
func asLibrary(data []byte) (*admissionReview, error) {
	v := new(admissionReview)
	return v, kjson.UnmarshalCaseSensitivePreserveInts(data, v)
}

// Every review that an API server was seen to send is read in one pass, to what the API server's own decoder makes of it.
func TestReviewsAreReadOnce(t *testing.T) {
	files, err := filepath.Glob("../test/corpus/*.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		for _, data := range recordedReviews(t, file) {
			n++
			want, err := asLibrary(data)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			got, ok := decodeOnce(data)
			if !ok {
				t.Errorf("%s: not read in one pass: %s", file, data)
			} else if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: read as\n%+v, want\n%+v", file, got.Request, want.Request)
			}
		}
	}
	if n < 100 {
		t.Errorf("%d reviews", n)
	}
}

// recordedReviews are those of one file of the corpus.
func recordedReviews(t *testing.T, file string) (reviews [][]byte) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, maxBody)
	for lines.Scan() {
		var line struct{ Review json.RawMessage }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Review != nil { // else a note of what was done
			reviews = append(reviews, line.Review)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return reviews
}

// deep is a list that may stand where little is around it.
var deep = strings.Repeat(`[`, maxDepth*2/3) + strings.Repeat(`]`, maxDepth*2/3)

// strange are values whose reading could differ.
var strange = map[string]string{
	"an integer":                         `1`,
	"the largest integer":                `9223372036854775807`,
	"an integer that is too large":       `9223372036854775808`,
	"the smallest integer":               `-9223372036854775808`,
	"nothing less than nothing":          `-0`,
	"a fraction":                         `1.0`,
	"an exponent without a fraction":     `1e3`,
	"a large exponent":                   `1E+400`,
	"a small exponent":                   `1e-400`,
	"a zero before a number":             `01`,
	"a fraction without digits":          `1.`,
	"an exponent without digits":         `1e`,
	"a sign alone":                       `-`,
	"a plus":                             `+1`,
	"not a number":                       `NaN`,
	"every escape":                       `"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00"`,
	"half of a pair":                     `"\ud83d"`,
	"half of a pair, and a letter":       `"\ud83dx"`,
	"half of a pair, and another escape": `"\ud83d\u0041"`,
	"a pair the wrong way round":         `"\ude00\ud83d"`,
	"an escape that is none":             `"\x41"`,
	"an escape that ends":                `"\u00`,
	"a control character":                "\"a\x01b\"",
	"an escaped control character":       `"\u0000"`,
	"no UTF-8":                           "\"a\xff\xc3b\"",
	"a surrogate in UTF-8":               "\"\xed\xa0\x80\"",
	"letters beyond ASCII":               `"Zoë 日本"`,
	"a name that is there twice":         `{"a": 1, "a": {"b": 2}}`,
	"names that differ in case":          `{"a": 1, "A": 2}`,
	"a name beyond ASCII":                "{\"\xff\": 1, \"\\u0061\": 2}",
	"empty things":                       `{"": {}, "l": [], "n": null, "t": true, "f": false, "s": ""}`,
	"a comma too many in an object":      `{"a": 1,}`,
	"a comma too many in a list":         `[1,]`,
	"a comma too few":                    `[1 2]`,
	"no colon":                           `{"a" 1}`,
	"a name that is no string":           `{1: 1}`,
	"a word that is none":                `nul`,
	"words run together":                 `truefalse`,
	"an end too early":                   `{"a": [`,
	"brackets that do not match":         `[}`,
	"spaces of all kinds":                "\t{ \"a\"\r\n:\t[ 1 , 2 ] }\n",
	"a space that is none":               "\v1",
	"a comment":                          `1 /* one */`,
	"as deep as it may be":               strings.Repeat(`[`, maxDepth-4) + strings.Repeat(`]`, maxDepth-4),
	"deeper than it may be":              strings.Repeat(`[`, maxDepth+1) + strings.Repeat(`]`, maxDepth+1),
	"texts that share what is compared":  `["aaaaaaaa--------bbbbbbbb", "aaaaaaaa-x--------x-bbbbbbbb", "aaaaaaaa--------bbbbbbbb", "ab", "ba", "a\u0062"]`,
	"an object twice":                    `[{"name": "as long as a head is", "b": [1]}, {"name": "as long as a head is", "b": [1]}]`,
	"objects that share a head":          `[{"name": "as long as a head is", "b": 1}, {"name": "as long as a head is", "b": 2}, {"name": "as long as a head is", "b": 1, "c": 2}]`,
	"a list that begins like another":    `[["as long as a head is, or longer"], ["as long as a head is, or longer", 1]]`,
	"a deep list again where it may not": `[` + deep + `,` + strings.Repeat(`[`, maxDepth/2) + deep + strings.Repeat(`]`, maxDepth/2) + `]`,
	"a long text twice":                  `["` + strings.Repeat("x", maxRepeated+1) + `", "` + strings.Repeat("x", maxRepeated+1) + `"]`,
}

// around puts a value where a review can hold one.
func around(value string) map[string]string {
	out := map[string]string{"alone": value}
	for _, field := range []string{"uid", "kind", "resource", "requestResource", "object", "oldObject", "options", "dryRun", "userInfo", "operation", "unknown"} {
		out[field] = `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "operation": "CREATE", "` + field + `": ` + value + `}}`
	}
	for _, field := range []string{"username", "uid", "groups", "extra", "unknown"} {
		out["userInfo."+field] = `{"request": {"uid": "1", "userInfo": {"` + field + `": ` + value + `}}}`
	}
	out["in an object"] = `{"request": {"object": {"a": ` + value + `}, "oldObject": {"a": ` + value + `}}}`
	out["in a group"] = `{"request": {"userInfo": {"groups": ["a", ` + value + `], "extra": {"a": ` + value + `, "b": [` + value + `]}}}}`
	out["in front"] = value + `{"request": {"uid": "1"}}`
	out["behind"] = `{"request": {"uid": "1"}}` + value
	return out
}

// What the one pass accepts, the API server's own decoder accepts, and reads alike. What it leaves to that, that decides.
func TestReadOnceAsTheLibrary(t *testing.T) {
	values := map[string]string{"null": `null`, "an object": `{"group": "g", "version": "v", "kind": "k", "resource": "r"}`, "texts": `["a", "b"]`, "lists of texts": `{"k": ["a", "b"], "l": []}`,
		"a text": `"a"`, "true": `true`, "nothing": ``, "a list of null": `[null]`, "an object with null": `{"group": null, "k": null}`, "the same field twice": `{"group": "a", "kind": "b", "group": null}`}
	for name, v := range strange {
		values[name] = v
	}
	for name, value := range values {
		for where, text := range around(value) {
			alike(t, name+", "+where, []byte(text))
		}
	}
	twice := `{"request": {"uid": "1", "object": {"a": 1}, "object": {"b": 2}}}` // merged by the library, which has the word
	if v, ok := decodeOnce([]byte(twice)); ok {
		t.Errorf("a field twice is read as %+v", v.Request)
	}
	if _, ok := decodeOnce([]byte(`{"request": {` + strings.Repeat(`"x": 1, `, maxFields+1) + `"uid": "1"}}`)); ok {
		t.Error("too many fields are read in one pass")
	}
}

func alike(t *testing.T, name string, data []byte) {
	t.Helper()
	got, ok := decodeOnce(data)
	if !ok {
		return
	}
	want, err := asLibrary(data)
	if err != nil {
		t.Errorf("%s: the library refuses what was read (%v): %q", name, err, data)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: read as %+v, and the library reads %+v: %q", name, got.Request, want.Request, data)
	}
}

func FuzzReadOnce(f *testing.F) {
	for _, v := range strange {
		if len(v) < 1000 {
			for _, text := range around(v) {
				f.Add([]byte(text))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { alike(t, "fuzz", data) })
}
