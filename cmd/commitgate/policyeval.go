package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/policy"
)

// policyInput are the flags by which eval and bench are told what to decide.
type policyInput struct {
	file, origin, namespace, cluster, at string
	inventory                            []string
}

func (p *policyInput) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&p.file, "input", "i", "", "file of manifests, or of an AdmissionReview; - is standard input")
	fs.StringVar(&p.origin, "git", "", "file that says where in Git the change comes from: input.git (see docs/policy.md)")
	fs.StringVar(&p.namespace, "namespace-object", "", "file of the Namespace: input.namespaceObject")
	fs.StringSliceVar(&p.inventory, "inventory", nil, "files of objects that the cluster has: data.inventory")
	fs.StringVar(&p.cluster, "cluster", "", "name of the cluster: input.cluster")
	fs.StringVar(&p.at, "time", "", "the time of the decision, RFC 3339; now if it is not set")
}

// inputs reads everything that the flags name.
func (p *policyInput) inputs(stdin io.Reader) ([]policy.Input, error) {
	if p.file == "" {
		return nil, usage("--input is missing: a file of manifests, or of an AdmissionReview")
	}
	now := time.Now()
	if p.at != "" {
		var err error
		if now, err = time.Parse(time.RFC3339, p.at); err != nil {
			return nil, usage("--time: %w", err)
		}
	}
	ctx := policy.Context{Time: now, Cluster: p.cluster}
	var err error
	if ctx.Origin, err = readNamed(stdin, p.origin); err != nil {
		return nil, err
	}
	if ctx.Namespace, err = readNamed(stdin, p.namespace); err != nil {
		return nil, err
	}
	for _, name := range p.inventory {
		text, err := readNamed(stdin, name)
		if err != nil {
			return nil, err
		}
		ctx.Inventory = append(ctx.Inventory, text)
	}
	text, err := readNamed(stdin, p.file)
	if err != nil {
		return nil, err
	}
	ins, err := policy.ReadInputs(text, ctx)
	if err != nil {
		return nil, usage("%w", err)
	}
	return ins, nil
}

// readNamed reads a file, nil if there is no name.
func readNamed(stdin io.Reader, name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, usage("%w", err)
	}
	return text, nil
}

func newPolicyEval() *cobra.Command {
	var in policyInput
	var output string
	cmd := &cobra.Command{
		Use:   "eval POLICY_PATH --input FILE",
		Short: "Try policies on a manifest or an AdmissionReview",
		Long: `Ask the policies of a folder what they think of the objects in a file. A manifest is tried as if
it were created; an AdmissionReview as it is. Tests are not run.

Exit status: 0 allowed, 1 denied, 2 usage or policies that do not load, 3 could not tell.`,
		Example: "  commitgate policy eval policies/ --input apps/shop/cart.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			return runPolicyEval(cmd, args[0], in, output)
		},
	}
	in.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// loadForTrial loads a folder without running its tests.
func loadForTrial(ctx context.Context, w io.Writer, arg string) (*policy.Set, error) {
	root, err := folderArg(arg)
	if err != nil {
		return nil, err
	}
	set, err := policy.LoadUnverified(ctx, disk{}, root, false)
	if err != nil {
		return nil, wrong(w, err, exitUsage)
	}
	return set, nil
}

func runPolicyEval(cmd *cobra.Command, arg string, in policyInput, output string) error {
	set, err := loadForTrial(cmd.Context(), cmd.ErrOrStderr(), arg)
	if err != nil {
		return err
	}
	inputs, err := in.inputs(cmd.InOrStdin())
	if err != nil {
		return err
	}
	denied := false
	var verdicts []verdictOf
	for _, i := range inputs {
		r, err := set.Decide(cmd.Context(), i)
		if err != nil {
			return unknown(err)
		}
		denied = denied || !r.Allowed()
		verdicts = append(verdicts, verdictOf{Object: policy.Describe(i), Allowed: r.Allowed(), Result: r})
	}
	if err := printVerdicts(cmd.OutOrStdout(), verdicts, output); err != nil {
		return unknown(err)
	}
	if denied {
		return exit{exitNo, nil}
	}
	return nil
}

type verdictOf struct {
	Object  string        `json:"object"`
	Allowed bool          `json:"allowed"`
	Result  policy.Result `json:"result"`
}

func printVerdicts(w io.Writer, verdicts []verdictOf, output string) error {
	if output == "json" {
		return writeJSON(w, verdicts)
	}
	var b strings.Builder
	for _, v := range verdicts {
		word := "allowed"
		if !v.Allowed {
			word = "denied"
		}
		fmt.Fprintf(&b, "%-8s %s (%d policies asked)\n", word, v.Object, v.Result.Asked)
		for _, fs := range [][]policy.Finding{v.Result.Denials, v.Result.Warnings, v.Result.Dryruns} {
			for _, f := range fs {
				fmt.Fprintf(&b, "  %-6s %s: %s\n         %s:%d", f.Action, f.Policy, f.Msg, f.File, f.Line)
				if len(f.Controls) > 0 {
					fmt.Fprintf(&b, "  %s", strings.Join(f.Controls, ", "))
				}
				b.WriteByte('\n')
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func newPolicyBench() *cobra.Command {
	var in policyInput
	var output string
	var count int
	cmd := &cobra.Command{
		Use:   "bench POLICY_PATH --input FILE",
		Short: "Time each policy on a manifest or an AdmissionReview",
		Long: `Decide the objects of a file over and over, and tell how long each policy took, the slowest first.
The last line is the whole decision: what the policies add to a request.`,
		Example: "  commitgate policy bench policies/ --input apps/shop/cart.yaml --count 5000",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			if count < 1 {
				return usage("--count %d: want at least 1", count)
			}
			set, err := loadForTrial(cmd.Context(), cmd.ErrOrStderr(), args[0])
			if err != nil {
				return err
			}
			inputs, err := in.inputs(cmd.InOrStdin())
			if err != nil {
				return err
			}
			timings, err := set.Bench(cmd.Context(), inputs, count)
			if errors.Is(err, context.Canceled) {
				return exit{exitUnknown, nil}
			}
			if err != nil {
				return unknown(err)
			}
			if err := printTimings(cmd.OutOrStdout(), timings, output); err != nil {
				return unknown(err)
			}
			return nil
		},
	}
	in.flags(cmd)
	cmd.Flags().IntVar(&count, "count", 1000, "number of decisions")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func printTimings(w io.Writer, ts []policy.Timing, output string) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(ts)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-50s %8s %10s %10s %10s %10s\n", "POLICY", "COUNT", "P50", "P95", "P99", "MAX")
	for _, t := range ts {
		name := t.Policy
		if name == "" {
			name = "(whole decision)"
		}
		round := func(d time.Duration) time.Duration { return d.Round(100 * time.Nanosecond) }
		fmt.Fprintf(&b, "%-50s %8d %10s %10s %10s %10s\n", name, t.Count, round(t.P50), round(t.P95), round(t.P99), round(t.Max))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
