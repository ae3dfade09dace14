package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes.
const (
	TestPass  Outcome = "pass"
	TestFail  Outcome = "fail"
	TestError Outcome = "error" // it could not be run
	TestSkip  Outcome = "skip"
)

// TestResult is one Rego test, or one case of a suite.
type TestResult struct {
	Name     string        `json:"name"` // commitgate.images_test.test_latest, or test/case
	File     string        `json:"file"`
	Line     int           `json:"line,omitempty"`
	Outcome  Outcome       `json:"outcome"`
	Msg      string        `json:"msg,omitempty"`
	Output   string        `json:"output,omitempty"` // what print() wrote
	Duration time.Duration `json:"duration"`         // nanoseconds
}

// Coverage is how much of a Rego file the tests reached.
type Coverage struct {
	File    string  `json:"file"`
	Covered int     `json:"covered"` // lines
	Missed  int     `json:"missed"`  // lines
	Lines   []int   `json:"missedLines,omitempty"`
	Percent float64 `json:"percent"`
}

// TestReport is what a run of tests found.
type TestReport struct {
	Results  []TestResult `json:"results"`
	Coverage []Coverage   `json:"coverage,omitempty"`
}

// Count is the number of results with an outcome.
func (r TestReport) Count(o Outcome) int {
	n := 0
	for _, t := range r.Results {
		if t.Outcome == o {
			n++
		}
	}
	return n
}

// Passed tells whether there were tests and none failed.
func (r TestReport) Passed() bool {
	return r.Count(TestFail)+r.Count(TestError) == 0 && r.Count(TestPass) > 0
}

// Percent is the coverage over all files.
func (r TestReport) Percent() float64 {
	covered, all := 0, 0
	for _, c := range r.Coverage {
		covered, all = covered+c.Covered, all+c.Covered+c.Missed
	}
	if all == 0 {
		return 0
	}
	return 100 * float64(covered) / float64(all)
}

// TestOptions say which tests to run, and how.
type TestOptions struct {
	// Run selects tests as gator does: a regular expression for names of tests or cases, or two of them, TEST//CASE. For a Rego
	// test, the package is the test and the rule is the case.
	Run string
	// Coverage asks for the coverage of Rego files.
	Coverage bool
	// Now is the time of suites' requests.
	Now time.Time
}

// Test runs the Rego tests and the Gatekeeper suites below root. It needs no rule to be enforceable: it is for libraries too. What
// does not parse is returned as Errors.
func Test(ctx context.Context, fsys fs.FS, root string, opts TestOptions) (TestReport, error) {
	f, err := newFilter(opts.Run)
	if err != nil {
		return TestReport{}, err
	}
	var p problems
	src := &source{folder: folder{fsys: fsys, root: root}}
	if src.files, err = readFiles(ctx, fsys, root, &p); err != nil {
		return TestReport{}, err
	}
	if err := src.parse(&p); err != nil {
		return TestReport{}, err
	}
	src.findSuites(&p)
	if err := p.err(); err != nil {
		return TestReport{}, err
	}
	return src.run(ctx, opts, f), nil
}

// test runs the repository's own tests while loading; what does not pass is a problem.
func (src *source) test(ctx context.Context, now time.Time, p *problems) {
	for _, r := range src.run(ctx, TestOptions{Now: now}, filter{}).Results {
		switch r.Outcome {
		case TestFail, TestError:
			p.add(r.File, r.Line, "test %s: %s: %s", r.Name, r.Outcome, r.Msg)
		}
	}
}

func (src *source) run(ctx context.Context, opts TestOptions, f filter) TestReport {
	var report TestReport
	var tracer *cover.Cover
	if opts.Coverage {
		tracer = cover.New()
	}
	for _, pk := range src.universe.packs {
		if len(pk.tests) > 0 {
			report.Results = append(report.Results, src.runPackage(ctx, pk, f, tracer)...)
		}
	}
	sr := suiteRunner{fsys: src.fsys, filter: f, now: opts.Now}
	for _, d := range src.suites {
		report.Results = append(report.Results, sr.run(ctx, d)...)
	}
	sort.SliceStable(report.Results, func(i, j int) bool {
		a, b := report.Results[i], report.Results[j]
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Line < b.Line
	})
	if tracer != nil {
		report.Coverage = src.coverage(tracer)
	}
	return report
}

// runPackage runs the tests of one package, with every package that they refer to. Where packages of one name stand in several folders
// and cannot live together, as copies of one library do, each folder is tested by itself.
func (src *source) runPackage(ctx context.Context, pk *pack, f filter, tracer *cover.Cover) []TestResult {
	all := src.universe.closure(pk, true)
	c, err := src.testCompiler(all)
	if err == nil {
		return src.runTests(ctx, pk.tests, all, c, f, tracer)
	}
	var out []TestResult
	seen := map[string]bool{}
	for _, t := range pk.tests {
		dir := path.Dir(t.path)
		if seen[dir] {
			continue
		}
		seen[dir] = true
		some := sameDir(all, dir)
		c, err := src.testCompiler(some)
		if err != nil {
			out = append(out, compileFailure(t, err)...)
			continue
		}
		var tests []*module
		for _, m := range pk.tests {
			if path.Dir(m.path) == dir {
				tests = append(tests, m)
			}
		}
		out = append(out, src.runTests(ctx, tests, some, c, f, tracer)...)
	}
	return out
}

func compileFailure(t *module, err error) []TestResult {
	var p problems
	p.addErr(t.path, 1, err)
	var es Errors
	errors.As(p.err(), &es)
	var out []TestResult
	for _, e := range es {
		out = append(out, TestResult{Name: t.pkg(), File: e.File, Line: e.Line, Outcome: TestError, Msg: e.Msg})
	}
	return out
}

