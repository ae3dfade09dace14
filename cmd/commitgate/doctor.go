package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/doctor"
)

func newDoctor() *cobra.Command {
	var in installationFlags
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with an installation, and what to do",
		Long: `Say what is wrong with an installation, and what to do: replicas, API server, custom resources, webhook configuration, Service, certificates, policies,
rights, clocks, repositories, audit log, agents. Every question is asked by itself, so half of an installation is enough. Nothing is changed.
Exit status: 0 nothing is broken, 1 something is, 2 usage, 3 nothing is known to be broken, and something could not be told.`,
		Example: "  kubectl commitgate doctor --as $USER --as-group commitgate:admins --as-group system:masters",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			d, err := in.doctor()
			if err != nil {
				return err
			}
			findings := d.Examine(cmd.Context())
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), findings)
			} else {
				err = printFindings(cmd.OutOrStdout(), findings)
			}
			if err != nil {
				return unknown(err)
			}
			switch doctor.Worst(findings) {
			case doctor.Broken:
				return exit{code: exitNo}
			case doctor.Unknown:
				return exit{code: exitUnknown}
			}
			return nil
		},
	}
	in.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// printFindings shows each question with its answers, and at the end what to do.
func printFindings(w io.Writer, list []doctor.Finding) error {
	marks := map[doctor.State]string{doctor.OK: "ok", doctor.Warning: "warning", doctor.Broken: "BROKEN", doctor.Unknown: "unknown"}
	check, amiss := "", 0
	for _, f := range list {
		if f.Check != check {
			check = f.Check
			if _, err := fmt.Fprintln(w, check); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "  %-8s %s\n", marks[f.State], f.What); err != nil {
			return err
		}
		if f.State != doctor.OK {
			amiss++
		}
		if f.Do != "" {
			if _, err := fmt.Fprintf(w, "  %-8s -> %s\n", "", f.Do); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "\n%d answers, %d to look at\n", len(list), amiss)
	return err
}
