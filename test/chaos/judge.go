package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

// annotation prefixes what the gate tells the API server's audit log.
const annotation = lab.WebhookName + "/"

// phase is the time of one event and its wake.
type phase struct {
	name       string
	begin, end time.Time
	mode       string // Audit, Enforce, or Rolling: some replicas are in the one, some in the other
	// unregistered: until the installation stood again the webhook was away, and what nobody was asked about must be found afterwards.
	unregistered bool
	stood        time.Time
	backstop     bool // whoever is none of the agents was refused all the same
	tally        tally
}

// tally is what became of the requests of a phase, as the API server's own audit log tells.
type tally struct {
	asked, allowed, denied, notYet int
	// unanswered requests are refused, because no replica said anything: how many, by why.
	unanswered map[string]int
	// unheard requests never reached an API server.
	unheard int
	// unasked changes were persisted while nobody was asked.
	unasked []string
	// stopped requests were refused by the backstop, inside the API server.
	stopped int
	wrong   []string
}

func (t *tally) failed() int {
	n := 0
	for _, count := range t.unanswered {
		n += count
	}
	return n
}

// why lists why requests were refused without a verdict, the most frequent first.
func (t *tally) why() string {
	reasons := slices.SortedFunc(maps.Keys(t.unanswered), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.unanswered[b], t.unanswered[a]), strings.Compare(a, b))
	})
	var out []string
	for _, r := range reasons {
		out = append(out, fmt.Sprintf("%d %s", t.unanswered[r], r))
	}
	if t.unheard > 0 {
		out = append(out, fmt.Sprintf("%d found no API server", t.unheard))
	}
	if len(t.unasked) > 0 {
		out = append(out, fmt.Sprintf("%d changes passed unasked, all found by `audit outcomes`", len(t.unasked)))
	}
	if t.stopped > 0 {
		out = append(out, fmt.Sprintf("%d more refused by the backstop", t.stopped))
	}
	return strings.Join(out, "; ")
}

// judge sorts the API server's events into the phases, and holds each to what was known before it was asked. It returns the ids of the records that the
// gate's answers named.
func judge(phases []*phase, events []cluster.Event) map[string]bool {
	records := map[string]bool{}
	for _, e := range events {
		i := slices.IndexFunc(phases, func(p *phase) bool { return !e.Received.Before(p.begin) && e.Received.Before(p.end) })
		if i < 0 || e.Object.Namespace == namespace && e.Annotations[annotation+"verdict"] == "" {
			continue
		}
		if id := e.Annotations[annotation+"record"]; id != "" {
			records[id] = true
		}
		phases[i].judge(e)
	}
	return records
}

// judge counts one event.
func (p *phase) judge(e cluster.Event) {
	t := &p.tally
	what := fmt.Sprintf("%s %s %s %s/%s (%s): %d %s", e.Received.Format("15:04:05.000"), e.Verb, e.Object.Resource, e.Object.Namespace, e.Object.Name,
		e.User.Username, e.Response.Code, e.Response.Message)
	verdict, called := e.Annotations[annotation+"verdict"]
	persisted := e.Response.Code >= 200 && e.Response.Code < 300 && !e.DryRun()
	switch {
	case strings.Contains(e.Response.Message, "failed calling webhook"): // also where a first try of the same request was answered
		t.asked++
		t.count(whyFailed(e.Response.Message))
	case e.Response.Code == 429 && called:
		t.asked++
		t.notYet++
	case called && e.Response.Code == 403 && verdict != "allow":
		t.asked++
		t.denied++
	case called && e.Response.Code >= 500:
		t.asked++
		t.count("the gate said: " + e.Annotations[annotation+"reason"])
	case called:
		t.asked++
		t.allowed++
	case persisted && known(e) != "" && !leftOut(e):
		t.unasked = append(t.unasked, objectOf(e))
		if !p.unregistered || e.Received.After(p.stood) || p.backstop && known(e) == "carol" {
			t.wrong = append(t.wrong, "nobody was asked: "+what)
		}
	case p.backstop && e.Response.Code == 403 && strings.Contains(e.Response.Message, backstop):
		t.stopped++
	}
	switch who := known(e); {
	case !called:
	case (who == "carol" || who == "thief") && verdict == "allow":
		t.wrong = append(t.wrong, "judged as allowed: "+what)
	case (who == "carol" || who == "thief") && persisted && p.mode == "Enforce":
		t.wrong = append(t.wrong, "let through: "+what)
	case (who == "agent" || who == "controller") && verdict == "deny":
		t.wrong = append(t.wrong, "judged as refused: "+what+" "+e.Annotations[annotation+"reason"])
	}
}

// objectOf names an object as `audit outcomes` does.
func objectOf(e cluster.Event) string {
	resource := strings.TrimSuffix(e.Object.Resource+"."+e.Object.Group, ".")
	if e.Object.Subresource != "" {
		resource += "/" + e.Object.Subresource
	}
	return strings.TrimSpace(resource + " " + strings.TrimPrefix(e.Object.Namespace+"/"+e.Object.Name, "/"))
}

// leftOut tells whether no webhook is ever asked about a request, or the webhook's own conditions leave it out, whoever asks.
func leftOut(e cluster.Event) bool {
	return e.Object.Group == "admissionregistration.k8s.io" || e.Object.Resource == "events" || e.Object.Group == "authentication.k8s.io" || e.Object.Group == "authorization.k8s.io"
}

func (t *tally) count(why string) {
	if t.unanswered == nil {
		t.unanswered = map[string]int{}
	}
	t.unanswered[why]++
}

// known is whose request it is, of those whose verdict is known beforehand; "" for others.
func known(e cluster.Event) string {
	switch {
	case e.User.Username == lab.Carol:
		return "carol"
	case e.User.Username == lab.FluxUser && e.UserAgent == thief:
		return "thief"
	case e.User.Username == lab.FluxUser:
		return "agent"
	case strings.HasPrefix(e.User.Username, "system:serviceaccount:kube-system:"):
		return "controller"
	}
	return ""
}

// whyFailed is a short word for why the API server had no answer.
func whyFailed(message string) string {
	for text, why := range map[string]string{
		"connection refused":        "connections cut, to no replica or one that was killed",
		"connection reset":          "connections cut, to no replica or one that was killed",
		"EOF":                       "connections cut, to no replica or one that was killed",
		"force closed":              "connections cut, to no replica or one that was killed",
		"broken pipe":               "connections cut, to no replica or one that was killed",
		"context deadline exceeded": "too slow",
		"Client.Timeout":            "too slow",
		"x509":                      "certificate refused",
	} {
		if strings.Contains(message, text) {
			return why
		}
	}
	return message
}
