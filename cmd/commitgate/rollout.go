package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
)

func newRollout() *cobra.Command {
	var from, output string
	cmd := &cobra.Command{
		Use:   "rollout LOG...",
		Short: "Show who would have been refused, and how often, before you enforce",
		Long: `Show who would have been refused, and how often, from the audit logs of a gate in mode Audit or Warn: what it let pass although an enforcing
gate would not have. Each line is somebody to talk to, a manifest to move into Git, or an exemption to write.

Exit status: 0 nobody would have been refused, 1 somebody would, 2 usage, 3 a log could not be read.`,
		Example: "  commitgate rollout --from 2026-11-14 /logs/gate-0/audit /logs/gate-1/audit",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			since, err := parseTime(from, false)
			if err != nil {
				return usage("--from: %w", err)
			}
			list, judged, err := wouldRefuse(args, since)
			if err != nil {
				return err
			}
			if err := showRollout(cmd, list, judged, output); err != nil {
				return unknown(err)
			}
			if len(list) > 0 {
				return exit{code: exitNo}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "earliest time: 2026-07-01 (UTC), or RFC 3339")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (a line per row)")
	return cmd
}

// wouldBe is what somebody does that an enforcing gate refuses: one row of the report.
type wouldBe struct {
	Namespace string `json:"namespace"` // "" for cluster-scoped objects
	User      string `json:"user"`
	Operation string `json:"operation"` // with the subresource, if there is one
	Kind      string `json:"kind"`
	Reason    string `json:"reason"`
}

// rolloutRow is a row with how often, and when it was last seen.
type rolloutRow struct {
	wouldBe
	Count  int       `json:"count"`
	Last   time.Time `json:"last"`
	Object string    `json:"object"` // of the last time
	Path   string    `json:"path,omitempty"`
}

// wouldRefuse reads the decisions that were allowed although the verdict was another one.
func wouldRefuse(dirs []string, since time.Time) (rows []rolloutRow, judged int, err error) {
	found := map[wouldBe]*rolloutRow{}
	for _, dir := range dirs {
		segments, err := audit.Segments(dir)
		if err != nil {
			return nil, 0, usage("%w", err)
		}
		if segments, err = audit.Between(segments, since, time.Time{}); err != nil {
			return nil, 0, unknown(err)
		}
		for line, err := range audit.Records(segments) {
			if err != nil {
				return nil, 0, unknown(err)
			}
			r, err := line.Decode()
			if err != nil {
				return nil, 0, unknown(err)
			}
			if r.Type != audit.TypeDecision || r.Time.Before(since) || r.Decision == nil || r.Request == nil || r.Actor == nil {
				continue
			}
			judged++
			if r.Decision.Outcome == "allow" && r.Decision.Verdict != "allow" {
				count(found, r)
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(found), func(a, b wouldBe) int {
		return cmp.Or(found[b].Count-found[a].Count, cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.User, b.User), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Reason, b.Reason))
	}) {
		rows = append(rows, *found[key])
	}
	return rows, judged, nil
}

func count(found map[wouldBe]*rolloutRow, r audit.Record) {
	operation := strings.TrimSuffix(r.Request.Operation+"/"+r.Request.Subresource, "/")
	key := wouldBe{r.Request.Namespace, r.Actor.Username, operation, r.Request.Kind, r.Decision.Reason}
	row := found[key]
	if row == nil {
		row = &rolloutRow{wouldBe: key}
		found[key] = row
	}
	row.Count++
	if r.Time.After(row.Last) {
		row.Last, row.Object = r.Time, r.Request.Name
		if r.Origin != nil {
			row.Path = string(r.Origin.Path)
		}
	}
}

func showRollout(cmd *cobra.Command, rows []rolloutRow, judged int, output string) error {
	out := cmd.OutOrStdout()
	if output == "json" {
		e := json.NewEncoder(out)
		for _, row := range rows {
			if err := e.Encode(row); err != nil {
				return err
			}
		}
		return nil
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintf(out, "%d requests were judged, and nobody would have been refused: set the next mode\n", judged)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIMES\tNAMESPACE\tWHO\tWHAT\tREASON\tLAST\tE.G.\tIN GIT")
	for _, r := range rows {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", r.Count, cmp.Or(r.Namespace, "-"), printable(r.User), r.Operation, r.Kind, r.Reason,
			r.Last.UTC().Format(time.RFC3339), printable(r.Object), printable(cmp.Or(r.Path, "-")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d requests were judged; an enforcing gate would have refused %d of them\n", judged, total(rows))
	return err
}

func total(rows []rolloutRow) int {
	n := 0
	for _, r := range rows {
		n += r.Count
	}
	return n
}
