package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/doctor"
	"github.com/commitgate/commitgate/status"
)

// endsSoon is how near the end of a certificate is worth a line.
const endsSoon = 30 * 24 * time.Hour

func newStatus() *cobra.Command {
	var in installationFlags
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how a gate stands: replicas, repositories, grants, what needs somebody",
		Long: `Show how a gate stands, on one screen: its replicas, what each repository is verified to and by whom, mode, grants, exemptions that end, the
audit log, the last scan, and whether the webhook is as it was installed. The replicas are asked, through the API server or at --probe.
Exit status: 0 every replica is ready and nothing needs somebody, 1 something does, 2 usage, 3 no replica could be asked.`,
		Example: "  kubectl commitgate status --as $USER --as-group commitgate:admins --as-group system:masters",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			d, err := in.doctor()
			if err != nil {
				return err
			}
			replicas, err := d.Replicas(cmd.Context())
			if err != nil {
				return unknown(err)
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), replicas)
			} else {
				err = printStatus(cmd.OutOrStdout(), replicas)
			}
			if err != nil {
				return unknown(err)
			}
			return stands(replicas)
		},
	}
	in.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (a list of replicas)")
	return cmd
}

// stands is the exit status of replicas that were shown.
func stands(replicas []doctor.Replica) error {
	asked, amiss := 0, false
	for _, r := range replicas {
		if r.Report == nil {
			amiss = true
			continue
		}
		asked++
		amiss = amiss || !r.Report.Ready || len(r.Report.Attention(endsSoon)) > 0
	}
	switch {
	case asked == 0:
		return exit{code: exitUnknown}
	case amiss:
		return exit{code: exitNo}
	}
	return nil
}

func printStatus(out io.Writer, replicas []doctor.Replica) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if i := slices.IndexFunc(replicas, func(r doctor.Replica) bool { return r.Report != nil }); i >= 0 {
		printGate(w, replicas[i].Report)
	}
	fmt.Fprintln(w, "REPLICA\tREADY\tVERSION\tUP\tRECORDS\tDISK LEFT\tCOMMITS")
	for _, r := range replicas {
		if r.Report == nil {
			fmt.Fprintf(w, "%s\tunknown\t\t\t\t\t%s\n", r.Name, firstLine(r.Error))
			continue
		}
		x := r.Report
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", r.Name, yesNo(x.Ready), x.Version, age(x.Now.Sub(x.Started)), x.Audit.Records, diskLeft(x.Audit), commits(x))
	}
	amiss := false
	for _, r := range replicas {
		if r.Report == nil {
			continue
		}
		for _, sentence := range r.Report.Attention(endsSoon) {
			if !amiss {
				fmt.Fprintln(w, "\nneeds somebody:")
			}
			amiss = true
			fmt.Fprintf(w, "  %s: %s\n", r.Name, firstLine(sentence))
		}
	}
	return w.Flush()
}

// printGate shows what the replicas have in common, as one of them says it.
func printGate(w io.Writer, r *status.Report) {
	fmt.Fprintf(w, "gate %s\tcluster %s, mode %s, scope %s\n", r.Name, orDash(r.Cluster), r.Mode, r.Scope)
	for _, x := range r.Repositories {
		commit := "nothing is verified yet"
		if x.Commit != "" {
			commit = fmt.Sprintf("%s @ %s, signed by %s", x.Branch, x.Commit.Short(), orDash(strings.Join(x.Signers, ", ")))
		}
		if x.Committed != nil {
			commit += ", committed " + age(r.Now.Sub(*x.Committed)) + " ago"
		}
		heard := "never heard of"
		if x.Heard != nil {
			heard = "heard of " + age(r.Now.Sub(*x.Heard)) + " ago"
		}
		fmt.Fprintf(w, "repository %s\t%s; %s\n", x.Name, commit, heard)
	}
	fmt.Fprintf(w, "declared\t%d objects\n", r.Objects)
	for _, a := range r.Agents {
		seen := "not seen since the replica started"
		if a.Seen != nil {
			seen = "seen " + age(r.Now.Sub(*a.Seen)) + " ago"
		}
		fmt.Fprintf(w, "agent %s\t%s\n", a.Name, seen)
	}
	open := 0
	for _, g := range r.Grants {
		if g.State == "Active" {
			open++
			fmt.Fprintf(w, "grant %s\topen until %s, %d uses\n", g.Name, g.Expires.Format(time.DateTime), g.Uses)
		}
	}
	fmt.Fprintf(w, "grants\t%d, %d open\n", len(r.Grants), open)
	fmt.Fprintf(w, "exemptions\t%d, %d ended or about to\n", r.Exemptions, len(r.Ending))
	if r.Scan != nil {
		fmt.Fprintf(w, "last scan\t%s ago: %d untraced, %d drifted, %d missing\n", age(r.Now.Sub(r.Scan.Ended)), r.Scan.States["Untraced"], r.Scan.States["Drifted"], r.Scan.States["Missing"])
	}
	switch s := r.Registration; {
	case s == nil:
		fmt.Fprintln(w, "registration\tnobody watches it")
	case s.Sound():
		fmt.Fprintf(w, "registration\tas installed (%d objects)\n", len(s.Objects))
	default:
		fmt.Fprintln(w, "registration\tNOT as installed")
	}
	fmt.Fprintln(w)
}

func diskLeft(a status.Audit) string {
	if a.TotalBytes == 0 {
		return "-" // not measured yet
	}
	return fmt.Sprintf("%d GiB", a.FreeBytes>>30)
}

func commits(r *status.Report) string {
	var out []string
	for _, x := range r.Repositories {
		if x.Commit != "" {
			out = append(out, x.Name+"@"+x.Commit.Short())
		}
	}
	return orDash(strings.Join(out, " "))
}

// age is a duration as kubectl writes ages: its largest unit only.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
