package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/export"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func change1(name string, edit ...func(*audit.Record)) *audit.Record {
	r := &audit.Record{
		Type: audit.TypeDecision, ID: "01J" + name, Time: noon, Writer: &audit.Writer{Log: "gate.test/a"},
		Request:  &audit.Request{Operation: "UPDATE", Kind: "Deployment", Group: "apps", Namespace: "shop", Name: name},
		Actor:    &audit.Actor{Username: "flux", Role: "agent"},
		Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "Declared"},
		Origin: &audit.Origin{Repository: "shop", Revision: "3f2c1d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0b", Commit: "3f2c1d9b7a5e4f60812a9c3d5b7e1f2a4c6d8e0b", Author: "Ada",
			Signers: []audit.Signer{{Principal: "ada@example.org"}}},
	}
	for _, e := range edit {
		e(r)
	}
	return r
}

func printed(t *testing.T, s Subject, records ...*audit.Record) string {
	t.Helper()
	c := New()
	for _, r := range records {
		c.Add(r)
	}
	if s.Now.IsZero() {
		s.Now = noon.AddDate(0, 1, 0)
	}
	var b bytes.Buffer
	if err := c.Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var tags = regexp.MustCompile(`(?s)<style>.*?</style>|<[^>]*>`)

// text is what a reader sees.
func text(page string) string {
	return strings.Join(strings.Fields(tags.ReplaceAllString(page, " ")), " ")
}

func TestTheReportSaysWhatTheRecordsSay(t *testing.T) {
	approved := func(r *audit.Record) {
		r.Origin.Signers = append(r.Origin.Signers, audit.Signer{Principal: "bob@example.org"})
		r.Change = &audit.Change{Approvers: []audit.Approver{{ID: "bob@example.org"}}}
	}
	denied := func(r *audit.Record) {
		r.Decision.Outcome, r.Decision.Verdict, r.Decision.Reason, r.Actor.Username = "deny", "deny", "NotFromSyncAgent", "mallory"
	}
	emergency := func(r *audit.Record) {
		r.Emergency, r.Origin = &audit.Emergency{Grant: "g-7", Reason: "pager", Ticket: "INC-1", OpenedBy: []string{"eve"}}, nil
	}
	lifecycle := func(kind audit.Type, message string) *audit.Record {
		return &audit.Record{Type: kind, Time: noon, Writer: &audit.Writer{Log: "gate.test/a"}, Event: &audit.Event{Message: message}}
	}
	finding := &audit.Record{Type: audit.TypeFinding, Time: noon, Actor: &audit.Actor{Username: "root"}, Outcome: &audit.Outcome{State: "Undecided"},
		Event: &audit.Event{Message: "nobody judged it", Details: map[string]string{"kind": "Undecided", "severity": "critical", "verb": "create", "object": "pods shop/x"}}}
	for name, c := range map[string]struct {
		records []*audit.Record
		want    []string
	}{
		"two changes, one seen by two people": {[]*audit.Record{change1("cart", approved), change1("till")},
			[]string{"2 changes", "1 of 2 changes (50.0 %) carry", "bob@example.org 1", "ada@example.org 2", "shop 2", "3f2c1d9"}},
		"the same person twice is one": {[]*audit.Record{change1("cart", func(r *audit.Record) {
			r.Change = &audit.Change{Approvers: []audit.Approver{{ID: "ada@example.org"}}}
		})}, []string{"0 of 1 changes"}},
		"a refusal is no change": {[]*audit.Record{change1("cart", denied)}, []string{"0 changes", "1 refusals", "NotFromSyncAgent 1", "mallory 1"}},
		"a no-op is no change": {[]*audit.Record{change1("cart", func(r *audit.Record) { r.Decision.Noop = true })},
			[]string{"0 changes", "and 1 requests changed nothing"}},
		"a mode that lets pass": {[]*audit.Record{change1("cart", func(r *audit.Record) { r.Decision.Verdict = "deny" })},
			[]string{"1 changes would have been refused by an enforcing gate"}},
		"an emergency without its follow-up": {[]*audit.Record{change1("cart", emergency)},
			[]string{"1 emergency changes", "g-7 INC-1 pager eve", "not applied from Git since: Deployment shop/cart", "0 of 1 changes (0.0 %) carry"}},
		"an emergency, and Git caught up": {[]*audit.Record{change1("cart", emergency), change1("till"), change1("cart", func(r *audit.Record) { r.Decision.Noop = true })},
			[]string{"1 objects applied from Git since, the last on 2026-11-20T12:00:00Z"}},
		"what a controller made is a consequence": {[]*audit.Record{change1("cart"), change1("cart-x1", func(r *audit.Record) { r.Actor.Role, r.Origin = "controller", nil })},
			[]string{"1 changes", "1 more were made by the cluster"}},
		"an exemption":              {[]*audit.Record{change1("cart", func(r *audit.Record) { r.Decision.Exemption = "hpa" })}, []string{"1 by exemption", "hpa 1"}},
		"a change nobody judged":    {[]*audit.Record{finding}, []string{"1 gaps and findings", "finding (critical) Undecided: nobody judged it (create pods shop/x by root)"}},
		"a process that was killed": {[]*audit.Record{change1("cart"), lifecycle(audit.TypeStart, "began")}, []string{"did not stop in good order"}},
		"policies were changed":     {[]*audit.Record{lifecycle(audit.TypePolicies, "bundle 7 decides")}, []string{"policy.activated bundle 7 decides"}},
		"signers were changed, by a commit": {[]*audit.Record{change1("cart", func(r *audit.Record) {
			r.Type, r.Decision, r.Request, r.Event = audit.TypeSigners, nil, nil, &audit.Event{Message: "another signer list"}
		})}, []string{"signers.changed another signer list: shop 3f2c1d9"}},
		"policies were changed, by a commit": {[]*audit.Record{{Type: audit.TypePolicies, Time: noon, Event: &audit.Event{Message: "others decide"}, Policy: &audit.Policy{Repository: "rules", Commit: "9c41e7b2a0d59c41e7b2a0d59c41e7b2a0d59c41"}}},
			[]string{"policy.activated others decide: rules 9c41e7b"}},
		"nothing at all":              {nil, []string{"0 changes", "0.0 % seen by two people"}},
		"outcomes of decisions":       {[]*audit.Record{{Type: audit.TypeOutcome, Time: noon, Outcome: &audit.Outcome{State: "persisted"}}}, []string{"persisted 1"}},
		"a control and its records":   {[]*audit.Record{change1("cart", denied)}, []string{"CM-5 NIST SP 800-53r5 Access restrictions for change 1"}},
		"a process that ended itself": {[]*audit.Record{lifecycle(audit.TypeStop, ""), lifecycle(audit.TypeStart, "")}, []string{"0 gaps and findings"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := text(printed(t, Subject{Title: "Q4"}, c.records...))
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in:\n%s", want, got)
				}
			}
		})
	}
}

