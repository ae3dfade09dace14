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
	// Now is when the report is made.
	Now time.Time
}

// view is what the page shows.
type view struct {
	Subject
	Changes, Derived, Noops, Refusals, Emergencies, Exceptions, Unverified, NotEnforced uint64
	FourEyes                                                                            uint64
	FourEyesShare                                                                       float64
	Repositories, Namespaces, Authors, Approvers, Signers, Kinds                        []row
	Reasons, Refused, Exemptions, Outcomes, Findings                                    []row
	Controls                                                                            []controlRow
	Grants                                                                              []grantRow
	Alone, Listed                                                                       []change
	Gaps, Trust                                                                         []event
	Cut                                                                                 map[string]uint64
	// Attention is what an auditor looks at first, in sentences.
	Attention []string
	// Commits is how many commits the changes came with; 0 if there were too many to count.
	Commits int
	Chart   chart
}

type controlRow struct {
	ID, Framework, Title string
	Count                uint64
}

type grantRow struct {
	grant
	FollowUp string
	Late     bool
}

// Write prints the report as one HTML page that needs nothing else.
func (c *Counter) Write(w io.Writer, s Subject) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"clean":   clean,
		"stamp":   func(t time.Time) string { return stamp(t, time.RFC3339) },
		"percent": func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) },
		"minute":  func(t time.Time) string { return stamp(t, "2006-01-02 15:04") },
		"width":   func(f float64) string { return fmt.Sprintf("%.1f", 120*f) },
		"eyes":    func(f float64) string { return fmt.Sprintf("%.1f", 720*f) },
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
		Subject: s, Changes: c.changes, Derived: c.derived, Noops: c.noops, Refusals: c.refusals, Emergencies: c.emergencies, Exceptions: c.exceptions,
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
		v.Grants = append(v.Grants, c.grantRow(c.grants[id]))
	}
	if len(c.commits) < maxKeys {
		v.Commits = len(c.commits)
	}
	v.Attention = v.attention(c)
	return v
}

// attention says what is not as it should be.
func (v *view) attention(c *Counter) (list []string) {
	say := func(n uint64, one, many string) {
		switch n {
		case 0:
		case 1:
			list = append(list, one)
		default:
			list = append(list, fmt.Sprintf(many, n))
		}
	}
	say(c.grave, "1 finding is critical or high: see Gaps and findings", "%d findings are critical or high: see Gaps and findings")
	waiting := uint64(0)
	for _, g := range v.Grants {
		if g.Late {
			waiting++
		}
	}
	say(waiting, "1 emergency changed what has not been applied from Git since: see Emergency changes", "%d emergencies changed what has not been applied from Git since: see Emergency changes")
	say(c.changes-c.fourEyes, "1 change was not seen by two people: see Four eyes", "%d changes were not seen by two people: see Four eyes")
	say(c.notEnforced, "1 change would have been refused by an enforcing gate", "%d changes would have been refused by an enforcing gate")
	for _, l := range v.Trailer.Logs {
		if len(l.Shards) == 0 {
			list = append(list, "the log "+clean(l.Log)+" is not sealed")
		}
	}
	return list
}

// maxPending is how many objects a row names that wait for their follow-up.
const maxPending = 5

// grantRow says how the follow-up of an emergency stands: whether what it changed has been applied from Git since.
func (c *Counter) grantRow(g *grant) grantRow {
	var waiting []string
	for object, of := range c.pending {
		if of == g {
			waiting = append(waiting, object)
		}
	}
	slices.Sort(waiting)
	r := grantRow{grant: *g}
	switch n := len(waiting); {
	case g.Changes == 0:
		r.FollowUp = "nothing was changed"
	case n == 0:
		r.FollowUp = fmt.Sprintf("%d objects applied from Git since, the last on %s", g.Back, stamp(g.LastBack, time.RFC3339))
	default:
		r.Late = true
		r.FollowUp = "not applied from Git since: " + strings.Join(waiting[:min(n, maxPending)], ", ")
		if n > maxPending {
			r.FollowUp += fmt.Sprintf(" and %d more", n-maxPending)
		}
	}
	return r
}

// chart is the changes over time as bars.
type chart struct {
	Width, Height int
	Left, Text    int // where the bars begin, and where the numbers of the lines end
	Unit          string
	Max           uint64
	Bars          []bar
	Lines         []mark // across, with their number
	Ticks         []mark // of time
}

// mark is a place on an axis.
type mark struct {
	X, Y  int
	Label string
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
	chartHeight = 160 // of the bars
	chartWidth  = 720
	chartLeft   = 34 // for the numbers of the lines
	chartTop    = 8
	chartFoot   = 16 // for the names of times
	maxBars     = 92 // a quarter of days
	maxTicks    = 13
)

// newChart draws the days, or weeks or months where there are many.
func newChart(days map[string]*day) chart {
	c := chart{Width: chartWidth, Height: chartTop + chartHeight + chartFoot, Left: chartLeft, Text: chartLeft - 5, Unit: "day"}
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
	c.Max = roundUp(c.Max)
	for i := range uint64(3) { // bottom, middle, top
		c.Lines = append(c.Lines, mark{Y: chartTop + chartHeight - int(i)*chartHeight/2, Label: fmt.Sprint(c.Max * i / 2)})
	}
	step := max((chartWidth-chartLeft)/len(order), 1)
	every := (len(order) + maxTicks - 1) / maxTicks
	lastYear := order[0][:len("2006-")]
	for i, u := range order {
		d := sums[u]
		b := bar{X: chartLeft + i*step, W: max(min(step-1, 40), 1), Label: u}
		if i%every == 0 {
			label := u // with the year where it is another than at the mark before
			if year := u[:len("2006-")]; year == lastYear {
				label = u[len(year):]
			} else {
				lastYear = year
			}
			c.Ticks = append(c.Ticks, mark{X: b.X, Label: label})
		}
		top := chartTop + chartHeight
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

// roundUp is the next even number with one or two digits and zeros, so that a scale reads well.
func roundUp(n uint64) uint64 {
	unit := uint64(2)
	for unit*10 < n {
		unit *= 10
	}
	return max((n+unit-1)/unit*unit, 2)
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
