// Package policy evaluates Rego that lives in the same verified history as the manifests. It is the one door to OPA.
//
// A Set is made once per snapshot, off the request path: every package is compiled by itself, what would
// silently allow is refused with file and line, and the repository's own tests must pass. Deciding is then a pure
// function of the Set and the Input: there is no network, no clock but the one that the Input carries, and no
// randomness, so that a decision can be replayed from its record.
//
// Three conventions are understood, package by package: our own (package commitgate, with provenance in the
// input), Gatekeeper's ConstraintTemplates and Constraints, and conftest's (with OPA's own admission style, which
// reads input.request, as a variant). The package trusts the authors of policies no further than this: what they wrote is bounded in
// time and memory, and whatever goes wrong in it is a denial.
package policy

import (
	"sort"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/version"

	"github.com/commitgate/commitgate/git"
)

// Convention is how a rule is asked and how its answer is read.
type Convention string

// The conventions.
const (
	Own        Convention = "commitgate" // package commitgate…: deny and warn, Document as input
	Gatekeeper Convention = "gatekeeper" // ConstraintTemplate and Constraint: violation, input.review, input.parameters
	Conftest   Convention = "conftest"   // deny, violation, warn, exception; the object is the input
	Admission  Convention = "admission"  // the same rules, but the input is an AdmissionReview: input.request
)

// Action is what becomes of a finding.
type Action string

// The actions.
const (
	Deny   Action = "deny"
	Warn   Action = "warn"
	Dryrun Action = "dryrun" // recorded, shown to nobody
)

// Finding is one answer of one rule.
type Finding struct {
	// ID is stable: what the rule gave as id, else its metadata's custom.id, else policy and rule.
	ID  string `json:"id"`
	Msg string `json:"msg"`
	// Policy is the package (commitgate.images), or for Gatekeeper Kind/name of the constraint.
	Policy     string     `json:"policy"`
	Rule       string     `json:"rule"` // deny, deny_latest, violation, warn …
	Convention Convention `json:"convention"`
	Action     Action     `json:"action"`
	// Controls are the labels of the rule's metadata: SOC2-CC8.1.
	Controls []string `json:"controls,omitempty"`
	// File and Line are where the rule that fired stands, as the repository names it.
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	// Failed tells that the rule gave no answer (an error, a time-out, an answer of the wrong shape), which is a denial.
	Failed bool `json:"failed,omitempty"`
	// Details are what the rule gave as details. They may hold parts of the object, and so belong into no record.
	Details any `json:"details,omitempty"`

	shapeless bool // Failed, because the answer was of the wrong shape
	waiting   bool // Failed, because what the rule reads of the cluster is not there yet
}

// Result is the verdict of a Set. The zero value is a denial.
type Result struct {
	Denials  []Finding `json:"denials,omitempty"`
	Warnings []Finding `json:"warnings,omitempty"`
	Dryruns  []Finding `json:"dryruns,omitempty"`
	// Asked is the number of rules that the request was put to; those that do not match it are not counted.
	Asked int `json:"asked"`
	// Referential tells that a rule was asked that reads the cluster's state (data.inventory, the Namespace): the input alone does not give
	// the verdict again.
	Referential bool `json:"referential,omitempty"`
	// Digest is the Set's, and Engine the version of OPA: with the input, all that the verdict depends on.
	Digest string `json:"digest"`
	Engine string `json:"engine"`
	// Time is what the rules took for now.
	Time time.Time `json:"time"`

	complete bool
}

// Allowed tells whether every rule was asked and none denied.
func (r Result) Allowed() bool { return r.complete && len(r.Denials) == 0 }

// Waiting tells whether the only thing that stands in the way is that the inventory is not complete yet: ask again later.
func (r Result) Waiting() bool {
	for _, f := range r.Denials {
		if !f.waiting {
			return false
		}
	}
	return len(r.Denials) > 0
}

// Controls are the control labels of all findings, sorted.
func (r Result) Controls() []string {
	var all []string
	for _, fs := range [][]Finding{r.Denials, r.Warnings, r.Dryruns} {
		for _, f := range fs {
			all = append(all, f.Controls...)
		}
	}
	return sortedUnique(all)
}

// Engine is the version of OPA that judges.
func Engine() string { return "opa " + version.Version }

// Revision is where one source of a Set came from.
type Revision struct {
	Repository string   `json:"repository"`
	Commit     git.ID   `json:"commit"`
	Path       git.Path `json:"path"`
}

// Limits bound one decision. The zero value of a field is its default.
type Limits struct {
	// Time for all rules of one request; past it what runs is cut off and what was not asked counts as denied. The context's deadline
	// holds as well.
	Time time.Duration
	// Memory that the process may allocate while one request is judged, in bytes.
	Memory uint64
}

// The defaults leave two orders of magnitude above what policies need in practice, and stay well below the API
// server's own time-out of ten seconds.
const (
	DefaultTime   = time.Second
	DefaultMemory = 256 << 20
)

// Set is the compiled policies of one moment. It never changes once it is made and may be asked by many at once.
type Set struct {
	rules      []*rule
	expansions []*expansion
	revisions  []Revision
	inventory  []Kind
	unused     []string
	digest     string
	documents  [][]byte // the text that digest is of, and the files that it names
	limits     Limits
	// strays counts evaluations that were cut off and have not ended yet.
	strays atomic.Int32
}

// Digest names the content of everything in the Set that can influence a verdict: sha256: and 64 hexadecimal digits.
func (s *Set) Digest() string {
	if s == nil {
		return ""
	}
	return s.digest
}

// Documents are the bytes behind Digest, for whoever wants to keep them: first the text whose SHA-256 it is, one JSON list of paths and SHA-256
// sums for each source, one after the other; then each file that can influence a verdict. They must not be changed.
func (s *Set) Documents() [][]byte {
	if s == nil {
		return nil
	}
	return s.documents
}

// Revisions are the commits that the policies came from, in the order in which the sources were given.
func (s *Set) Revisions() []Revision {
	if s == nil {
		return nil
	}
	return s.revisions
}

// Inventory are the kinds of cluster objects that the policies read: those in data.inventory, and Namespaces if a rule looks at the
// object's. Input.Inventory must hold them.
func (s *Set) Inventory() []Kind {
	if s == nil {
		return nil
	}
	return s.inventory
}

// Unused names the ConstraintTemplates that no Constraint uses: they enforce nothing.
func (s *Set) Unused() []string {
	if s == nil {
		return nil
	}
	return s.unused
}

// Rule describes one rule of a Set.
type Rule struct {
	Policy     string     `json:"policy"`
	Rules      []string   `json:"rules"`
	Convention Convention `json:"convention"`
	Actions    []Action   `json:"actions"`
	File       string     `json:"file"`
}

// Rules lists what the Set enforces, in the order in which it is asked.
func (s *Set) Rules() []Rule {
	if s == nil {
		return nil
	}
	out := make([]Rule, 0, len(s.rules))
	for _, r := range s.rules {
		out = append(out, r.describe())
	}
	return out
}

func sortedUnique(in []string) []string {
	if len(in) == 0 {
		return nil
	}
	seen := map[string]bool{}
	out := make([]string, 0, len(in))
	for _, s := range in {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	sort.Strings(out)
	return out
}
