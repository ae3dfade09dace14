package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/policy"
)

func newPolicyCheck() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "check PATH",
		Short: "Tell whether the gate would accept the policies in a folder, and what they enforce",
		Long: `Load the policies in a folder as the gate does when a commit brings them: compile them, refuse
what would silently allow, run their tests. Then list what they enforce.

The digest is the one that records carry.

Exit status: 0 the gate would accept them, 1 it would not and each reason was named by file and
line, 2 usage, 3 could not tell.`,
		Example: "  commitgate policy check policies/",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			root, err := folderArg(args[0])
			if err != nil {
				return err
			}
			set, err := policy.LoadUnverified(cmd.Context(), disk{}, root, true)
			if err != nil {
				return wrong(cmd.ErrOrStderr(), err, exitNo)
			}
			if err := printSet(cmd.OutOrStdout(), set, output); err != nil {
				return unknown(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func printSet(w io.Writer, s *policy.Set, output string) error {
	if output == "json" {
		return writeJSON(w, struct {
			Digest    string        `json:"digest"`
			Engine    string        `json:"engine"`
			Rules     []policy.Rule `json:"rules"`
			Inventory []policy.Kind `json:"inventory,omitempty"`
			Unused    []string      `json:"unused,omitempty"`
		}{s.Digest(), policy.Engine(), s.Rules(), s.Inventory(), s.Unused()})
	}
	var b strings.Builder
	for _, r := range s.Rules() {
		var actions []string
		for _, a := range r.Actions {
			actions = append(actions, string(a))
		}
		fmt.Fprintf(&b, "%-40s %-10s %-10s %s\n", r.Policy, r.Convention, strings.Join(actions, ","), r.File)
	}
	for _, k := range s.Inventory() {
		fmt.Fprintf(&b, "reads from the cluster: %s\n", k)
	}
	for _, u := range s.Unused() {
		fmt.Fprintf(&b, "enforces nothing, no constraint uses it: %s\n", u)
	}
	fmt.Fprintf(&b, "digest: %s\nengine: %s\n", s.Digest(), policy.Engine())
	_, err := io.WriteString(w, b.String())
	return err
}
