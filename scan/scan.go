// Package scan compares what is live with what Git declares: all objects of a cluster, in the background or at once. It finds what no webhook
// was asked about: what was there before the gate, what came in while it was down, and what is never sent to webhooks.
//
// It only reads. A page of objects is held at a time, and of each object no more than its identity and its owner. What it finds
// proves that something differs, never who did it: managers and times are what the object says of itself.
package scan

import (
	"cmp"
	"slices"
	"time"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// State is how one object stands to Git.
type State string

// The states. The first four are findings.
const (
	Untraced  State = "Untraced"  // live, and nothing explains it
	Drifted   State = "Drifted"   // live and declared, and they differ
	Conflict  State = "Conflict"  // declared, and marked as another owner's
	Missing   State = "Missing"   // declared, and not live
	InGit     State = "InGit"     // live as declared
	Derived   State = "Derived"   // made by a controller from something that is in Git
	Exempt    State = "Exempt"    // covered by an exemption
	Unguarded State = "Unguarded" // not declared, in the scope Declared: left to RBAC
	System    State = "System"    // made by Kubernetes itself
)

// States lists all states, findings first.
func States() []State {
	return []State{Untraced, Drifted, Conflict, Missing, InGit, Derived, Exempt, Unguarded, System}
}

// Finding tells whether somebody has to look at it.
func (s State) Finding() bool { return s == Untraced || s == Drifted || s == Conflict || s == Missing }

// maxFindings bounds what one scan keeps in full. Beyond it findings are only counted.
const maxFindings = 10_000

// Finding is one object that is not as Git says.
type Finding struct {
	manifest.Key
	Version string
	State   State
	// Why is one sentence for people, without values of the object.
	Why string
	// Fields differ, by path; at most 64 of each side are named.
	Fields []string
	// Entry is the declaration, nil if there is none.
	Entry *snapshot.Entry
	// Manager and Time are the newest entry of managedFields that is not about a status: who says to have written last, and when.
	Manager string
	Time    time.Time
}

// Group is what objects are counted by.
type Group struct {
	Namespace string // "" for cluster-scoped objects
	APIGroup  string
	Kind      string
	State     State
}

// Result is what one scan found.
type Result struct {
	Began, Ended time.Time
	Revisions    map[string]git.ID // that were compared with, by repository
	Counts       map[Group]int
	// Findings by state, namespace, kind and name.
	Findings []Finding
	// Omitted is how many findings are in Counts only.
	Omitted int
	// Unread are kinds that could not be listed, and why: of these nothing is known.
	Unread map[string]string
}

// Count is how many objects are in a state.
func (r *Result) Count(s State) int {
	n := 0
	for g, count := range r.Counts {
		if g.State == s {
			n += count
		}
	}
	return n
}

// Clean tells whether everything could be read and nothing was found.
func (r *Result) Clean() bool {
	for g := range r.Counts {
		if g.State.Finding() {
			return false
		}
	}
	return len(r.Unread) == 0
}

func (r *Result) add(f Finding) {
	r.Counts[Group{f.Namespace, f.Group, f.Kind, f.State}]++
	if !f.State.Finding() {
		return
	}
	if len(r.Findings) >= maxFindings {
		r.Omitted++
		return
	}
	r.Findings = append(r.Findings, f)
}

func (r *Result) sort() {
	order := make(map[State]int)
	for i, s := range States() {
		order[s] = i
	}
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order[a.State], order[b.State]), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key.Group, b.Key.Group), cmp.Compare(a.Name, b.Name))
	})
}
