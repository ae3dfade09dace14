package manifest

import (
	"testing"

	"github.com/commitgate/commitgate/account"
)

// FuzzFields: whatever an Application ignores, the field path is one that accounting takes: else one slip would refuse the whole revision.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{"/spec/replicas", "/metadata/annotations/a~1b", "/a/0/b", "/", "", "/a]b", "/[\"x", "/*", ".spec.replicas", `.a["b]c"]`, ".a[] | select(.x) | .y", ".", "..", ".a[0]?", "|"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p := account.Pattern(fieldOfPointer(text)); p.Check() != nil {
			t.Errorf("pointer %q: %q: %v", text, p, p.Check())
		}
		if field, ok := fieldOfJQ(text); ok {
			if p := account.Pattern(field); p.Check() != nil {
				t.Errorf("jq %q: %q: %v", text, p, p.Check())
			}
		}
		if p := account.Pattern(fieldPath([]string{"data", text})); p.Check() != nil {
			t.Errorf("key %q: %q: %v", text, p, p.Check())
		}
	})
}

// FuzzIgnores: patterns come from whoever pushes, and must neither fail nor take for ever.
func FuzzIgnores(f *testing.F) {
	f.Add("*.yaml\n!a/**/b/\n# c\n\\#d", "a/x/b")
	f.Add("**/**/**/**/**/x", "a/b/c/d/e/f/g/h")
	f.Fuzz(func(_ *testing.T, patterns, name string) {
		if len(patterns) > 200 || len(name) > 100 {
			return
		}
		parseIgnores(".", patterns).match("a", true)
		matchesGlob(patterns, name)
		pathspec(patterns).MatchString(name)
		placeOf(patterns)
	})
}
