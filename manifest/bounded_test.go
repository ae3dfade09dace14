package manifest

import (
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
