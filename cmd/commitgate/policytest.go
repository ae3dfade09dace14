package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/policy"
)

type policyTestFlags struct {
	run, output string
	coverage    bool
	threshold   float64
	verbose     bool
}

func newPolicyTest() *cobra.Command {
	var f policyTestFlags
	cmd := &cobra.Command{
		Use:   "test PATH...",
		Short: "Run Rego tests and Gatekeeper suites",
		Long: `Run the Rego tests (rules called test_…) and the Gatekeeper suites (kind: Suite) in
files and folders, at any depth.

--run NAME selects tests or cases whose name matches; --run TEST//CASE both. For a Rego
test, TEST is the package.

Exit status: 0 all passed, 1 one did not, 2 usage or files that cannot be read as tests,
3 could not tell.`,
		Example: "  commitgate policy test policies/ --coverage --threshold 80",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runPolicyTest(cmd, args, f) },
	}
	cmd.Flags().StringVar(&f.run, "run", "", "run only what matches: NAME, or TEST//CASE")
	cmd.Flags().BoolVar(&f.coverage, "coverage", false, "tell how much of each Rego file was reached")
	cmd.Flags().Float64Var(&f.threshold, "threshold", 0, "fail below this coverage, in percent (implies --coverage)")
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "list tests that passed, too")
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table, json or junit")
	return cmd
}

func runPolicyTest(cmd *cobra.Command, args []string, f policyTestFlags) error {
	switch f.output {
	case "table", "json", "junit":
	default:
		return usage("-o %s: want table, json or junit", f.output)
	}
	var all policy.TestReport
	for _, arg := range args {
		root, err := folderArg(strings.TrimSuffix(arg, "/..."))
		if err != nil {
			return err
		}
		opts := policy.TestOptions{Run: f.run, Coverage: f.coverage || f.threshold > 0, Now: time.Now()}
		report, err := policy.Test(cmd.Context(), disk{}, root, opts)
		if err != nil {
			return wrong(cmd.ErrOrStderr(), err, exitUsage)
		}
		all.Results = append(all.Results, report.Results...)
		all.Coverage = append(all.Coverage, report.Coverage...)
	}
	if len(all.Results) == 0 {
		return usage("no tests in %s", strings.Join(args, ", "))
	}
	if err := printTests(cmd.OutOrStdout(), all, f); err != nil {
		return unknown(err)
	}
	switch {
	case all.Count(policy.TestFail)+all.Count(policy.TestError) > 0:
		return exit{exitNo, nil}
	case f.threshold > 0 && all.Percent() < f.threshold:
		return exit{exitNo, fmt.Errorf("coverage is %.1f %%, below %.1f %%", all.Percent(), f.threshold)}
	}
	return nil
}

func printTests(w io.Writer, r policy.TestReport, f policyTestFlags) error {
	switch f.output {
	case "json":
		return writeJSON(w, r)
	case "junit":
		return r.WriteJUnit(w)
	}
	var b strings.Builder
	for _, t := range r.Results {
		if t.Outcome == policy.TestPass && !f.verbose {
			continue
		}
		fmt.Fprintf(&b, "%-5s %s:%d  %s\n", t.Outcome, t.File, t.Line, t.Name)
		if t.Msg != "" {
			fmt.Fprintf(&b, "      %s\n", t.Msg)
		}
		if out := strings.TrimRight(t.Output, "\n"); out != "" && (f.verbose || t.Outcome != policy.TestPass) {
			fmt.Fprintf(&b, "      %s\n", strings.ReplaceAll(out, "\n", "\n      "))
		}
	}
	for _, c := range r.Coverage {
		fmt.Fprintf(&b, "%5.1f %% %s", c.Percent, c.File)
		if len(c.Lines) > 0 {
			fmt.Fprintf(&b, "  not reached: %s", ranges(c.Lines))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d could not run, %d skipped",
		r.Count(policy.TestPass), r.Count(policy.TestFail), r.Count(policy.TestError), r.Count(policy.TestSkip))
	if len(r.Coverage) > 0 {
		fmt.Fprintf(&b, "; coverage %.1f %%", r.Percent())
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

// ranges shortens line numbers: 3-5, 9.
func ranges(lines []int) string {
	var out []string
	for i := 0; i < len(lines); {
		j := i
		for j+1 < len(lines) && lines[j+1] == lines[j]+1 {
			j++
		}
		if i == j {
			out = append(out, fmt.Sprint(lines[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", lines[i], lines[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ", ")
}
