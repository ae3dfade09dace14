package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
)

func newAuditVerify() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "verify DIR|FILE",
		Short: "Check that an audit log is whole and unchanged",
		Long: `Check each record of an audit log: that its content is what its sum says, that it follows the
one before it, and that none is missing between the first and the last.

DIR is the folder of a log, or of one of its shards; FILE is one segment.

Exit status: 0 the log is sound, 1 it is not and the first bad record was named, 2 usage,
3 it could not be read.`,
		Example: "  commitgate audit verify /var/lib/commitgate/audit",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			report, err := audit.Verify(args[0], nil)
			if errors.Is(err, fs.ErrNotExist) {
				return usage("%w", err)
			}
			if err != nil {
				return unknown(err)
			}
			if err := printReport(cmd.OutOrStdout(), report, output); err != nil {
				return unknown(err)
			}
			if len(report.Problems) > 0 {
				return exit{exitNo, nil}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func printReport(w io.Writer, r audit.Report, output string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	if len(r.Problems) == 0 {
		fmt.Fprintf(&b, "sound: %d records, %d to %d\n", r.Records, r.First, r.Last)
	} else {
		fmt.Fprintf(&b, "NOT SOUND: %s\n", r.Problems[0])
		for _, p := range r.Problems[1:] {
			fmt.Fprintf(&b, "           %s\n", p)
		}
		fmt.Fprintf(&b, "read %d records, %d to %d\n", r.Records, r.First, r.Last)
	}
	fmt.Fprintf(&b, "log:      %s\n", r.Origin)
	if !r.From.IsZero() {
		fmt.Fprintf(&b, "period:   %s to %s\n", r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "segments: %d in %s\nlast sum: %s\n", r.Segments, strings.Join(r.Shards, ", "), r.LastSum)
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note:     %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
