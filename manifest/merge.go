package manifest

import (
	"cmp"
	"slices"

	"github.com/commitgate/commitgate/agent"
)

// merge makes the set: the objects of the set before but for those of builds that are gone or changed, and those of the new builds. Only what
// changed is sorted.
func (r *renderer) merge() *Set {
	set := &Set{Builds: r.builds, scopes: r.scopes, Unfollowed: sortProblems(r.unfollows)}
	set.tracking = map[string]argoTracking{}
	for _, a := range r.in.Gate.Agents {
		set.tracking[a.Name] = r.tracking(a.Name)
	}
	kept := map[*Build]bool{}
	if r.in.Previous != nil {
		for _, b := range r.in.Previous.Builds {
			kept[b] = false
		}
	}
	var added []*Object
	for _, b := range r.builds {
		if _, ok := kept[b]; ok {
			kept[b] = true
			continue
		}
		added = append(added, b.Objects...)
	}
	slices.SortStableFunc(added, byKey)
	gone := map[*Object]bool{}
	for b, ok := range kept {
		if !ok {
			for _, o := range b.Objects {
				gone[o] = true
			}
		}
	}
	if r.in.Previous == nil {
		set.merged = added
	} else if set.merged = r.in.Previous.merged; len(added)+len(gone) > 0 {
		set.merged = mergeSorted(set.merged, gone, added)
	} else {
		set.Objects = r.in.Previous.Objects
		return set
	}
	set.Objects = r.unique(set.merged)
	return set
}

func byKey(a, b *Object) int { return compareKeys(a.Key, b.Key) }

// mergeSorted merges what is left of the objects before with the added ones.
func mergeSorted(before []*Object, gone map[*Object]bool, added []*Object) []*Object {
	merged := make([]*Object, 0, len(before)+len(added))
	for _, o := range before {
		if gone[o] {
			continue
		}
		for len(added) > 0 && byKey(added[0], o) < 0 {
			merged, added = append(merged, added[0]), added[1:]
		}
		merged = append(merged, o)
	}
	return append(merged, added...)
}

// unique refuses what is declared twice: which one holds would depend on which agent, or which sync, comes last. A namespace that an agent makes only
// because it is not there yields to one that is declared.
func (r *renderer) unique(objects []*Object) []*Object {
	out := make([]*Object, 0, len(objects))
	for len(objects) > 0 {
		n := 1
		for n < len(objects) && objects[n].Key == objects[0].Key {
			n++
		}
		first := len(out)
		for _, o := range withoutFound(objects[:n]) {
			if len(out) == first {
				out = append(out, o)
				continue
			}
			other := out[len(out)-1]
			switch {
			case o.implied:
				out[len(out)-1] = other.alsoMade(o)
			case other.implied:
				out[len(out)-1] = o.alsoMade(other)
			case o.Apply.GenerateName:
				out = append(out, o)
			default:
				first, second := other, o
				if cmp.Compare(first.Source.place(), second.Source.place()) > 0 {
					first, second = o, other
				}
				r.problem(second.Source, "%s is declared twice: in %s too%s", o.Key, first.Source.place(), twoOwners(first, second))
			}
		}
		objects = objects[n:]
	}
	return out
}

// withoutFound leaves out, of objects of one key, those that the path of a root holds and that an object of the same agent, found there, applies from the
// very same file: a Kustomization flux-system in the folder that it applies, an Application of its own folder. The root says where to look, that object
// says what is applied, and how.
func withoutFound(objects []*Object) []*Object {
	if len(objects) == 1 {
		return objects
	}
	return slices.DeleteFunc(slices.Clone(objects), func(o *Object) bool {
		return o.Owner == agent.Owner{Agent: o.Owner.Agent} && slices.ContainsFunc(objects, func(by *Object) bool {
			return by.Owner != o.Owner && by.Owner.Agent == o.Owner.Agent && by.Source.inFileOf(o.Source)
		})
	})
}

// alsoMade is a namespace that a release makes where it is not there: Helm gives it the label name. A release of the same agent may do more, as Fleet, which
// gives it the labels and annotations that a bundle has for it.
func (o *Object) alsoMade(by *Object) *Object {
	if o.Kind != "Namespace" || by.Adds.Loose["name"] != o.Name && by.Content.Child("metadata", "labels")["name"] != o.Name {
		return o
	}
	joined := *o
	joined.Apply.Early = append(slices.Concat(o.Apply.Early, by.Apply.Early), by.Owner.Agent)
	joined.Adds.Loose = map[string]string{"name": o.Name}
	if o.Owner.Agent == by.Owner.Agent {
		metadata := o.Content.Child("metadata")
		joined.Adds.Labels = besides(childMap(metadata, "labels"), o.Adds.Labels, by.Adds.Labels)
		joined.Adds.Annotations = besides(childMap(metadata, "annotations"), o.Adds.Annotations, by.Adds.Annotations)
	}
	return &joined
}

// besides are the entries of a map, and those of another one that neither it nor what is declared has.
func besides(declared map[string]any, own, more map[string]string) map[string]string {
	out := withStrings(nil, own)
	for k, v := range more {
		if _, there := own[k]; !there && declared[k] == nil {
			out = withStrings(out, map[string]string{k: v})
		}
	}
	return out
}

func twoOwners(a, b *Object) string {
	if a.Owner == b.Owner {
		return ""
	}
	name := func(o *Object) string {
		if o.Owner.Kind == "" {
			return "the root " + o.Source.Repository
		}
		return Key{o.Owner.Group, o.Owner.Kind, o.Owner.Namespace, o.Owner.Name}.String()
	}
	return ", by " + name(a) + " and " + name(b)
}
