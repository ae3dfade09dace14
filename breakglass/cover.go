package breakglass

import (
	"path"
	"slices"
	"time"

	"github.com/commitgate/commitgate/manifest"
)

// Question is a request, as far as a grant can cover it.
type Question struct {
	User      string
	Groups    []string
	Operation string // CREATE, UPDATE, DELETE, CONNECT
	Object    manifest.Key
	// Subresource is "" for the object itself.
	Subresource string
	// AgentIdentity: the request is a way to the sync agent's identity, which takes a grant that says so.
	AgentIdentity bool
}

// State is where a grant stands, in one word.
type State string

// The states.
const (
	Active    State = "Active"
	Pending   State = "Pending"   // its time has not come
	Expired   State = "Expired"   // its time is over
	Exhausted State = "Exhausted" // as many requests have passed as it lets
	Revoked   State = "Revoked"
	Deleted   State = "Deleted" // its object was deleted once; brought again, it opens nothing
	Refused   State = "Refused" // its signatures do not suffice, or it is out of bounds
)

// StateAt is where a grant stands at a time, after some uses.
func (g *Grant) StateAt(now time.Time, uses int) State {
	switch {
	case g.Revoked != "":
		return Revoked
	case now.Before(g.Spec.From.Time):
		return Pending
	case !now.Before(g.Spec.Until.Time):
		return Expired
	case g.Spec.Uses > 0 && uses >= g.Spec.Uses:
		return Exhausted
	}
	return Active
}

// covers tells whether the scope of a grant holds a request. A list that is left empty covers nothing, but for names.
func (g *Grant) covers(q Question) bool {
	s := &g.Spec
	if !slices.Contains(s.Users, q.User) && !slices.ContainsFunc(s.Groups, func(group string) bool { return slices.Contains(q.Groups, group) }) {
		return false
	}
	subresource := q.Subresource == "" || matches(s.Subresources, q.Subresource)
	return subresource && matches(s.Operations, q.Operation) && namespace(s.Namespaces, q.Object.Namespace) && kind(s.Kinds, q.Object) &&
		(len(s.Names) == 0 || matches(s.Names, q.Object.Name)) && (s.AgentIdentity || !q.AgentIdentity)
}

func matches(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, s)
		return err == nil && ok
	})
}

// namespace: a pattern, even *, is about namespaces; a cluster-scoped object takes an empty string.
func namespace(patterns []string, ns string) bool {
	if ns == "" {
		return slices.Contains(patterns, "")
	}
	return matches(patterns, ns)
}

func kind(kinds []string, k manifest.Key) bool {
	full := k.Kind
	if k.Group != "" {
		full += "." + k.Group
	}
	return slices.Contains(kinds, "*") || slices.Contains(kinds, k.Kind) || slices.Contains(kinds, full)
}
