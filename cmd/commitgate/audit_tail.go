package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
)

func newAuditTail() *cobra.Command {
	var follow bool
	var lines int
	var output string
	cmd := &cobra.Command{
		Use:   "tail DIR",
		Short: "Show the last records of an audit log",
		Long: `Show the last records of an audit log, a line each: time, outcome, operation, object, who asked,
the commit that says so, and the reason.`,
		Example: "  commitgate audit tail -f /var/lib/commitgate/audit",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			segments, err := audit.Segments(args[0])
			if errors.Is(err, fs.ErrNotExist) || err == nil && len(segments) == 0 && !follow {
				return usage("%s: no audit log here", args[0])
			}
			if err != nil {
				return unknown(err)
			}
			out := cmd.OutOrStdout()
			paint := painter(out == os.Stdout && isTerminal(os.Stdout))
			show := func(l audit.Line) error {
				if output == "json" {
					_, err := fmt.Fprintf(out, "%s\n", l.Text)
					return err
				}
				r, err := l.Decode()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(out, recordLine(r, paint))
				return err
			}
			last, err := showLast(segments, lines, show)
			if err != nil {
				return unknown(err)
			}
			if !follow {
				return nil
			}
			if err := audit.Follow(cmd.Context(), args[0], last, show); err != nil {
				return unknown(err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as records are written")
	cmd.Flags().IntVarP(&lines, "lines", "n", 20, "how many records")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// showLast shows the last n records, reading as few segments as it takes, and returns the last line that it read.
func showLast(segments []audit.Segment, n int, show func(audit.Line) error) (end audit.Line, err error) {
	var last []audit.Line
	for i := len(segments) - 1; i >= 0 && len(last) < max(n, 1); i-- {
		var here []audit.Line
		for l, err := range audit.Records(segments[i : i+1]) {
			if err != nil {
				return end, err
			}
			l.Text = slices.Clone(l.Text)
			if here = append(here, l); len(here) > max(n, 1) {
				here = here[1:]
			}
		}
		last = append(here, last...)
	}
	if len(last) > 0 {
		end = last[len(last)-1]
	}
	for _, l := range last[max(0, len(last)-n):] {
		if err := show(l); err != nil {
			return end, err
		}
	}
	return end, nil
}

// recordLine is a record for a person to read.
func recordLine(r audit.Record, paint func(color, string) string) string {
	at := r.Time.Format(time.RFC3339)
	if r.Decision == nil || r.Request == nil {
		text := string(r.Type)
		if r.Event != nil {
			text += "  " + plain(r.Event.Message)
		}
		if r.Outcome != nil {
			text += "  " + plain(strings.TrimSpace(r.Outcome.State+" "+r.Outcome.Of))
		}
		return fmt.Sprintf("%s  %s", at, paint(faint, text))
	}
	outcome := fmt.Sprintf("%-5s", r.Decision.Outcome)
	switch {
	case r.Emergency != nil:
		outcome = paint(yellow, outcome)
	case r.Decision.Outcome == "allow":
		outcome = paint(green, outcome)
	default:
		outcome = paint(red, outcome)
	}
	who, sha, path := "", strings.Repeat("-", 7), ""
	if r.Actor != nil {
		who = r.Actor.Username
	}
	if r.Origin != nil {
		sha = cmp.Or(r.Origin.Commit, r.Origin.Revision).Short()
		path = "  " + string(r.Origin.Path)
	}
	return fmt.Sprintf("%s  %s  %s  %-7s %s  %s  %s%s", at, outcome, plain(sha), plain(r.Request.Operation), plain(objectName(r.Request)),
		plain(who), plain(r.Decision.Reason), plain(path))
}

// plain replaces what does not print: names in records are other people's words, and a terminal obeys escape sequences.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return unicode.ReplacementChar
		}
		return c
	}, s)
}

// printable is plain, line by line: for texts of several lines.
func printable(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = plain(line)
	}
	return strings.Join(lines, "\n")
}

// objectName names the object of a request: Deployment shop/cart, Pod/exec shop/cart-0.
func objectName(q *audit.Request) string {
	kind := q.Kind
	if q.Subresource != "" {
		kind += "/" + q.Subresource
	}
	if q.Namespace != "" {
		return kind + " " + q.Namespace + "/" + q.Name
	}
	return kind + " " + q.Name
}

// color is an ANSI sequence.
type color string

const (
	red    color = "\x1b[31m"
	green  color = "\x1b[32m"
	yellow color = "\x1b[33m"
	faint  color = "\x1b[2m"
)

// painter colours text, or leaves it as it is.
func painter(on bool) func(color, string) string {
	return func(c color, s string) string {
		if !on {
			return s
		}
		return string(c) + s + "\x1b[0m"
	}
}

// isTerminal tells whether f is one, and its user did not ask for plain text (https://no-color.org).
func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
}
