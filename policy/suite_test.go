package policy

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
)

func archive(t testing.TB, name string) fstest.MapFS {
	t.Helper()
	a, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	out := fstest.MapFS{}
	for _, f := range a.Files {
		out[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	return out
}

func mustTest(t testing.TB, fsys fstest.MapFS, run string) TestReport {
	t.Helper()
	r, err := Test(context.Background(), fsys, ".", TestOptions{Run: run, Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// oneAssertion finds what each assertion of a suite expects.
var oneAssertion = regexp.MustCompile(`violations: (yes|no|[0-9]+)`)

// A suite that passes must pass, and must stop passing when any one of its assertions is changed: a harness that counts wrongly would
// let one of them through.
func TestSuites(t *testing.T) {
	names, err := filepath.Glob("testdata/suites/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			fsys := archive(t, name)
			report := mustTest(t, fsys, "")
			for _, r := range report.Results {
				if r.Outcome != TestPass && r.Outcome != TestSkip {
					t.Errorf("%s:%d %s: %s %s", r.File, r.Line, r.Name, r.Outcome, r.Msg)
				}
			}
			suite := string(fsys["suite.yaml"].Data)
			for _, at := range oneAssertion.FindAllStringSubmatchIndex(suite, -1) {
				changed := map[string]string{"yes": "no", "no": "yes", "0": "1"}[suite[at[2]:at[3]]]
				if changed == "" {
					changed = "17"
				}
				fsys["suite.yaml"] = &fstest.MapFile{Data: []byte(suite[:at[2]] + changed + suite[at[3]:])}
				line := 1 + strings.Count(suite[:at[0]], "\n")
				if r := mustTest(t, fsys, ""); r.Count(TestFail) != 1 {
					t.Errorf("line %d: %s changed to %s, and %d tests fail", line, suite[at[2]:at[3]], changed, r.Count(TestFail))
				}
			}
		})
	}
}

// What gator calls an error must not pass as an assertion that happens to hold.
func TestSuitesThatAreWrong(t *testing.T) {
	base := archive(t, "testdata/suites/invalid.txtar")
	for name, c := range map[string]struct{ suite, want string }{
		"no object":                     {"cases: [{name: c, assertions: [{violations: no}]}]", "names no object"},
		"no assertion":                  {"cases: [{name: c, object: both.yaml}]", "asserts nothing"},
		"a file that is missing":        {"cases: [{name: c, object: none.yaml, assertions: [{violations: no}]}]", "none.yaml"},
		"a boolean":                     {"cases: [{name: c, object: both.yaml, assertions: [{violations: true}]}]", "want a number"},
		"an empty word":                 {"cases: [{name: c, object: both.yaml, assertions: [{violations: ''}]}]", "have \"\""},
		"another word":                  {"cases: [{name: c, object: both.yaml, assertions: [{violations: maybe}]}]", "maybe"},
		"a negative number":             {"cases: [{name: c, object: both.yaml, assertions: [{violations: -1}]}]", "not negative"},
		"a bad pattern":                 {"cases: [{name: c, object: both.yaml, assertions: [{message: '('}]}]", "message"},
		"several objects":               {"cases: [{name: c, object: two.yaml, assertions: [{violations: yes}]}]", "holds 2 objects"},
		"an object without kind":        {"cases: [{name: c, object: kindless.yaml, assertions: [{violations: yes}]}]", "no kind"},
		"a review without object":       {"cases: [{name: c, object: empty.yaml, assertions: [{violations: yes}]}]", "neither object nor oldObject"},
		"a review with a stranger":      {"cases: [{name: c, object: strange.yaml, assertions: [{violations: yes}]}]", "unknown field"},
		"valid though it should not be": {"invalid: true", "should not follow"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for k, v := range base {
				fsys[k] = v
			}
			fsys["two.yaml"] = &fstest.MapFile{Data: []byte("kind: A\n---\nkind: B\n")}
			fsys["kindless.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: v1\n")}
			fsys["empty.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: admission.k8s.io/v1\nkind: AdmissionReview\nrequest: {uid: a}\n")}
			fsys["strange.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: admission.k8s.io/v1\nkind: AdmissionReview\nrequest: {oldObjects: {}}\n")}
			fsys["suite.yaml"] = &fstest.MapFile{Data: []byte(
				"apiVersion: test.gatekeeper.sh/v1alpha1\nkind: Suite\ntests:\n- name: t\n  template: template.yaml\n  constraint: valid.yaml\n  " + c.suite + "\n")}
			r := mustTest(t, fsys, "")
			if r.Passed() || len(r.Results) != 1 || !strings.Contains(r.Results[0].Msg, c.want) {
				t.Errorf("got %+v, want %s", r.Results, c.want)
			}
		})
	}
}

