package scan

import (
	"maps"
	"slices"
)

// Coverage says how much of a part of the cluster is in Git. What Kubernetes makes for itself is not counted.
type Coverage struct {
	Of      string `json:"of"`      // a namespace, "(cluster)", a kind, or "all"
	InGit   int    `json:"inGit"`   // declared, also where it drifted
	Derived int    `json:"derived"` // made by controllers from what is in Git
	Outside int    `json:"outside"` // neither; exempt and unguarded objects too
}

// Percent is how much is in Git or follows from it; 100 of nothing.
func (c Coverage) Percent() float64 {
	all := c.InGit + c.Derived + c.Outside
	if all == 0 {
		return 100
	}
	return 100 * float64(c.InGit+c.Derived) / float64(all)
}

// ByNamespace is the namespace, or "(cluster)".
func ByNamespace(g Group) string {
	if g.Namespace == "" {
		return "(cluster)"
	}
	return g.Namespace
}

// ByKind is Kind, or Kind.group.
func ByKind(g Group) string { return g.Kind + suffix(g.APIGroup) }

// Coverage counts by parts, in the order of their names; the last row, "all", is the sum.
func (r *Result) Coverage(by func(Group) string) []Coverage {
	rows := make(map[string]*Coverage)
	total := Coverage{Of: "all"}
	for g, n := range r.Counts {
		if g.State == System || g.State == Missing {
			continue
		}
		of := by(g)
		if rows[of] == nil {
			rows[of] = &Coverage{Of: of}
		}
		for _, row := range []*Coverage{rows[of], &total} {
			switch g.State {
			case InGit, Drifted, Conflict:
				row.InGit += n
			case Derived:
				row.Derived += n
			default:
				row.Outside += n
			}
		}
	}
	var out []Coverage
	for _, of := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, *rows[of])
	}
	return append(out, total)
}
