package breakglass

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Limits bound what a grant may ask for, whoever signs it.
type Limits struct{ v1alpha1.GrantLimits }

// check lists what a grant asks for beyond the limits.
func (l *Limits) check(s *v1alpha1.GrantSpec) error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if l.MaxUses > 0 && (s.Uses == 0 || s.Uses > l.MaxUses) {
		problem("it lets %s pass: want a count of at most %d", times(s.Uses), l.MaxUses)
	}
	for _, subject := range subjects(s) {
		if len(l.Subjects) > 0 && !slices.Contains(l.Subjects, subject) {
			problem("it is for a %s: only %s", subject, joined(l.Subjects))
		}
	}
	within := func(what string, bounds, asked []string, holds func(bound, asked string) bool) {
		for _, a := range asked {
			if len(bounds) > 0 && !slices.ContainsFunc(bounds, func(b string) bool { return holds(b, a) }) {
				problem("%s %q is beyond what a grant may name: %s", what, a, joined(bounds))
			}
		}
	}
	within("namespace", l.Namespaces, s.Namespaces, patternWithin)
	within("kind", l.Kinds, s.Kinds, kindWithin)
	within("operation", l.Operations, s.Operations, func(b, a string) bool { return a == b })
	within("subresource", l.Subresources, s.Subresources, patternWithin)
	if l.NoAgentIdentity && s.AgentIdentity {
		problem("no grant opens the ways to the sync agent's identity here")
	}
	for _, n := range l.Never {
		if asksOnly(n, s) {
			problem("it names what no grant covers: %s", described(n))
		}
	}
	return errors.Join(problems...)
}

// never tells whether a request is about what no grant covers.
func (l *Limits) never(q Question) bool {
	return l.NoAgentIdentity && q.AgentIdentity || slices.ContainsFunc(l.Never, func(n v1alpha1.GrantNever) bool {
		return (len(n.Namespaces) == 0 || namespace(n.Namespaces, q.Object.Namespace)) && (len(n.Kinds) == 0 || kind(n.Kinds, q.Object)) &&
			(len(n.Operations) == 0 || slices.Contains(n.Operations, q.Operation))
	})
}

// asksOnly tells whether a grant can cover nothing but what it never may: it would only mislead whoever signs it.
func asksOnly(n v1alpha1.GrantNever, s *v1alpha1.GrantSpec) bool {
	all := func(asked, bounds []string, holds func(bound, asked string) bool) bool {
		return len(bounds) == 0 || !slices.ContainsFunc(asked, func(a string) bool {
			return !slices.ContainsFunc(bounds, func(b string) bool { return holds(b, a) })
		})
	}
	return all(s.Namespaces, n.Namespaces, patternWithin) && all(s.Kinds, n.Kinds, kindWithin) && all(s.Operations, n.Operations, func(b, a string) bool { return a == b })
}

// patternWithin tells whether everything that a pattern fits is held by a bound. It errs towards no.
func patternWithin(bound, pattern string) bool {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return bound == "" && pattern == "" || pattern != "" && matches([]string{bound}, pattern)
	}
	if bound == pattern {
		return true
	}
	prefix, open := strings.CutSuffix(bound, "*")
	_, err := path.Match(pattern, "")
	return err == nil && open && !strings.ContainsAny(prefix, `*?[\`) && strings.HasPrefix(pattern, prefix)
}

// kindWithin: Kind in a bound is that kind of every group; in a grant too, which takes more than a bound of one group gives.
func kindWithin(bound, asked string) bool {
	name, _, qualified := strings.Cut(asked, ".")
	return bound == "*" || bound == asked || qualified && bound == name
}

// subjects are the kinds of users that a grant names.
func subjects(s *v1alpha1.GrantSpec) []v1alpha1.SubjectKind {
	var out []v1alpha1.SubjectKind
	for _, u := range s.Users {
		if strings.HasPrefix(u, "system:serviceaccount:") {
			out = append(out, v1alpha1.SubjectServiceAccount)
		} else {
			out = append(out, v1alpha1.SubjectUser)
		}
	}
	for _, g := range s.Groups {
		if strings.HasPrefix(g, "system:serviceaccounts:") {
			out = append(out, v1alpha1.SubjectServiceAccount)
		} else {
			out = append(out, v1alpha1.SubjectGroup)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func times(uses int) string {
	switch uses {
	case 0:
		return "any number of requests"
	case 1:
		return "1 request"
	}
	return fmt.Sprintf("%d requests", uses)
}

func described(n v1alpha1.GrantNever) string {
	var parts []string
	for _, list := range [][]string{n.Operations, n.Kinds} {
		if len(list) > 0 {
			parts = append(parts, strings.Join(list, ", "))
		}
	}
	if len(n.Namespaces) > 0 {
		parts = append(parts, "in "+joined(n.Namespaces))
	}
	return strings.Join(parts, " ")
}

func joined[S ~string](list []S) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
		if s == "" {
			out[i] = "no namespace"
		}
	}
	return strings.Join(out, ", ")
}