// An answer that cannot be read is no violation, and a template that cannot expand an object judges nothing.
func TestASuiteDoesNotCountWhatCannotBeRead(t *testing.T) {
	base := archive(t, "testdata/suites/edges.txtar")
	for name, c := range map[string]struct{ file, old, new, want string }{
		"a message that is a number":   {"everything.yaml", `violation[{"msg": "the namespace is not known"}]`, `violation[{"msg": 3}]`, "no msg that is a string"},
		"an answer that is a string":   {"everything.yaml", `violation[{"msg": "the namespace is not known"}]`, `violation["x"]`, "neither a message nor"},
		"an object without its source": {"deployment.yaml", "template", "tmpl", "has no spec.template"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for k, v := range base {
				fsys[k] = v
			}
			fsys[c.file] = &fstest.MapFile{Data: []byte(strings.Replace(string(base[c.file].Data), c.old, c.new, 1))}
			r := mustTest(t, fsys, "twice")
			if r.Passed() || len(r.Results) != 1 || !strings.Contains(r.Results[0].Msg, c.want) {
				t.Errorf("got %+v, want %s", r.Results, c.want)
			}
		})
	}
}

func TestRunSelects(t *testing.T) {
	fsys := archive(t, "testdata/suites/match.txtar")
	for run, want := range map[string]int{
		"globs": 6, "suffix": 1, "^labels$//both": 1, "//pod": 1, "namespace": 7, "nothing of the kind": 0,
	} {
		if got := len(mustTest(t, fsys, run).Results); got != want {
			t.Errorf("--run %q: %d results, want %d", run, got, want)
		}
	}
	if _, err := Test(context.Background(), fsys, ".", TestOptions{Run: "a//b//c"}); err == nil {
		t.Error("three parts are accepted")
	}
}

func TestJUnit(t *testing.T) {
	r := mustTest(t, archive(t, "testdata/suites/required-labels.txtar"), "")
	r.Results[0].Outcome, r.Results[0].Msg = TestFail, "got <1> & want \"none\""
	var b strings.Builder
	if err := r.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<testsuite name="suite.yaml" tests="7" failures="1" errors="0" skipped="2"`,
		`<failure message="got &lt;1&gt; &amp; want &#34;none&#34;">`, `file="suite.yaml" line="9"`, `<skipped>`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}

func FuzzSuite(f *testing.F) {
	names, _ := filepath.Glob("testdata/suites/*.txtar")
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			f.Add(file.Data)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := documents(file{path: "suite.yaml", content: text})
		if err != nil {
			return
		}
		for _, d := range docs {
			sr := suiteRunner{fsys: os.DirFS("testdata"), now: noon}
			for _, r := range sr.run(context.Background(), d) {
				if r.Outcome == TestPass {
					t.Errorf("a suite without files passes: %+v", r)
				}
			}
		}
	})
}

func FuzzTemplate(f *testing.F) {
	names, _ := filepath.Glob("testdata/suites/*.txtar")
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			f.Add(file.Data)
		}
	}
	valid := archive(f, "testdata/suites/invalid.txtar")
	good, err := documents(file{path: "t", content: valid["template.yaml"].Data})
	if err != nil {
		f.Fatal(err)
	}
	tmpl, err := newTemplate(context.Background(), good[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := documents(file{path: "template.yaml", content: text})
		if err != nil {
			return
		}
		for _, d := range docs {
			if tm, err := newTemplate(context.Background(), d); (tm == nil) == (err == nil) {
				t.Errorf("%v, %v", tm, err)
			}
			if c, err := newConstraint(d, tmpl, webhookPoint); err == nil && c.match == nil {
				t.Error("a constraint without match")
			}
			readExpansion(d)
		}
	})
}
