// Package report counts records of audit logs and prints what an auditor asks: how many changes, by whom, approved by
// whom, what was refused, which emergencies and exceptions there were, and where the record has gaps.
//
// It adds nothing to what the records say. The names in records are other people's words, attackers' among them: the page
// is made by html/template, shows them isolated and without control characters, and forbids itself scripts and everything from
// elsewhere.
package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/commitgate/commitgate/audit"
)

const (
	// maxKeys bounds how many different names are counted each by itself: whoever may send requests chooses their own.
	maxKeys = 10_000
	// maxRows bounds each list of single records; the population table holds all.
	maxRows = 200
	// maxTop is how many names a table of counts shows.
	maxTop = 25
)

// others stands for the names beyond maxKeys.
const others = "(others)"

// Counter counts records. Feed it all records of the period in order, lifecycle records included. It is for one goroutine.
type Counter struct {
	changes, derived, noops, refusals, emergencies, exceptions, unverified, notEnforced uint64

	repositories, namespaces, authors, approvers, signers, kinds counts
	reasons, refused, exemptions, outcomes, findings, controls   counts
	days                                                         map[string]*day

	fourEyes uint64
	alone    []change // changes that one person made, up to maxRows
	grants   map[string]*grant
	order    []string          // of grants
	commits  map[string]bool   // that the changes came with
	grave    uint64            // findings that are critical or high
	pending  map[string]*grant // objects that an emergency changed and that were not seen as Git has them since, by name
	gaps     []event
	trust    []event // revisions refused, policies, signers
	last     map[string]*audit.Record
	listed   []change
	cut      map[string]uint64 // rows that lists had no room for
	controlM []audit.Control
}

// day is what happened on one.
type day struct{ Changes, Refusals, Emergencies uint64 }

// change is one change as a row.
type change struct {
	Time                             time.Time
	Operation, Object, User          string
	Repository, Commit, Path, Author string
	Signers, Reason, Record          string
}

// event is one lifecycle record as a row.
type event struct {
	Time          time.Time
	Type, Message string
	Severity, Log string
	by            string // who did it
}

// grant is one emergency.
type grant struct {
	ID, Reason, Ticket, OpenedBy string
	Opened, Closed               time.Time
	Changes                      uint64
	Back                         uint64    // objects that an agent has applied from Git since
	LastBack                     time.Time // the last of them
}

// New returns an empty counter.
func New() *Counter {
	c := &Counter{days: map[string]*day{}, grants: map[string]*grant{}, pending: map[string]*grant{}, commits: map[string]bool{}, last: map[string]*audit.Record{}, cut: map[string]uint64{}, controlM: audit.Controls()}
	for _, m := range []*counts{&c.repositories, &c.namespaces, &c.authors, &c.approvers, &c.signers, &c.kinds, &c.reasons, &c.refused, &c.exemptions, &c.outcomes, &c.findings, &c.controls} {
		*m = counts{}
	}
	return c
}

// counts counts names.
type counts map[string]uint64

func (c counts) add(name string) {
	if name = clean(name); name == "" {
		name = "(none)"
	}
	if _, known := c[name]; !known && len(c) >= maxKeys {
		name = others
	}
	c[name]++
}

// row is one line of a table of counts.
type row struct {
	Name  string
	Count uint64
	Share float64 // of the table's total, 0 to 1
}

// top is the most frequent names, and the rest as one.
func (c counts) top() []row {
	names := slices.Collect(maps.Keys(c))
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(c[b], c[a]), strings.Compare(a, b)) })
	total := uint64(0)
	for _, n := range c {
		total += n
	}
	var rows []row
	rest := uint64(0)
	for i, name := range names {
		if i >= maxTop {
			rest += c[name]
			continue
		}
		rows = append(rows, row{name, c[name], float64(c[name]) / float64(total)})
	}
	if rest > 0 {
		rows = append(rows, row{others, rest, float64(rest) / float64(total)})
	}
	return rows
}

// clean replaces what does not print, direction marks included, and bounds the length.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
	if len(s) > 256 {
		s = strings.ToValidUTF8(s[:256], "") + "…"
	}
	return s
}

