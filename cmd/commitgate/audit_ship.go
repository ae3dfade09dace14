package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit/ship"
)

func newAuditShip() *cobra.Command {
	var to, output string
	cmd := &cobra.Command{
		Use:   "ship DIR --to URL",
		Short: "Copy a sealed audit log to an object store or a database",
		Long: `Copy what is sealed of an audit log, with its checkpoints, to where the gate has no power over it. The destination
says how far it is, so an interrupted copy goes on without a gap. serve does the same with --audit-ship.

  s3://BUCKET/PREFIX?region=…&endpoint=HOST&lock=9600h   each object under Object Lock (compliance mode) for that long
  postgres://USER@HOST/DATABASE                          tables commitgate_records and commitgate_checkpoints

Credentials come from the environment and the usual files (AWS_ACCESS_KEY_ID …, PGPASSWORD, ~/.pgpass).`,
		Example: "  commitgate audit ship /var/lib/commitgate/audit --to 's3://evidence/prod?region=eu-central-1&lock=9600h'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			if to == "" {
				return usage("--to URL: where to?")
			}
			destination, err := ship.Open(cmd.Context(), to)
			if err != nil {
				return usage("--to: %w", err)
			}
			defer destination.Close()
			r, err := ship.Log(cmd.Context(), args[0], destination)
			if err != nil {
				return unknown(err)
			}
			if output == "json" {
				return unknownIf(writeJSON(cmd.OutOrStdout(), r))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d records shipped, it holds all to %d\n", plain(r.Origin), r.Records, r.Last)
			return unknownIf(err)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "destination")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// unknownIf is unknown, or nil if err is nil.
func unknownIf(err error) error {
	if err == nil {
		return nil
	}
	return unknown(err)
}