func TestTheReportSaysWhetherTheLogsWereVerified(t *testing.T) {
	if got := text(printed(t, Subject{})); !strings.Contains(got, "were not verified") {
		t.Error("nobody verified, and it does not say so")
	}
	logs := export.Trailer{Logs: []export.LogRange{{Log: "gate.test/a", First: 1, Last: 7, Shards: []export.ShardRoot{{Origin: "gate.test/a/2026-Q4", Size: 7, Root: "aaaa="}}}}}
	if got := text(printed(t, Subject{Verified: "All 7 verified.", Trailer: logs})); strings.Contains(got, "were not verified") || !strings.Contains(got, "gate.test/a 1–7 gate.test/a/2026-Q4 7 aaaa=") {
		t.Errorf("%s", got)
	}
}

// TestTheNamesOfAttackersStayText: whoever may send a request or push a commit writes into a page that an auditor opens.
func TestTheNamesOfAttackersStayText(t *testing.T) {
	evil := `"><script>alert(1)</script><img src=x onerror=alert(1)>` + "\u202e\x1b[31m"
	r := change1("x", func(r *audit.Record) {
		r.ID, r.Request.Name, r.Request.Namespace, r.Request.Kind, r.Request.Operation = evil, evil, evil, evil, evil
		r.Actor.Username, r.Origin.Author, r.Origin.Repository, r.Origin.Path = evil, evil, evil, "apps/"+"<script>"
		r.Origin.Signers[0].Principal, r.Decision.Exemption, r.Decision.Reason = evil, evil, evil
		r.Change = &audit.Change{Approvers: []audit.Approver{{ID: evil}}}
		r.Emergency = &audit.Emergency{Grant: evil, Reason: evil, Ticket: evil, OpenedBy: []string{evil}}
		r.Writer.Log = evil
	})
	denied := change1("y", func(r *audit.Record) { r.Decision.Outcome, r.Decision.Reason, r.Actor.Username = "deny", evil, evil })
	finding := &audit.Record{Type: audit.TypeFinding, Time: noon, Writer: r.Writer, Event: &audit.Event{Message: evil, Details: map[string]string{"kind": evil, "severity": evil, "object": evil, "verb": evil}}}
	page := printed(t, Subject{Title: evil, Filter: evil, Verified: evil, Trailer: export.Trailer{Logs: []export.LogRange{{Log: evil, Shards: []export.ShardRoot{{Origin: evil, Root: evil}}}}}}, r, denied, finding)
	for _, bad := range []string{"<script", "<img", "onerror=alert(1)>", "\x1b"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if strings.Contains(page, "\u202e") {
		t.Error("a direction mark of a record came into the page")
	}
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			if strings.EqualFold(e.Name.Local, "script") {
				t.Error("a script element")
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(strings.ToLower(a.Name.Local), "on") || a.Name.Local == "src" || a.Name.Local == "href" {
					t.Errorf("attribute %s", a.Name.Local)
				}
			}
		}
	}
}

