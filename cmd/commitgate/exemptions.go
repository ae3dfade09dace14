package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
)

func newExemptions() *cobra.Command {
	var config, log, output string
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "exemptions --config FILE|DIR",
		Short: "List the exemptions of a gate, when they end, and whether anybody uses them",
		Long: `List the exemptions of a gate: for whom, for what, why, and when they end. With --log the decisions of an audit log are counted: an
exemption that nobody uses can go. Those that only explain fields of what an agent applies are not counted there.
Exit status: 0 none has ended or ends within --ending-within, 1 some (they are marked), 2 usage, 3 could not tell.`,
		Example: "  commitgate exemptions --config gate.yaml --log /var/lib/commitgate/audit --ending-within 720h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case config == "":
				return usage("--config is required; see commitgate exemptions --help")
			case output != "table" && output != "json":
				return usage("-o %s: want table or json", output)
			case within < 0:
				return usage("--ending-within: negative")
			}
			cfg, err := v1alpha1.Load(config)
			if err != nil {
				return usage("configuration:\n%w", err)
			}
			now := time.Now()
			rows := standExemptions(cfg.Gate.Spec.Exemptions, now, within)
			if log != "" {
				if err := countUses(rows, log); err != nil {
					return err
				}
			}
			if output == "json" {
				err = writeExemptions(cmd.OutOrStdout(), rows)
			} else {
				err = printExemptions(cmd.OutOrStdout(), rows, log != "", cfg.Gate.Spec.ExemptionSummary(now))
			}
			if err != nil {
				return unknown(err)
			}
			if slices.ContainsFunc(rows, func(r exemptionRow) bool { return r.State != exemptionOpen }) {
				return exit{code: exitNo}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "file or folder with the Gate and its TrustedRepositories (required)")
	cmd.Flags().StringVar(&log, "log", "", "folder of an audit log, to count uses in")
	cmd.Flags().DurationVar(&within, "ending-within", v1alpha1.ExemptionNotice, "mark those that end within this time")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (a line per exemption)")
	return cmd
}

// Where an exemption stands.
const (
	exemptionOpen  = "Open"
	exemptionSoon  = "EndsSoon"
	exemptionEnded = "Ended"
)

// exemptionRow is an exemption as exemptions shows it.
type exemptionRow struct {
	v1alpha1.Exemption
	State string     `json:"state"`
	Uses  *int       `json:"uses,omitempty"` // nil: no log was asked
	Last  *time.Time `json:"lastUsed,omitempty"`
}

func standExemptions(exemptions []v1alpha1.Exemption, now time.Time, within time.Duration) []exemptionRow {
	rows := make([]exemptionRow, len(exemptions))
	for i := range exemptions {
		rows[i] = exemptionRow{Exemption: exemptions[i], State: exemptionOpen}
		switch e := &exemptions[i]; {
		case e.Ended(now):
			rows[i].State = exemptionEnded
		case e.EndsSoon(now, within):
			rows[i].State = exemptionSoon
		}
	}
	return rows
}

// countUses counts the requests that an audit log says passed by each exemption.
func countUses(rows []exemptionRow, dir string) error {
	byName := map[string]*exemptionRow{}
	for i := range rows {
		rows[i].Uses = new(int)
		byName[rows[i].Name] = &rows[i]
	}
	segments, err := audit.Segments(dir)
	if err != nil {
		return usage("%w", err)
	}
	for line, err := range audit.Records(segments) {
		if err != nil {
			return unknown(err)
		}
		r, err := line.Decode()
		if err != nil {
			return unknown(err)
		}
		if r.Decision == nil || byName[r.Decision.Exemption] == nil {
			continue
		}
		row, at := byName[r.Decision.Exemption], r.Time
		*row.Uses++
		row.Last = &at
	}
	return nil
}

func writeExemptions(w io.Writer, rows []exemptionRow) error {
	e := json.NewEncoder(w)
	for _, r := range rows {
		if err := e.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

func printExemptions(w io.Writer, rows []exemptionRow, counted bool, summary string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "NAME\tSTATE\tENDS\tWHO\tWHAT\t")
	if counted {
		fmt.Fprint(t, "USES\tLAST\t")
	}
	fmt.Fprintln(t, "REASON")
	for _, r := range rows {
		ends, last := "never", "-"
		if r.Expires != nil {
			ends = r.Expires.UTC().Format(time.RFC3339)
		}
		if r.Last != nil {
			last = r.Last.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t", plain(r.Name), r.State, ends, plain(whoIsExempt(&r.Exemption)), plain(whatIsExempt(&r.Exemption)))
		if counted {
			fmt.Fprintf(t, "%d\t%s\t", *r.Uses, last)
		}
		fmt.Fprintln(t, plain(r.Reason))
	}
	fmt.Fprintf(t, "\n%s\n", summary)
	return t.Flush()
}

func whoIsExempt(e *v1alpha1.Exemption) string {
	who := slices.Clone(e.Users)
	for _, g := range e.Groups {
		who = append(who, "group "+g)
	}
	if len(who) == 0 {
		return "everybody"
	}
	return strings.Join(who, ", ")
}

func whatIsExempt(e *v1alpha1.Exemption) string {
	what := "everything"
	if len(e.Kinds) > 0 {
		what = strings.Join(e.Kinds, ",")
	}
	for _, part := range []struct {
		word  string
		items []string
	}{{" ", e.Names}, {" in ", e.Namespaces}, {" by ", e.Operations}, {" at ", e.Subresources}, {": ", e.Fields}} {
		if len(part.items) > 0 {
			what += part.word + strings.Join(part.items, ",")
		}
	}
	return what
}

// exemptionTick is how soon somebody is told in the log that an exemption is about to end, or has ended.
const exemptionTick = time.Minute

// watchExemptions warns in the log once of each exemption that is about to end, and once when it has ended, until the context ends.
func watchExemptions(ctx context.Context, exemptions func() []v1alpha1.Exemption, log *slog.Logger) {
	tick := time.NewTicker(exemptionTick)
	defer tick.Stop()
	told := map[string]string{}
	for {
		tellExemptions(exemptions(), told, time.Now(), log)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tellExemptions logs the state of the exemptions where it is another than was told, by name.
func tellExemptions(exemptions []v1alpha1.Exemption, told map[string]string, now time.Time, log *slog.Logger) {
	for _, r := range standExemptions(exemptions, now, v1alpha1.ExemptionNotice) {
		if r.State == told[r.Name] {
			continue
		}
		told[r.Name] = r.State
		switch r.State {
		case exemptionSoon:
			log.Warn("an exemption is about to end", "exemption", r.Name, "ends", r.Expires.UTC(), "reason", r.Reason)
		case exemptionEnded:
			log.Warn("an exemption has ended", "exemption", r.Name, "ended", r.Expires.UTC(), "reason", r.Reason)
		}
	}
}

// exemptionMetrics tell when exemptions end. Their labels are bounded by the configuration.
func exemptionMetrics(exemptions []v1alpha1.Exemption) prometheus.Collector {
	ends := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "gate_exemption_end_timestamp_seconds",
		Help: "When an exemption ends or ended, by its name; those without an end are left out.",
	}, []string{"exemption"})
	for i := range exemptions {
		if e := &exemptions[i]; e.Expires != nil {
			ends.WithLabelValues(e.Name).Set(float64(e.Expires.Unix()))
		}
	}
	return ends
}
