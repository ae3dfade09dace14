package outcome

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
)

// DefaultWebhook is the name of the gate's webhook in its configuration, which the API server puts before each of our annotations.
const DefaultWebhook = "gate.commitgate.dev"

// failedOpen begins the annotation by which the API server says that it went on without a webhook that did not answer.
const failedOpen = "failed-open.validating.webhook.admission.k8s.io/"

// Severity of a finding.
type Severity string

// The severities, the gravest first.
const (
	Critical Severity = "critical" // a change passed that nobody judged, or against the verdict
	High     Severity = "high"     // what guards the cluster was changed where no webhook is asked
	Low      Severity = "low"      // something to explain
)

// Kind is what kind of finding it is: a stable word.
type Kind string

// The kinds of finding.
const (
	Undecided      Kind = "Undecided"      // a persisted change without a record of a decision
	FailedOpen     Kind = "FailedOpen"     // the API server went on without the gate's answer
	AgainstVerdict Kind = "AgainstVerdict" // persisted, although the gate refused
	UnknownRecord  Kind = "UnknownRecord"  // the annotation names a record that no log holds
	GuardChanged   Kind = "GuardChanged"   // a webhook configuration or admission policy was changed: no webhook is asked about those
	Unseen         Kind = "Unseen"         // an allowed request that the stream does not hold: the stream has a gap
)

// Severity is how grave each finding of a kind is.
func (k Kind) Severity() Severity {
	switch k {
	case GuardChanged:
		return High
	case Unseen:
		return Low
	}
	return Critical
}

// Severities are all that there are, the gravest first.
func Severities() []Severity { return []Severity{Critical, High, Low} }

// Finding is something that an auditor must hear.
type Finding struct {
	Kind     Kind      `json:"kind"`
	Severity Severity  `json:"severity"`
	At       time.Time `json:"at"`
	What     string    `json:"what"`
	Verb     string    `json:"verb,omitempty"`
	Object   string    `json:"object,omitempty"`
	User     string    `json:"user,omitempty"`
	Record   string    `json:"record,omitempty"`
	AuditID  string    `json:"auditID,omitempty"`
	Code     int       `json:"code,omitempty"`
}

// States of a decision.
const (
	Persisted   = "persisted"   // the API server stored the change
	Rejected    = "rejected"    // somebody else refused it afterwards, or it failed
	Refused     = "refused"     // it was refused, by us
	Unpersisted = "unpersisted" // no event tells of it
)

// Outcome is what became of a decision.
type Outcome struct {
	Record          string    `json:"record"`
	State           string    `json:"state"`
	At              time.Time `json:"at"`
	ResourceVersion string    `json:"resourceVersion,omitempty"`
	AuditID         string    `json:"auditID,omitempty"`
	Code            int       `json:"code,omitempty"`
}

// Exclusion says what the webhook is not asked about, and why: changes there are counted, not found. An empty field is any.
type Exclusion struct {
	Group, Resource, Subresource, Namespace, User string
	UserPrefix                                    string
	Why                                           string
}

// unpersistedReviews are resources that are answered and never stored, so that creating one changes nothing.
var unpersistedReviews = []Exclusion{
	{Group: "authentication.k8s.io", Resource: "tokenreviews", Why: "answered, never stored"},
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews", Why: "answered, never stored"},
	{Group: "authorization.k8s.io", Why: "answered, never stored"},
}

// Shipped is what the webhook configuration that we ship leaves out (config/webhook/webhook.yaml), for a gate in this namespace.
func Shipped(namespace string) []Exclusion {
	out := []Exclusion{
		{Group: "coordination.k8s.io", Resource: "leases", UserPrefix: "system:", Why: "leases of components"},
		{Resource: "events", Why: "events"},
		{Group: "authentication.k8s.io", Why: "access reviews"},
		{Group: "authorization.k8s.io", Why: "access reviews"},
	}
	for _, x := range []Exclusion{
		{Resource: "nodes", UserPrefix: "system:node:"},
		{Resource: "nodes", User: "system:kube-controller-manager"},
		{Resource: "nodes", User: "system:serviceaccount:kube-system:node-controller"},
		{Resource: "serviceaccounts", Subresource: "token", Namespace: "kube-system", UserPrefix: "system:node:"},
		{Resource: "serviceaccounts", Subresource: "token", Namespace: "kube-system", User: "system:kube-controller-manager"},
	} {
		x.Why = "what nodes and controllers need before any pod can run"
		out = append(out, x)
	}
	out = append(out, Exclusion{Resource: "secrets", Namespace: namespace, User: "system:serviceaccount:" + namespace + ":commitgate-certificates", Why: "the gate's certificate authority: guarded by an admission policy"})
	out = append(out, Exclusion{Resource: "serviceaccounts", Subresource: "token", Namespace: namespace, Why: "the gate's own namespace: guarded by an admission policy"})
	for _, resource := range []string{"pods", "endpoints", "endpointslices", "persistentvolumeclaims", "replicasets", "statefulsets", "controllerrevisions", "jobs"} {
		out = append(out, Exclusion{Resource: resource, Namespace: namespace, Why: "the gate's own namespace: guarded by an admission policy"})
	}
	return out
}