func TestManyNamesAndManyDaysStayWithinBounds(t *testing.T) {
	c := New()
	for i := range maxKeys + 50 {
		c.Add(change1("x", func(r *audit.Record) {
			r.Request.Namespace, r.Time = fmt.Sprint("ns-", i), noon.AddDate(0, 0, i%400)
		}))
	}
	if len(c.namespaces) > maxKeys+1 || c.namespaces[others] != 50 {
		t.Errorf("%d names, %d of them others", len(c.namespaces), c.namespaces[others])
	}
	chart := newChart(c.days)
	total := uint64(0)
	for _, b := range chart.Bars {
		total += b.Changes.Count
	}
	if chart.Unit != "month" || len(chart.Bars) > 15 || total != maxKeys+50 {
		t.Errorf("%d bars per %s of %d changes", len(chart.Bars), chart.Unit, total)
	}
	if len(c.listed) != maxRows || c.cut["changes"] != maxKeys+50-maxRows {
		t.Errorf("%d rows, %d cut", len(c.listed), c.cut["changes"])
	}
}

// Whoever does much behind the gate's back, to hide what matters in a full list, does not.
func TestAFloodOfFindingsHidesNobody(t *testing.T) {
	c := New()
	find := func(user, name string) {
		c.Add(&audit.Record{
			Type: audit.TypeFinding, Time: time.Now(), Actor: &audit.Actor{Username: user}, Writer: &audit.Writer{Log: "gate-0"}, Outcome: &audit.Outcome{State: "Undecided"},
			Event: &audit.Event{Message: "nobody judged it", Details: map[string]string{"kind": "Undecided", "severity": "critical", "verb": "create", "object": "pods shop/" + name}},
		})
	}
	for i := range 2 * maxRows {
		find("flood", fmt.Sprintf("pod-%d", i))
	}
	find("root", "shadow")
	if len(c.gaps) != maxRows || c.cut["gaps"] != maxRows+1 {
		t.Errorf("%d rows, %d cut", len(c.gaps), c.cut["gaps"])
	}
	if last := c.gaps[len(c.gaps)-1]; !strings.Contains(last.Message, "shop/shadow by root") {
		t.Errorf("what root did is not listed: %+v", last)
	}
}
