package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/export"
)

func newAuditLog() *cobra.Command {
	var f recordFilter
	var output string
	cmd := &cobra.Command{
		Use:   "log DIR...",
		Short: "Search audit logs: by commit, by object, by person, by time",
		Long: `Show the records of one or more audit logs (one per replica), in the order of time, a line each: time,
outcome, commit, operation, object, who asked, reason, manifest.

All flags that are set must hold. What did a commit change? --commit. Which commits made an object?
--object. What did somebody do, write, sign or approve? --actor.

Exit status: 0 something was found, 1 nothing was, 2 usage, 3 a log could not be read.`,
		Example: `  commitgate audit log /var/lib/commitgate/audit --commit 3f2c1d9
  commitgate audit log /logs/gate-0 /logs/gate-1 --object Deployment/shop/cart --from 2026-07-01`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var format export.Format
			out := cmd.OutOrStdout()
			switch output {
			case "table":
				format = recordTable{painter(out == os.Stdout && isTerminal(os.Stdout))}
			case "json":
				format = recordJSON{}
			default:
				return usage("-o %s: want table or json", output)
			}
			filter, err := f.parse()
			if err != nil {
				return err
			}
			logs, err := openLogs(args, filter)
			if err != nil {
				return err
			}
			t, err := export.Write(cmd.Context(), out, logs, filter, format, nil)
			if err != nil {
				return unknown(err)
			}
			if t.Count == 0 {
				return exit{exitNo, nil}
			}
			return nil
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// openLogs opens the logs in dirs; a folder without one is the user's mistake.
func openLogs(dirs []string, filter audit.Filter) ([]export.Log, error) {
	logs, err := export.OpenLogs(dirs, filter)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, export.ErrNoLog), errors.Is(err, export.ErrTwice):
		return nil, usage("%w", err)
	case err != nil:
		return nil, unknown(err)
	}
	return logs, nil
}

// recordTable shows records to a person.
type recordTable struct{ paint func(color, string) string }

// Header implements export.Format.
func (recordTable) Header(io.Writer) error { return nil }

// Record implements export.Format.
func (t recordTable) Record(out, _ []byte, r *audit.Record) ([]byte, error) {
	return append(append(out, recordLine(*r, t.paint)...), '\n'), nil
}

// Trailer implements export.Format.
func (recordTable) Trailer(w io.Writer, t export.Trailer) error {
	_, err := fmt.Fprintf(w, "%d of %d records\n", t.Count, t.Read)
	return err
}

// recordJSON shows records as they are, and nothing else.
type recordJSON struct{ export.JSONLines }

// Trailer implements export.Format.
func (recordJSON) Trailer(io.Writer, export.Trailer) error { return nil }
