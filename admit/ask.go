package admit

import (
	"slices"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/manifest"
)

// Scope tells what is guarded where an object lives.
func (g *Gate) Scope(k manifest.Key) v1alpha1.Scope { return g.scopeOf(k) }

// DryRun tells whether the configuration says that this cluster's admission changes such objects, so that the gate asks it what it makes of them.
func (g *Gate) DryRun(k manifest.Key) bool {
	return slices.ContainsFunc(g.spec.DryRuns, func(r v1alpha1.DryRun) bool {
		return matchesAny(r.Namespaces, k.Namespace) && matchesKind(r.Kinds, k.Group, k.Kind)
	})
}

// ExemptFields are the fields of an object that somebody may change without Git, and the names of the exemptions that say so: for whoever
// looks at the object itself and cannot know who changed it.
func (g *Gate) ExemptFields(k manifest.Key, now time.Time) (fields []account.Pattern, names []string) {
	for e := range g.exemptionsOf(k, now) {
		if len(e.Fields) > 0 {
			fields, names = append(fields, patterns(e.Fields)...), append(names, e.Name)
		}
	}
	return fields, names
}

// Exemption is the exemption by which the object as a whole may be there without Git, nil if there is none. One that is for somebody, wherever they
// write, says nothing about an object.
func (g *Gate) Exemption(k manifest.Key, now time.Time) *v1alpha1.Exemption {
	for e := range g.exemptionsOf(k, now) {
		if len(e.Fields) == 0 && len(e.Namespaces)+len(e.Kinds)+len(e.Names) > 0 {
			return e
		}
	}
	return nil
}

// exemptionsOf yields what exempts changes of an object itself, whoever makes them.
func (g *Gate) exemptionsOf(k manifest.Key, now time.Time) func(yield func(*v1alpha1.Exemption) bool) {
	return func(yield func(*v1alpha1.Exemption) bool) {
		for i := range g.spec.Exemptions {
			e := &g.spec.Exemptions[i]
			itself := len(e.Subresources) == 0 || matchesAny(e.Subresources, "")
			if !e.Ended(now) && itself && matchesAny(e.Namespaces, k.Namespace) && matchesAny(e.Names, k.Name) && matchesKind(e.Kinds, k.Group, k.Kind) && !yield(e) {
				return
			}
		}
	}
}