// Add counts one record.
func (c *Counter) Add(r *audit.Record) {
	for _, id := range r.Controls() {
		c.controls.add(id)
	}
	switch r.Type {
	case audit.TypeDecision:
		c.decision(r)
	case audit.TypeGrant, audit.TypeGrantEnd:
		c.grant(r)
	case audit.TypeOutcome:
		if r.Outcome != nil {
			c.outcomes.add(r.Outcome.State)
		}
	case audit.TypeFinding:
		c.finding(r)
	case audit.TypeRecovered, audit.TypeClock, audit.TypePruned:
		c.gap(r, "low", message(r))
	case audit.TypeStart:
		c.started(r)
	case audit.TypeRefused, audit.TypePolicies, audit.TypeSigners, audit.TypeConfigured:
		c.trust = list(c, "trust", c.trust, event{Time: r.Time, Type: string(r.Type), Message: clean(message(r) + about(r)), Log: logOf(r)})
	}
	keep := *r
	c.last[logOf(r)] = &keep
}

// decision counts a request that was judged.
func (c *Counter) decision(r *audit.Record) {
	d, q := r.Decision, r.Request
	if d == nil || q == nil {
		return
	}
	key := r.Time.UTC().Format(time.DateOnly)
	today := c.days[key]
	if today == nil {
		today = &day{}
		c.days[key] = today
	}
	switch {
	case d.Outcome != "allow":
		c.refusals++
		today.Refusals++
		c.reasons.add(d.Reason)
		c.refused.add(user(r))
		return
	}
	c.follow(r)
	switch {
	case d.Noop:
		c.noops++
		return
	case r.Actor != nil && r.Actor.Role == "controller" && r.Emergency == nil && d.Exemption == "":
		c.derived++
		return
	}
	c.changes++
	today.Changes++
	if d.Verdict != "allow" {
		c.notEnforced++
	}
	if d.Unverified {
		c.unverified++
	}
	c.kinds.add(strings.TrimSuffix(q.Kind+"."+q.Group, "."))
	c.namespaces.add(q.Namespace)
	if d.Exemption != "" {
		c.exceptions++
		c.exemptions.add(d.Exemption)
	}
	row := rowOf(r)
	if e := r.Emergency; e != nil {
		c.emergencies++
		today.Emergencies++
		c.emergency(objectOf(r), c.grantOf(e))
	}
	c.people(r, row)
	c.listed = list(c, "changes", c.listed, row)
}

// emergency notes an object that was changed under a grant: somebody has to bring it back to what Git says, or Git to it.
func (c *Counter) emergency(object string, g *grant) {
	g.Changes++
	if len(c.pending) < maxKeys {
		c.pending[object] = g
	}
}

// follow notices that an object which an emergency changed is as Git has it again: an agent applied it, from a commit.
func (c *Counter) follow(r *audit.Record) {
	if r.Emergency != nil || r.Actor == nil || r.Actor.Role != "agent" || r.Origin == nil || r.Origin.Commit == "" || r.Decision.Verdict != "allow" {
		return
	}
	object := objectOf(r)
	if g := c.pending[object]; g != nil {
		delete(c.pending, object)
		g.Back, g.LastBack = g.Back+1, r.Time
	}
}

// people counts who wrote and who approved a change, and whether these were two.
func (c *Counter) people(r *audit.Record, row change) {
	o := r.Origin
	if o == nil {
		c.alone = list(c, "alone", c.alone, row)
		return
	}
	c.repositories.add(o.Repository)
	if o.Commit != "" && len(c.commits) < maxKeys {
		c.commits[o.Repository+" "+string(o.Commit)] = true
	}
	c.authors.add(o.Author)
	distinct := map[string]bool{}
	for _, s := range o.Signers {
		if !distinct[s.Principal] {
			c.signers.add(s.Principal)
		}
		distinct[s.Principal] = true
	}
	if r.Change != nil {
		for _, a := range r.Change.Approvers {
			c.approvers.add(a.ID)
			distinct[a.ID] = true
		}
	}
	if len(distinct) >= 2 {
		c.fourEyes++
		return
	}
	c.alone = list(c, "alone", c.alone, row)
}

// grantOf finds the emergency of a record.
func (c *Counter) grantOf(e *audit.Emergency) *grant {
	id := clean(e.Grant)
	g := c.grants[id]
	if g == nil {
		if len(c.grants) >= maxKeys {
			id = others
		}
		if g = c.grants[id]; g == nil {
			g = &grant{ID: id}
			c.grants[id] = g
			c.order = append(c.order, id)
		}
	}
	g.Reason, g.Ticket = cmp.Or(g.Reason, clean(e.Reason)), cmp.Or(g.Ticket, clean(e.Ticket))
	g.OpenedBy = cmp.Or(g.OpenedBy, clean(strings.Join(e.OpenedBy, ", ")))
	return g
}