func (x Exclusion) covers(e *Event) bool {
	o := e.ObjectRef
	is := func(want, have string) bool { return want == "" || want == have }
	return is(x.Group, o.APIGroup) && is(x.Resource, o.Resource) && is(x.Subresource, o.Subresource) && is(x.Namespace, o.Namespace) && is(x.User, e.actor()) &&
		strings.HasPrefix(e.actor(), x.UserPrefix)
}

// Config says how events are joined.
type Config struct {
	// Webhook is the name of the gate's webhook; DefaultWebhook if it is not set.
	Webhook string
	// Exclusions are what the webhook's rules leave out. "" as group is any group here: name the resource too.
	Exclusions []Exclusion
	// Window is how far event and record may lie apart; an hour if it is not set. Older ones are forgotten, so that
	// memory does not grow with the log.
	Window time.Duration
	// From and Until bound the events that count; zero: no bound.
	From, Until time.Time
	// Partial: not all logs are read, so that a record that is not known proves nothing.
	Partial bool
	// Outcome and Finding take what was found; either may be nil.
	Outcome func(Outcome)
	Finding func(Finding)
}

// Totals count what was joined.
type Totals struct {
	Events    int            `json:"events"`    // that were read
	Reads     int            `json:"reads"`     // that could change nothing, or were dry-runs
	Changes   int            `json:"changes"`   // persisted changes
	Joined    int            `json:"joined"`    // persisted changes with a record
	Refusals  int            `json:"refusals"`  // requests that failed or were refused
	Excluded  map[string]int `json:"excluded"`  // persisted changes that the webhook is not asked about, by why
	Findings  map[Kind]int   `json:"findings"`  // by kind
	Decisions int            `json:"decisions"` // records of decisions that were read
	From, To  time.Time      `json:"-"`         // of the events
}

// Complete tells whether each persisted change has its record, and each allowed request its event.
func (t Totals) Complete() bool {
	for kind, n := range t.Findings {
		if n > 0 && kind != GuardChanged {
			return false
		}
	}
	return t.Events > 0
}

// Grave counts the findings of a severity, and of those that are graver.
func (t Totals) Grave(least Severity) int {
	graver := Severities()
	graver = graver[:slices.Index(graver, least)+1]
	sum := 0
	for kind, n := range t.Findings {
		if slices.Contains(graver, kind.Severity()) {
			sum += n
		}
	}
	return sum
}

// Joiner joins decisions and events. Feed it both in the order of time, decisions first when they tie. It is for one
// goroutine.
type Joiner struct {
	cfg       Config
	totals    Totals
	decisions map[string]*decision
	order     []*decision // by time
	// met is when an event last told of an object, by decision.what: the API server judges a request again when somebody
	// else was faster, and its event names the first decision only.
	met map[string]time.Time
	// clock is the time by which decisions are forgotten: that of the API server, as events tell it, and that of decisions between them. A replica's
	// clock that steps must not make the others' decisions old.
	clock time.Time
	ahead int // decisions in a row that were too far ahead of clock to be believed
}

// believed is how many decisions in a row must be far ahead of what events tell, until time has passed and no event told of it.
const believed = 10_000

// requestTimeout is how long the API server works on one request: decisions of the same request do not lie further apart.
const requestTimeout = time.Minute

type decision struct {
	id, what string
	of       collection
	at       time.Time // by the replica's clock
	seen     time.Time // by the joiner's
	allowed  bool
	noop     bool
	met      bool
}

// collection is what a deletecollection empties: one request, one event, and a decision for each object.
type collection struct{ group, resource, namespace string }

// NewJoiner returns an empty joiner.
func NewJoiner(cfg Config) *Joiner {
	cfg.Webhook = cmp.Or(cfg.Webhook, DefaultWebhook)
	cfg.Window = cmp.Or(cfg.Window, time.Hour)
	cfg.Exclusions = slices.Concat(unpersistedReviews, cfg.Exclusions)
	if cfg.Outcome == nil {
		cfg.Outcome = func(Outcome) {}
	}
	if cfg.Finding == nil {
		cfg.Finding = func(Finding) {}
	}
	return &Joiner{cfg: cfg, decisions: map[string]*decision{}, met: map[string]time.Time{}, totals: Totals{Excluded: map[string]int{}, Findings: map[Kind]int{}}}
}

