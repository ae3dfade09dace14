package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// maxRefusals is how many refused commits a summary shows: the first ones tell what is to be done.
const maxRefusals = 20

// JSON writes the report as one JSON document.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Summary writes who signed how much, the first refused commits, and a last line that tells it all.
func (r *Report) Summary(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Signers) > 0 {
		fmt.Fprintln(t, "SIGNER\tKIND\tKEY\tCOMMITS")
		for _, s := range r.Signers {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", clean(string(s.Principal)), s.Kind, s.Key, s.Commits)
		}
		fmt.Fprintln(t)
	}
	shown := 0
	for _, c := range r.Commits {
		if c.Verdict != "refused" || shown == maxRefusals {
			continue
		}
		if shown == 0 {
			fmt.Fprintln(t, "REFUSED\tAUTHOR\tCAUSE\tWHY")
		}
		shown++
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.Commit.Short(), clean(c.Author), c.Cause, clean(c.Why))
	}
	if shown > 0 {
		if r.Refused > shown {
			fmt.Fprintf(t, "… and %d more\n", r.Refused-shown)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.verdict(w)
}

// Table writes a line for each commit, and the last line of the summary.
func (r *Report) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COMMIT\tSIGNER\tKIND\tRULE\tVERDICT\tWHY")
	fmt.Fprintf(t, "%s\t-\tAnchor\t-\tvouched for\t\n", r.Anchor.Short())
	for _, c := range r.Commits {
		signer, kind := "-", "-"
		if len(c.Signatures) > 0 {
			var who, kinds []string
			for _, s := range c.Signatures {
				who, kinds = append(who, clean(string(s.Principal))), append(kinds, string(s.Kind))
			}
			signer, kind = strings.Join(who, " + "), strings.Join(kinds, " + ")
		}
		why := clean(c.Subject)
		if c.Verdict == "refused" {
			why = string(c.Cause) + ": " + clean(c.Why)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Commit.Short(), signer, kind, clean(ruleNames(c.Rules)), c.Verdict, why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.verdict(w)
}

func ruleNames(rules []string) string {
	if len(rules) == 0 {
		return "-"
	}
	return strings.Join(rules, "; ")
}

// Explanation writes all that is known of the one commit of the report.
func (r *Report) Explanation(w io.Writer) error {
	c := r.Commits[0]
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "commit\t%s\nsubject\t%s\nauthor\t%s (as the commit says)\n", c.Commit, clean(c.Subject), clean(c.Author))
	for i, s := range c.Signatures {
		what := "signed by"
		if i > 0 {
			what = "merges"
		}
		fmt.Fprintf(t, "%s\t%s, %s key %s\n", what, clean(string(s.Principal)), s.Kind, s.Key)
	}
	if c.Merged > 0 {
		fmt.Fprintf(t, "brings in\t%d commits\n", c.Merged)
	}
	for _, p := range c.Paths {
		verdict := "enough"
		if !p.Enough {
			verdict = "NOT ENOUGH"
		}
		rule := "no rule"
		if p.Rule != "" {
			rule = fmt.Sprintf("%s takes %d", p.Rule, p.Threshold)
		}
		var who []string
		for _, name := range p.Counted {
			who = append(who, clean(string(name)))
		}
		fmt.Fprintf(t, "path\t%s: %s; counted: %s; %s\n", clean(string(p.Path)), clean(rule), strings.Join(who, ", "), verdict)
	}
	fmt.Fprintf(t, "verdict\t%s\n", c.Verdict)
	if c.Why != "" {
		fmt.Fprintf(t, "why\t%s (%s)\n", clean(c.Why), c.Cause)
	}
	return t.Flush()
}

func (r *Report) verdict(w io.Writer) error {
	line := fmt.Sprintf("%s: all %d commits since the anchor %s are good", clean(r.Branch), r.Good, r.Anchor.Short())
	if r.Refused > 0 {
		line = fmt.Sprintf("%s: %d of %d commits since the anchor %s are REFUSED, first %s", clean(r.Branch), r.Refused, r.Good+r.Refused, r.Anchor.Short(), r.firstRefused().Short())
	}
	ended := 0
	for _, c := range r.Commits {
		if c.Cause == signing.CauseExpired {
			ended++
		}
	}
	if ended > 0 {
		line += fmt.Sprintf("\n%d of them because keys have ended: --at TIME judges keys as of a time when they had not", ended)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

func (r *Report) firstRefused() git.ID {
	for _, c := range r.Commits {
		if c.Verdict == "refused" {
			return c.Commit
		}
	}
	return ""
}

// clean keeps what a commit says from moving the cursor of who reads it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