func (c *Counter) grant(r *audit.Record) {
	if r.Emergency == nil {
		return
	}
	g := c.grantOf(r.Emergency)
	if r.Type == audit.TypeGrant {
		g.Opened = r.Time
	} else {
		g.Closed = r.Time
	}
}

func (c *Counter) finding(r *audit.Record) {
	kind, severity := "", "low"
	if r.Event != nil {
		kind, severity = r.Event.Details["kind"], r.Event.Details["severity"]
	}
	c.findings.add(kind)
	if severity == "critical" || severity == "high" {
		c.grave++
	}
	what := kind + ": " + message(r)
	if r.Event != nil {
		what += " (" + r.Event.Details["verb"] + " " + r.Event.Details["object"] + " by " + user(r) + ")"
	}
	c.gap(r, severity, what)
}

// started notices that the process before did not end in good order.
func (c *Counter) started(r *audit.Record) {
	before := c.last[logOf(r)]
	for _, ended := range []audit.Type{audit.TypeStop, audit.TypeRecovered, audit.TypeShard} {
		if before == nil || before.Type == ended {
			return
		}
	}
	c.gap(r, "low", "the process before did not stop in good order; its last record is of "+before.Time.Format(time.RFC3339))
}

func (c *Counter) gap(r *audit.Record, severity, what string) {
	e := event{Time: r.Time, Type: string(r.Type), Message: clean(what), Severity: clean(severity), Log: logOf(r), by: user(r)}
	if len(c.gaps) >= maxRows {
		c.makeRoom(e.by)
	}
	c.gaps = list(c, "gaps", c.gaps, e)
}

// makeRoom takes the last row from whoever has the most in a full list of gaps, if somebody else has fewer: who does much behind the gate's back must not
// hide what another did once.
func (c *Counter) makeRoom(by string) {
	rows := map[string]int{}
	most := by
	for _, e := range c.gaps {
		if rows[e.by]++; rows[e.by] > rows[most] {
			most = e.by
		}
	}
	if rows[most] <= rows[by]+1 {
		return
	}
	for i := len(c.gaps) - 1; i >= 0; i-- {
		if c.gaps[i].by == most {
			c.gaps = slices.Delete(c.gaps, i, i+1)
			c.cut["gaps"]++
			return
		}
	}
}

// list appends while there is room, and counts what has none.
func list[T any](c *Counter, name string, rows []T, row T) []T {
	if len(rows) >= maxRows {
		c.cut[name]++
		return rows
	}
	return append(rows, row)
}

// about names the commit that a record tells of.
func about(r *audit.Record) string {
	switch {
	case r.Origin != nil:
		return ": " + r.Origin.Repository + " " + cmp.Or(r.Origin.Commit, r.Origin.Revision).Short()
	case r.Policy != nil && r.Policy.Commit != "":
		return ": " + r.Policy.Repository + " " + r.Policy.Commit.Short()
	}
	return ""
}

func message(r *audit.Record) string {
	if r.Event == nil {
		return ""
	}
	return r.Event.Message
}

func user(r *audit.Record) string {
	if r.Actor == nil {
		return ""
	}
	return clean(r.Actor.Username)
}

func logOf(r *audit.Record) string {
	if r.Writer == nil {
		return ""
	}
	return clean(r.Writer.Log)
}

// objectOf names the object of a request.
func objectOf(r *audit.Record) string {
	return clean(r.Request.Kind + " " + strings.TrimPrefix(r.Request.Namespace+"/"+r.Request.Name, "/"))
}

// rowOf is a change as a row.
func rowOf(r *audit.Record) change {
	q, object := r.Request, objectOf(r)
	if q.Subresource != "" {
		object = strings.Replace(object, " ", "/"+q.Subresource+" ", 1)
	}
	row := change{Time: r.Time, Operation: clean(q.Operation), Object: clean(object), User: user(r), Reason: clean(r.Decision.Reason), Record: clean(r.ID)}
	if o := r.Origin; o != nil {
		row.Repository, row.Path, row.Author = clean(o.Repository), clean(string(o.Path)), clean(o.Author)
		row.Commit = clean(cmp.Or(o.Commit, o.Revision).Short())
		var signers []string
		for _, s := range o.Signers {
			if !slices.Contains(signers, s.Principal) {
				signers = append(signers, s.Principal)
			}
		}
		row.Signers = clean(strings.Join(signers, ", "))
	}
	return row
}