// Decision takes a record of the log; others than decisions are ignored, and a superseded one counts as refused.
func (j *Joiner) Decision(r *audit.Record) {
	switch {
	case r.Type == audit.TypeSuperseded && r.Event != nil:
		if d := j.decisions[r.Event.Details["record"]]; d != nil {
			d.allowed = false
		}
	case r.Type == audit.TypeDecision && r.Decision != nil && r.Request != nil:
		d := &decision{id: r.ID, at: r.Time, allowed: r.Decision.Outcome == "allow", noop: r.Decision.Noop,
			what: describe(r.Request)}
		if r.Request.Operation == "DELETE" {
			d.of = collection{r.Request.Group, r.Request.Resource, r.Request.Namespace}
		}
		j.tell(r.Time)
		d.seen = j.clock
		j.decisions[d.id] = d
		j.order = append(j.order, d)
		j.totals.Decisions++
		j.forget()
	}
}

// tell lets time pass as decisions tell it, if no more than an event could have missed.
func (j *Joiner) tell(at time.Time) {
	if at.Sub(j.clock) > j.cfg.Window/2 && !j.clock.IsZero() && j.ahead < believed {
		j.ahead++
		return
	}
	j.ahead = 0
	if at.After(j.clock) {
		j.clock = at
	}
}

// Knows tells whether a record has been fed and not yet forgotten.
func (j *Joiner) Knows(record string) bool { return j.decisions[record] != nil }

// describe names what a decision was about.
func describe(q *audit.Request) string {
	resource := strings.TrimSuffix(q.Resource+"."+q.Group, ".")
	if q.Subresource != "" {
		resource += "/" + q.Subresource
	}
	return fmt.Sprintf("%s %s %s", q.Operation, resource, strings.TrimPrefix(q.Namespace+"/"+q.Name, "/"))
}

// meet notes that an event told of a decision.
func (j *Joiner) meet(d *decision) {
	d.met = true
	j.met[d.what] = d.at
	if len(j.met) > 2*len(j.order)+requestMemory {
		maps.DeleteFunc(j.met, func(_ string, at time.Time) bool { return d.at.Sub(at) > j.cfg.Window })
	}
}

// requestMemory is how many objects are remembered before those that no decision can be about any more are dropped.
const requestMemory = 1024

// retried tells whether d is one of several decisions on one request, and the event named another.
func (j *Joiner) retried(d *decision) bool {
	at, ok := j.met[d.what]
	return ok && at.Sub(d.at).Abs() <= requestTimeout
}

// forget drops decisions that no event can come for any more.
func (j *Joiner) forget() {
	for len(j.order) > 0 && j.clock.Sub(j.order[0].seen) > j.cfg.Window {
		j.end(j.order[0])
		j.order = j.order[1:]
	}
}

// end says what became of a decision that has waited long enough.
func (j *Joiner) end(d *decision) {
	delete(j.decisions, d.id)
	if d.met || !d.allowed || d.noop {
		return
	}
	j.cfg.Outcome(Outcome{Record: d.id, State: Unpersisted, At: d.at})
	// A request that was judged just before the last event may not have its answer yet.
	if !j.retried(d) && !j.totals.From.IsZero() && d.at.After(j.totals.From) && d.at.Before(j.totals.To.Add(-requestTimeout)) {
		j.found(Finding{Kind: Unseen, At: d.at, Record: d.id, Object: d.what,
			What: "the gate allowed it, and the API server's audit stream does not tell what became of it"})
	}
}

// Event takes an event of the stream. Stages before the answer are ignored.
func (j *Joiner) Event(e *Event) {
	if e.Stage != "ResponseComplete" && e.Stage != "Panic" && !(e.Stage == "ResponseStarted" && e.code() == 101) {
		return
	}
	if e.At.Before(j.cfg.From) || !j.cfg.Until.IsZero() && !e.At.Before(j.cfg.Until) {
		return
	}
	j.totals.Events++
	if e.At.After(j.clock) {
		j.clock = e.At
	}
	if j.totals.From.IsZero() || e.At.Before(j.totals.From) {
		j.totals.From = e.At
	}
	if e.At.After(j.totals.To) {
		j.totals.To = e.At
	}
	if !e.mutates() || e.dryRun() {
		j.totals.Reads++
		return
	}
	j.guards(e)
	record := e.Annotations[j.cfg.Webhook+"/record"]
	if !e.succeeded() {
		j.totals.Refusals++
		j.refused(e, record)
		return
	}
	j.totals.Changes++
	j.persisted(e, record)
}

