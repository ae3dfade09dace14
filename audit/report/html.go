package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/audit/export"
)

//go:embed report.html.tmpl
var page string

// Subject is what a report is about.
type Subject struct {
	Title    string
	From, To time.Time // as asked; zero: no bound
	Filter   string    // what else was asked for, in words
	Trailer  export.Trailer
	// Verified says how the logs were verified before, or is empty if they were not.
	Verified string
	// Now is when the report is made: reviews that are due before are overdue.
	Now time.Time
}

// view is what the page shows.
type view struct {
	Subject
	Changes, Noops, Refusals, Emergencies, Exceptions, Unverified, NotEnforced uint64
	FourEyes                                                                   uint64
	FourEyesShare                                                              float64
	Repositories, Namespaces, Authors, Approvers, Signers, Kinds               []row
	Reasons, Refused, Exemptions, Outcomes, Findings                           []row
	Controls                                                                   []controlRow
	Grants                                                                     []grantRow
	Alone, Listed                                                              []change
	Gaps, Trust                                                                []event
	Cut                                                                        map[string]uint64
	Chart                                                                      chart
}

type controlRow struct {
	ID, Framework, Title string
	Count                uint64
}

type grantRow struct {
	grant
	Review string
	Late   bool
}

// Write prints the report as one HTML page that needs nothing else.
func (c *Counter) Write(w io.Writer, s Subject) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"clean":   clean,
		"stamp":   func(t time.Time) string { return stamp(t, time.RFC3339) },
		"percent": func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) },
		"width":   func(f float64) string { return fmt.Sprintf("%.1f", 120*f) },
	}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, c.view(s))
}

func stamp(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(layout)
}

func (c *Counter) view(s Subject) view {
	v := view{
		Subject: s, Changes: c.changes, Noops: c.noops, Refusals: c.refusals, Emergencies: c.emergencies, Exceptions: c.exceptions,
		Unverified: c.unverified, NotEnforced: c.notEnforced, FourEyes: c.fourEyes,
		Repositories: c.repositories.top(), Namespaces: c.namespaces.top(), Authors: c.authors.top(), Approvers: c.approvers.top(),
		Signers: c.signers.top(), Kinds: c.kinds.top(), Reasons: c.reasons.top(), Refused: c.refused.top(), Exemptions: c.exemptions.top(),
		Outcomes: c.outcomes.top(), Findings: c.findings.top(), Alone: c.alone, Listed: c.listed, Gaps: c.gaps, Trust: c.trust, Cut: c.cut,
		Chart: newChart(c.days),
	}
	if c.changes > 0 {
		v.FourEyesShare = float64(c.fourEyes) / float64(c.changes)
	}
	for _, k := range c.controlM {
		v.Controls = append(v.Controls, controlRow{k.ID, k.Framework, k.Title, c.controls[k.ID]})
	}
	for _, id := range c.order {
		v.Grants = append(v.Grants, newGrantRow(*c.grants[id], s.Now))
	}
	return v
}

// newGrantRow says how the follow-up of an emergency stands.
func newGrantRow(g grant, now time.Time) grantRow {
	r := grantRow{grant: g}
	switch {
	case g.ReviewedBy != "":
		r.Review = "by " + g.ReviewedBy
	case g.ReviewDue.IsZero():
		r.Review = "none recorded"
		r.Late = g.Changes > 0
	case now.After(g.ReviewDue):
		r.Review, r.Late = "overdue since "+g.ReviewDue.UTC().Format(time.DateOnly), true
	default:
		r.Review = "due " + g.ReviewDue.UTC().Format(time.DateOnly)
	}
	return r
}

// chart is the changes over time as bars.
type chart struct {
	Width, Height int
	Unit          string
	Max           uint64
	Bars          []bar
}

// bar is one unit of time: the parts lie on each other. Numbers are pixels, but for the counts.
type bar struct {
	X, W                           int
	Label                          string
	Changes, Refusals, Emergencies part
}

type part struct {
	Y, H  int
	Count uint64
}

const (
	chartHeight = 160
	chartWidth  = 720
	maxBars     = 92 // a quarter of days
)

// newChart draws the days, or weeks or months where there are many.
func newChart(days map[string]*day) chart {
	c := chart{Width: chartWidth, Height: chartHeight, Unit: "day"}
	names := slices.Sorted(maps.Keys(days))
	if len(names) == 0 {
		return c
	}
	unit := func(s string) string { return s }
	if span(names[0], names[len(names)-1]) > maxBars {
		c.Unit, unit = "month", func(s string) string { return s[:len("2006-01")] }
	}
	sums := map[string]*day{}
	var order []string
	for _, at := range between(names[0], names[len(names)-1]) {
		u := unit(at)
		if sums[u] == nil {
			sums[u] = &day{}
			order = append(order, u)
		}
		if d := days[at]; d != nil {
			sums[u].Changes += d.Changes - d.Emergencies
			sums[u].Refusals += d.Refusals
			sums[u].Emergencies += d.Emergencies
		}
	}
	for _, d := range sums {
		c.Max = max(c.Max, d.Changes+d.Refusals+d.Emergencies)
	}
	step := max(chartWidth/len(order), 1)
	for i, u := range order {
		d := sums[u]
		b := bar{X: i * step, W: max(step-1, 1), Label: u}
		top := chartHeight
		for _, p := range []struct {
			part *part
			n    uint64
		}{{&b.Changes, d.Changes}, {&b.Emergencies, d.Emergencies}, {&b.Refusals, d.Refusals}} {
			h := 0
			if c.Max > 0 {
				h = int(p.n * chartHeight / c.Max)
			}
			if p.n > 0 {
				h = max(h, 1)
			}
			top -= h
			*p.part = part{max(top, 0), h, p.n}
		}
		c.Bars = append(c.Bars, b)
	}
	return c
}

// span is how many days lie from a to b, both included.
func span(a, b string) int { return len(between(a, b)) }

// maxDays bounds a chart's time: a clock that was wrong makes no page of centuries.
const maxDays = 5 * 366

// between lists the days from a to b.
func between(a, b string) (days []string) {
	at, err := time.Parse(time.DateOnly, a)
	if err != nil {
		return nil
	}
	for len(days) < maxDays {
		s := at.Format(time.DateOnly)
		if days = append(days, s); strings.Compare(s, b) >= 0 {
			break
		}
		at = at.AddDate(0, 0, 1)
	}
	return days
}