func (src *source) testCompiler(ms []*module) (*ast.Compiler, error) {
	version := ast.RegoV0
	for _, m := range ms {
		if !m.v0 {
			version = ast.RegoV1
		}
	}
	// The tester compiles a second time, with stages of its own; a compiler that failed cannot be used again.
	if _, err := compile(trees(ms), compiling{version: version, static: src.universe.static, print: true}); err != nil {
		return nil, err
	}
	return ast.NewCompiler().
		WithCapabilities(capabilities(version)).
		WithEnablePrintStatements(true).
		WithDefaultRegoVersion(version), nil
}

func (src *source) runTests(ctx context.Context, tests, modules []*module, c *ast.Compiler, f filter, tracer *cover.Cover) []TestResult {
	failure := func(err error) []TestResult {
		return []TestResult{{Name: tests[0].pkg(), File: tests[0].path, Outcome: TestError, Msg: err.Error()}}
	}
	st, err := newStore(src.universe.static)
	if err != nil {
		return failure(err)
	}
	runner := tester.NewRunner().
		SetCompiler(c).
		SetModules(trees(modules)).
		SetStore(st).
		CapturePrintOutput(true).
		SetTimeout(suiteTime)
	if tracer != nil {
		runner = runner.SetCoverageQueryTracer(tracer).SetParallel(1) // the tracer is not safe for more
	}
	results, err := runner.RunTests(ctx, st.with(nil))
	if err != nil {
		return failure(err)
	}
	mine := map[string]bool{}
	for _, m := range tests {
		mine[m.path] = true
	}
	var out []TestResult
	for r := range results {
		pkg := strings.TrimPrefix(r.Package, "data.")
		if r.Location == nil || !mine[r.Location.File] || !f.matches(pkg, r.Name) {
			continue
		}
		out = append(out, regoResult(pkg, r))
	}
	return out
}

func regoResult(pkg string, r *tester.Result) TestResult {
	out := TestResult{
		Name: pkg + "." + r.Name, File: r.Location.File, Line: r.Location.Row,
		Outcome: TestPass, Duration: r.Duration, Output: string(r.Output),
	}
	switch {
	case r.Skip:
		out.Outcome = TestSkip
	case r.Error != nil:
		out.Outcome, out.Msg = TestError, r.Error.Error()
	case r.Fail:
		out.Outcome, out.Msg = TestFail, "is not true"
		if r.FailedAt != nil && r.FailedAt.Location != nil {
			out.Msg = fmt.Sprintf("line %d does not hold: %s", r.FailedAt.Location.Row, r.FailedAt.Location.Text)
		}
		for names, sub := range r.SubResults.Iter {
			if sub.Fail {
				out.Msg += "; case " + strings.Join(names, "/")
			}
		}
	}
	return out
}

// coverage is told of policies, not of their tests, and of what is computed: a constant that tests replace is nothing they missed.
func (src *source) coverage(tracer *cover.Cover) []Coverage {
	policies := map[string]*ast.Module{}
	for _, m := range src.modules {
		if !m.test {
			computed := *m.tree
			computed.Rules = slices.DeleteFunc(slices.Clone(m.tree.Rules), constant)
			policies[m.path] = &computed
		}
	}
	report := tracer.Report(policies)
	var out []Coverage
	for name, f := range report.Files {
		if policies[name] == nil {
			continue
		}
		c := Coverage{File: name, Covered: f.CoveredLines, Missed: f.NotCoveredLines, Percent: f.Coverage}
		for _, r := range f.NotCovered {
			for l := r.Start.Row; l <= r.End.Row; l++ {
				c.Lines = append(c.Lines, l)
			}
		}
		slices.Sort(c.Lines)
		c.Lines = slices.Compact(c.Lines)
		if c.Covered+c.Missed > 0 {
			out = append(out, c)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].File < out[j].File })
	return out
}

// constant tells whether a rule has one value, whatever the input.
func constant(r *ast.Rule) bool {
	return len(r.Head.Args) == 0 && r.Else == nil && r.Head.Value != nil && r.Head.Value.IsGround() &&
		len(r.Body) == 1 && r.Body[0].Equal(ast.NewExpr(ast.BooleanTerm(true)))
}

// filter selects tests. The zero value selects all.
type filter struct {
	either     *regexp.Regexp // of the test's or the case's name
	outer, own *regexp.Regexp // of the test's and the case's name
}

func newFilter(run string) (filter, error) {
	if run == "" {
		return filter{}, nil
	}
	parts := strings.Split(run, "//")
	if len(parts) > 2 {
		return filter{}, fmt.Errorf("%q: a filter is NAME or TEST//CASE", run)
	}
	res := make([]*regexp.Regexp, len(parts))
	for i, part := range parts {
		var err error
		if res[i], err = regexp.Compile(part); err != nil {
			return filter{}, err
		}
	}
	if len(res) == 1 {
		return filter{either: res[0]}, nil
	}
	return filter{outer: res[0], own: res[1]}, nil
}

// test tells whether any of a suite's test is to be run.
func (f filter) test(t suiteTest) bool {
	switch {
	case f.outer != nil:
		return f.outer.MatchString(t.Name)
	case f.either == nil || f.either.MatchString(t.Name):
		return true
	}
	for _, c := range t.Cases {
		if f.either.MatchString(c.Name) {
			return true
		}
	}
	return false
}

// matches tells whether one case is to be run.
func (f filter) matches(test, name string) bool {
	switch {
	case f.outer != nil:
		return f.outer.MatchString(test) && f.own.MatchString(name)
	case f.either != nil:
		return f.either.MatchString(test) || f.either.MatchString(name)
	}
	return true
}