// refused joins a request that changed nothing.
func (j *Joiner) refused(e *Event, record string) {
	if record == "" {
		return
	}
	state := Rejected
	switch d := j.decisions[record]; {
	case d != nil:
		j.meet(d)
		if !d.allowed {
			state = Refused
		}
	case j.saysRefused(e):
		state = Refused
	}
	j.cfg.Outcome(outcomeOf(e, record, state))
}

// saysRefused tells whether the gate's annotations say that it refused: where the record itself is in a log that is not read.
func (j *Joiner) saysRefused(e *Event) bool {
	verdict := e.Annotations[j.cfg.Webhook+"/verdict"]
	return verdict != "" && verdict != "allow" && e.Annotations[j.cfg.Webhook+"/mode"] == string(v1alpha1.ModeEnforce)
}

// persisted joins a change.
func (j *Joiner) persisted(e *Event, record string) {
	f := findingOf(e)
	f.Record = record
	switch d := j.decisions[record]; {
	case j.open(e):
		f.Kind, f.What = FailedOpen, "the API server went on without the gate's answer: failurePolicy is Ignore"
		j.found(f)
	case record == "":
		if x := j.excluded(e); x != "" {
			j.totals.Excluded[x]++
			return
		}
		f.Kind, f.What = Undecided, "a change that the gate was not asked about: it was down, or its webhook configuration leaves it out"
		j.found(f)
		return
	case d == nil && !j.cfg.Partial:
		f.Kind, f.What = UnknownRecord, "its annotation names a record that no log holds"
		j.found(f)
		return
	case d == nil && j.saysRefused(e):
		f.Kind, f.What = AgainstVerdict, "the gate refused it, and it was persisted all the same"
		j.found(f)
	case d != nil && !d.allowed:
		j.meet(d)
		f.Kind, f.What = AgainstVerdict, "the gate refused it, and it was persisted all the same"
		j.found(f)
	case d != nil:
		j.meet(d)
	}
	if e.Verb == "deletecollection" {
		j.emptied(e, record)
	}
	if record != "" {
		j.totals.Joined++
		j.cfg.Outcome(outcomeOf(e, record, Persisted))
	}
}

// emptied joins the decisions on the other objects of a collection: the event names the first one only.
func (j *Joiner) emptied(e *Event, record string) {
	of := collection{e.ObjectRef.APIGroup, e.ObjectRef.Resource, e.ObjectRef.Namespace}
	for _, d := range j.order {
		if d.of == of && d.allowed && !d.met && d.id != record && d.at.After(e.Received.Add(-skew)) && d.at.Before(e.At.Add(skew)) {
			j.meet(d)
			j.cfg.Outcome(outcomeOf(e, d.id, Persisted))
		}
	}
}

// open tells whether the API server went on without us.
func (j *Joiner) open(e *Event) bool {
	for key, value := range e.Annotations {
		if strings.HasPrefix(key, failedOpen) && value == j.cfg.Webhook {
			return true
		}
	}
	return false
}

// guards notices changes of what no webhook is asked about: the webhook configurations and admission policies themselves.
func (j *Joiner) guards(e *Event) {
	if e.ObjectRef.APIGroup != "admissionregistration.k8s.io" || !e.succeeded() {
		return
	}
	f := findingOf(e)
	f.Kind, f.What = GuardChanged, "what guards the cluster was changed; no webhook is asked about that"
	j.found(f)
}

func (j *Joiner) excluded(e *Event) string {
	if e.ObjectRef.APIGroup == "admissionregistration.k8s.io" {
		return "webhook configurations and admission policies: no webhook is asked; each is a finding"
	}
	for _, x := range j.cfg.Exclusions {
		if x.covers(e) {
			return cmp.Or(x.Why, "excluded by configuration")
		}
	}
	return ""
}

func (j *Joiner) found(f Finding) {
	f.Severity = f.Kind.Severity()
	j.totals.Findings[f.Kind]++
	j.cfg.Finding(f)
}

// Totals ends what is still waiting for its event, and counts.
func (j *Joiner) Totals() Totals {
	for _, d := range j.order {
		j.end(d)
	}
	j.order = nil
	return j.totals
}

func outcomeOf(e *Event, record, state string) Outcome {
	return Outcome{Record: record, State: state, At: e.At, ResourceVersion: e.ObjectRef.ResourceVersion, AuditID: e.AuditID, Code: e.code()}
}

func findingOf(e *Event) Finding {
	o := e.ObjectRef
	object := o.Resource
	if o.APIGroup != "" {
		object += "." + o.APIGroup
	}
	if o.Subresource != "" {
		object += "/" + o.Subresource
	}
	return Finding{At: e.At, Verb: e.Verb, Object: strings.TrimSpace(object + " " + strings.TrimPrefix(o.Namespace+"/"+o.Name, "/")), User: e.actor(), AuditID: e.AuditID, Code: e.code()}
}
