package manifest

import (
	"io"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// A function that is bounded must else do what sprig's does.
func TestBoundedFunctionsAreThoseOfSprig(t *testing.T) {
	for _, text := range []string{
		`{{ until 5 }}`, `{{ until 0 }}`, `{{ until -3 }}`, `{{ untilStep 0 10 3 }}`, `{{ untilStep 10 0 -2 }}`, `{{ untilStep 0 10 -1 }}`, `{{ untilStep 3 6 2 }}`,
		`{{ seq }}`, `{{ seq 5 }}`, `{{ seq -3 }}`, `{{ seq 2 6 }}`, `{{ seq 6 2 }}`, `{{ seq 0 2 10 }}`, `{{ seq 0 -2 -5 }}`, `{{ seq 1 }}`, `{{ seq 0 }}`,
		`{{ repeat 3 "ab" }}`, `{{ repeat 0 "ab" }}`, `{{ repeat 1000 "" }}`,
	} {
		render := func(extra template.FuncMap) string {
			var out strings.Builder
			made, err := template.New("").Funcs(sprig.TxtFuncMap()).Funcs(extra).Parse(text)
			check(t, err)
			check(t, made.Execute(&out, nil))
			return out.String()
		}
		if have, want := render(boundedFunctions()), render(nil); have != want {
			t.Errorf("%s: %q, sprig's gives %q", text, have, want)
		}
	}
}

// Without bounds each of these takes gigabytes, in a goroutine that nothing can stop.
func TestTemplatesThatMakeMuchOfLittleEnd(t *testing.T) {
	for text, want := range map[string]string{
		`{{ until 1000000000 }}`: "a range of more than 100000 numbers",
		`{{ range until 99999 }}{{ range until 99999 }}x{{ end }}{{ end }}`: "ranges of more than 5000000 numbers together",
		`{{ range until 99999 }}{{ seq 0 99998 }}{{ end }}`:                 "ranges of more than 5000000 numbers together",
		`{{ repeat 1000000000 "x" }}`:                                       "repeat 1000000000: more than 4194304 bytes",
		`{{ range until 99999 }}{{ repeat 4000000 "x" }}{{ end }}`:          "repeat: more than 67108864 bytes together",
		`{{ repeat -1 "x" }}`:                                               "repeat -1",
	} {
		made, err := template.New("").Funcs(sprig.TxtFuncMap()).Funcs(boundedFunctions()).Parse(text)
		check(t, err)
		if err := made.Execute(io.Discard, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
