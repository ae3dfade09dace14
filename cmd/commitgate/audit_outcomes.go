package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit/outcome"
)

func newAuditOutcomes() *cobra.Command {
	var events, exclude []string
	var output, webhook, namespace, from, to, failOn string
	var window time.Duration
	cmd := &cobra.Command{
		Use:   "outcomes DIR... --events FILE",
		Short: "Join audit logs with the API server's own audit log: does each change have its decision?",
		Long: `Join the decisions of audit logs (one per replica, all of them) with the events of the API server's own
audit log (audit.k8s.io/v1, one JSON object per line; rotated files in order, the oldest first), and
name each persisted change that nobody judged, and each allowed request that the events do not tell of.

The API server joins them itself: it writes the id of our record into its event. A finding is critical (a
change without its decision, or against it), high (a webhook or admission policy was changed) or low (the
events do not tell of an allowed request: they have a gap).

Exit status: 0 no finding of the severity of --fail-on or a graver one, 1 there is one, or there were no
events, 2 usage, 3 something could not be read.`,
		Example: `  commitgate audit outcomes /logs/gate-0 /logs/gate-1 --events /var/log/kubernetes/audit.log`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			if len(events) == 0 {
				return usage("--events FILE: where is the API server's audit log?")
			}
			if !slices.Contains(outcome.Severities(), outcome.Severity(failOn)) {
				return usage("--fail-on %s: want critical, high or low", failOn)
			}
			var findings []outcome.Finding
			cfg := outcome.Config{Exclusions: outcome.Shipped(namespace), Webhook: webhook, Window: window, Finding: func(f outcome.Finding) {
				if len(findings) < maxFindings {
					findings = append(findings, f)
				}
			}}
			var err error
			if cfg.From, err = parseTime(from, false); err != nil {
				return usage("--from: %w", err)
			}
			if cfg.Until, err = parseTime(to, true); err != nil {
				return usage("--to: %w", err)
			}
			for _, x := range exclude {
				cfg.Exclusions = append(cfg.Exclusions, exclusion(x))
			}
			totals, err := outcome.Join(cmd.Context(), args, events, cfg)
			if errors.Is(err, fs.ErrNotExist) {
				return usage("%w", err)
			}
			if err != nil {
				return unknown(err)
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), map[string]any{"complete": totals.Complete(), "totals": totals, "findings": findings})
			} else {
				err = printOutcomes(cmd.OutOrStdout(), totals, findings)
			}
			if err != nil {
				return unknown(err)
			}
			if totals.Events == 0 || totals.Grave(outcome.Severity(failOn)) > 0 {
				return exit{exitNo, nil}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&events, "events", nil, "file of the API server's audit log")
	cmd.Flags().StringVar(&from, "from", "", "earliest event: 2026-07-01 (UTC), or RFC 3339; what came before the gate was installed has no decision")
	cmd.Flags().StringVar(&to, "to", "", "latest event; a day is meant to its end")
	cmd.Flags().StringArrayVar(&exclude, "exclude", nil, "RESOURCE.GROUP[@NAMESPACE] that the webhook leaves out, beside what the configuration that we ship does")
	cmd.Flags().StringVar(&namespace, "gate-namespace", "commitgate", "namespace that the gate runs in, whose pods the webhook is not asked about")
	cmd.Flags().StringVar(&webhook, "webhook", outcome.DefaultWebhook, "name of the gate's webhook in its configuration")
	cmd.Flags().DurationVar(&window, "window", time.Hour, "how far a decision and its event may lie apart")
	cmd.Flags().StringVar(&failOn, "fail-on", string(outcome.Critical), "least severity of a finding that makes the exit status 1: critical, high or low")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// maxFindings is how many findings are listed; all are counted.
const maxFindings = 1000

// exclusion reads deployments.apps@shop.
func exclusion(s string) outcome.Exclusion {
	rule, namespace, _ := strings.Cut(s, "@")
	resource, group, _ := strings.Cut(rule, ".")
	return outcome.Exclusion{Group: group, Resource: resource, Namespace: namespace, Why: "--exclude " + s}
}

func printOutcomes(w io.Writer, t outcome.Totals, findings []outcome.Finding) error {
	var b strings.Builder
	switch {
	case t.Complete():
		b.WriteString("complete: each persisted change has its decision\n")
	case t.Events > 0 && t.Grave(outcome.Critical) == 0:
		b.WriteString("each persisted change that the events tell of has its decision; THE EVENTS HAVE A GAP\n")
	default:
		b.WriteString("NOT COMPLETE\n")
	}
	fmt.Fprintf(&b, "events:    %d (%d reads and dry-runs, %d refused, %d persisted changes)\n", t.Events, t.Reads, t.Refusals, t.Changes)
	fmt.Fprintf(&b, "joined:    %d changes with their decision, of %d decisions\n", t.Joined, t.Decisions)
	for _, why := range slices.Sorted(maps.Keys(t.Excluded)) {
		fmt.Fprintf(&b, "excluded:  %d %s\n", t.Excluded[why], plain(why))
	}
	for _, kind := range slices.Sorted(maps.Keys(t.Findings)) {
		fmt.Fprintf(&b, "findings:  %d %s\n", t.Findings[kind], kind)
	}
	for _, f := range findings {
		fmt.Fprintf(&b, "%s  %-8s  %-14s  %s %s  %s: %s\n", f.At.Format(time.RFC3339), f.Severity, f.Kind, plain(f.Verb), plain(f.Object), plain(f.User), f.What)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
