package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/export"
	"github.com/commitgate/commitgate/audit/report"
	"github.com/commitgate/commitgate/audit/seal"
)

// exportReport prints the report to read. With keys the logs are verified first, and a log that is not sound gets none.
func exportReport(cmd *cobra.Command, dirs []string, filter audit.Filter, to, title string, keys []string) error {
	logs, err := openLogs(dirs, filter)
	if err != nil {
		return err
	}
	verified, err := verifyAll(dirs, keys)
	if err != nil {
		return err
	}
	subject := report.Subject{
		Title: cmp.Or(title, "Changes of the cluster"), From: filter.From, To: filter.To, Filter: filterWords(filter), Verified: verified, Now: time.Now(),
	}
	counter := report.New()
	if subject.Trailer, err = export.Write(cmd.Context(), io.Discard, logs, filter, export.Discard{}, counter.Add); err != nil {
		return unknown(err)
	}
	return writeOut(cmd.OutOrStdout(), to, func(w io.Writer) error {
		if err := counter.Write(w, subject); err != nil {
			return unknown(err)
		}
		return nil
	})
}

// verifyAll verifies logs and says how, for the report; without keys it does not.
func verifyAll(dirs, keys []string) (string, error) {
	if len(keys) == 0 {
		return "", nil
	}
	options, err := verifyOptions(keys, nil)
	if err != nil {
		return "", usage("--key: %w", err)
	}
	var signers []string
	records := uint64(0)
	for _, dir := range dirs {
		r, sealed, err := seal.Verify(dir, options)
		if err != nil {
			return "", unknown(err)
		}
		if len(r.Problems) > 0 {
			return "", exit{exitNo, fmt.Errorf("%s is not sound: %s", dir, r.Problems[0])}
		}
		records += r.Records
		for _, s := range sealed {
			if len(s.SignedBy) == 0 {
				return "", exit{exitNo, fmt.Errorf("%s: shard %s has no checkpoint", dir, s.Shard)}
			}
			signers = append(signers, s.SignedBy...)
		}
	}
	return fmt.Sprintf("All %d records of the logs were verified when this report was made: whole, unchanged, and as sealed by %s.",
		records, plain(strings.Join(unique(signers), ", "))), nil
}

// unique drops repetitions, and keeps the order.
func unique(names []string) (out []string) {
	seen := map[string]bool{}
	for _, n := range names {
		if !seen[n] {
			out = append(out, n)
		}
		seen[n] = true
	}
	return out
}

// filterWords says what was asked for beside the period.
func filterWords(f audit.Filter) string {
	f.From, f.To = time.Time{}, time.Time{}
	if f.All() {
		return ""
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err.Error()
	}
	var set map[string]any
	if err := json.Unmarshal(b, &set); err != nil {
		return err.Error()
	}
	var words []string
	for _, name := range []string{"Namespace", "Kind", "Name", "Commit", "Path", "Person", "Outcome", "Reason", "Control", "Types"} {
		if v := set[name]; v != nil && v != "" {
			words = append(words, fmt.Sprintf("%s %v", strings.ToLower(name), v))
		}
	}
	return strings.Join(words, ", ")
}
