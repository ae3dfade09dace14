package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
)

// recordFilter is the flags by which records are chosen.
type recordFilter struct {
	from, to, object string
	types            []string
	filter           audit.Filter
}

func (f *recordFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "earliest time: 2026-07-01 (UTC), or RFC 3339")
	cmd.Flags().StringVar(&f.to, "to", "", "latest time; a day is meant to its end")
	cmd.Flags().StringVar(&f.filter.Namespace, "namespace", "", "namespace of the object")
	cmd.Flags().StringVar(&f.object, "object", "", "KIND/NAME, or KIND/NAMESPACE/NAME")
	cmd.Flags().StringVar(&f.filter.Commit, "commit", "", "the commit that says so, or the revision: a prefix")
	cmd.Flags().StringVar(&f.filter.Path, "path", "", "manifest in Git, or a folder above it")
	cmd.Flags().StringVar(&f.filter.Person, "actor", "", "who asked, or author, signer or approver of the commit: a part of the name")
	cmd.Flags().StringVar(&f.filter.Outcome, "outcome", "", "allow, deny, retry or error")
	cmd.Flags().StringVar(&f.filter.Reason, "reason", "", "as in docs/reasons.md")
	cmd.Flags().StringVar(&f.filter.Control, "control", "", "a control that the record is evidence for: CC8.1")
	cmd.Flags().StringSliceVar(&f.types, "type", nil, "types of records: decision, revision.published, …")
}

// parse reads the flags.
func (f *recordFilter) parse() (audit.Filter, error) {
	var err error
	if f.filter.From, err = parseTime(f.from, false); err != nil {
		return f.filter, usage("--from: %w", err)
	}
	if f.filter.To, err = parseTime(f.to, true); err != nil {
		return f.filter, usage("--to: %w", err)
	}
	if !f.filter.To.IsZero() && f.filter.To.Before(f.filter.From) {
		return f.filter, usage("--to is before --from")
	}
	for _, t := range f.types {
		f.filter.Types = append(f.filter.Types, audit.Type(t))
	}
	if f.object != "" {
		parts := strings.Split(f.object, "/")
		switch {
		case len(parts) == 2:
			f.filter.Kind, f.filter.Name = parts[0], parts[1]
		case len(parts) == 3 && (f.filter.Namespace == "" || f.filter.Namespace == parts[1]):
			f.filter.Kind, f.filter.Namespace, f.filter.Name = parts[0], parts[1], parts[2]
		default:
			return f.filter, usage("--object %s: want KIND/NAME or KIND/NAMESPACE/NAME", f.object)
		}
	}
	return f.filter, nil
}

// parseTime reads a time, or a day in UTC: its beginning, or the beginning of the next one if the end is meant.
func parseTime(s string, end bool) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		if end {
			day = day.AddDate(0, 0, 1)
		}
		return day, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither a day (2026-07-01) nor a time (2026-07-01T08:00:00Z)", s)
	}
	return t, nil
}
