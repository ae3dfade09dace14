package replay

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
)

// review is an AdmissionReview as kube-apiserver sends it, on one line.
func review(uid string) string {
	return `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"` + uid + `","kind":{"group":"","version":"v1","kind":"ConfigMap"},` +
		`"resource":{"group":"","version":"v1","resource":"configmaps"},"name":"a","namespace":"b","operation":"CREATE","userInfo":{"username":"alice"},` +
		`"object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"b"},"data":{"n":"1"}}}}`
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	indented := strings.NewReplacer("{", "{\n ", ",", ",\n ").Replace(review("1"))
	asYAML := "apiVersion: admission.k8s.io/v1\nkind: AdmissionReview\nrequest:\n  uid: \"1\"\n  operation: CREATE\n  userInfo: {username: alice}\n"
	tests := map[string]struct {
		input string
		want  []string // uids; "!" is an item with an error
	}{
		"one review":                                  {review("1"), []string{"1"}},
		"one review over several lines":               {indented, []string{"1"}},
		"a review per line":                           {review("1") + "\n" + review("2") + "\n", []string{"1", "2"}},
		"lines between empty lines, the last unended": {"\n" + review("1") + "\n\n" + review("2"), []string{"1", "2"}},
		"reviews of several lines, one after another": {indented + "\n" + strings.Replace(indented, `"1"`, `"2"`, 1), []string{"1", "2"}},
		"an array":                        {"[" + review("1") + "," + review("2") + "]", []string{"1", "2"}},
		"the review beside labels":        {`{"label":{"class":"x"},"review":` + review("1") + `}`, []string{"1"}},
		"markers between reviews":         {`{"marker":"commit"}` + "\n" + review("1"), []string{"1"}},
		"YAML":                            {asYAML, []string{"1"}},
		"a YAML stream":                   {"---\n" + asYAML + "---\n# nothing\n---\n" + strings.Replace(asYAML, `"1"`, `"2"`, 1), []string{"1", "2"}},
		"gzip":                            {zipped(review("1") + "\n" + review("2")), []string{"1", "2"}},
		"a broken line between good ones": {review("1") + "\n{\"kind\":\n" + review("2"), []string{"1", "!", "2"}},
		"a line that was cut off":         {review("1") + "\n" + review("2")[:100], []string{"1", "!"}},
		"a review of another version":     {strings.Replace(review("1"), "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), []string{"!"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			items, err := Read(strings.NewReader(tt.input))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, it := range items {
				if it.Err != nil {
					got = append(got, "!")
					continue
				}
				got = append(got, it.Request.UID)
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("read %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReadNamesTheLine(t *testing.T) {
	items, err := Read(strings.NewReader(review("1") + "\n\n{\"kind\":\n" + review("2")))
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 3 || items[1].Line != 3 || items[2].Line != 4 {
		t.Errorf("lines %v", items)
	}
}

// FuzzRead: no input makes it panic, loop or keep more than it was given.
func FuzzRead(f *testing.F) {
	for _, s := range []string{review("1"), "[" + review("1") + "]", "---\na: b\n---\n", zipped(review("1")), "{", "[", "\x1f\x8b", "{}\n{\n", "a: *b", "--- \n--- |\n x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		items, err := Read(bytes.NewReader(data))
		if err == nil && len(items) > len(data)+1 && !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
			t.Errorf("%d items of %d bytes", len(items), len(data))
		}
		for _, it := range items {
			if (it.Request == nil) == (it.Err == nil) {
				t.Errorf("item %+v is neither a review nor an error", it)
			}
		}
	})
}
