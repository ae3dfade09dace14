package manifest

import (
	"cmp"
	"maps"
	"slices"
	"sort"

	"github.com/commitgate/commitgate/agent"
)

// merge makes the set out of the one before: only objects of a key that is new, gone or declared otherwise are looked at. The rest is copied, as pointers.
func (r *renderer) merge() *Set {
	set := &Set{Builds: r.builds, scopes: r.scopes, Unfollowed: sortProblems(r.unfollows), units: r.units, tracking: map[string]argoTracking{}}
	for _, a := range r.in.Gate.Agents {
		set.tracking[a.Name] = r.tracking(a.Name)
	}
	var before Set
	if r.in.Previous != nil {
		before = *r.in.Previous
	}
	gone, added := r.changes(before.Builds)
	slices.SortStableFunc(added, byKey)
	var keys []Key
	for _, o := range added {
		keys = append(keys, o.Key)
	}
	for o := range gone {
		keys = append(keys, o.Key)
	}
	slices.SortFunc(keys, Key.Compare)
	keys = slices.Compact(keys)
	made := make([][]*Object, 0, len(keys)) // of each key
	set.merged = replace(before.merged, keys, func(k Key, was []*Object) []*Object {
		now := slices.DeleteFunc(slices.Clone(was), func(o *Object) bool { return gone[o] })
		for len(added) > 0 && added[0].Key == k {
			now, added = append(now, added[0]), added[1:]
		}
		if len(now) > 1 { // whatever came first
			slices.SortStableFunc(now, byPlace)
		}
		made = append(made, now)
		return now
	})
	set.Objects = replace(before.Objects, keys, func(Key, []*Object) []*Object {
		now := made[0]
		made = made[1:]
		return r.unique(now)
	})
	return set
}

func byKey(a, b *Object) int { return a.Key.Compare(b.Key) }

func byPlace(a, b *Object) int {
	return cmp.Or(cmp.Compare(a.Source.Repository, b.Source.Repository), cmp.Compare(a.Source.Path, b.Source.Path), cmp.Compare(a.Source.Line, b.Source.Line),
		cmp.Compare(a.Source.place(), b.Source.place()), a.OwnerKey().Compare(b.OwnerKey()))
}

// changes are the objects of the builds of the set before that are not in those of now, and those that are new.
func (r *renderer) changes(before []*Build) (gone map[*Object]bool, added []*Object) {
	gone = map[*Object]bool{}
	has := make(map[unitID]bool, len(r.builds))
	for _, b := range r.builds {
		has[b.id] = true
		var was []*Object
		switch old := r.previous[b.id]; {
		case old == b:
			continue
		case old != nil:
			was = old.Objects
		}
		left, more := exchanged(was, b.Objects)
		maps.Copy(gone, left)
		added = append(added, more...)
	}
	for _, b := range before {
		if !has[b.id] {
			for _, o := range b.Objects {
				gone[o] = true
			}
		}
	}
	return gone, added
}

// exchanged are the objects that are gone from a list, and those that were added to it.
func exchanged(was, now []*Object) (gone map[*Object]bool, added []*Object) {
	was, now = withoutEnds(was, now)
	gone = make(map[*Object]bool, len(was))
	for _, o := range was {
		gone[o] = true
	}
	for _, o := range now {
		if !gone[o] {
			added = append(added, o)
		}
	}
	for _, o := range now {
		delete(gone, o)
	}
	return gone, added
}

// withoutEnds are two lists without what they have in common at both ends: a push changes a few places of a long list.
func withoutEnds[T comparable](a, b []T) ([]T, []T) {
	n := sharedHead(a, b)
	a, b = a[n:], b[n:]
	n = sharedTail(a, b)
	return a[:len(a)-n], b[:len(b)-n]
}

// sharedHead is how many items two lists begin with alike.
func sharedHead[T comparable](a, b []T) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// sharedTail is how many items two lists end with alike.
func sharedTail[T comparable](a, b []T) int {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// replace is a list of objects, sorted by key, with others in the place of those with one of the keys, sorted too.
func replace(list []*Object, keys []Key, with func(k Key, was []*Object) []*Object) []*Object {
	if len(keys) == 0 {
		return list
	}
	out := make([]*Object, 0, len(list)+len(keys))
	for _, k := range keys {
		at := search(list, k)
		was := withKey(list, k)
		out = append(append(out, list[:at]...), with(k, was)...)
		list = list[at+len(was):]
	}
	return append(out, list...)
}

// search is where the objects of a key stand in a list that is sorted by key, or would stand.
func search(list []*Object, k Key) int {
	return sort.Search(len(list), func(i int) bool { return list[i].Key.Compare(k) >= 0 })
}

// withKey are the objects of a key in a list that is sorted by key.
func withKey(list []*Object, k Key) []*Object {
	at := search(list, k)
	end := at
	for end < len(list) && list[end].Key == k {
		end++
	}
	return list[at:end]
}

// unique refuses what is declared twice: which one holds would depend on which agent, or which sync, comes last. A namespace that an agent makes only
// because it is not there yields to one that is declared. The objects are of one key, sorted by place.
func (r *renderer) unique(objects []*Object) []*Object {
	var out []*Object
	for _, o := range withoutFound(objects) {
		if len(out) == 0 {
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
			r.problem(o.Source, "%s is declared twice: in %s too%s", o.Key, other.Source.place(), twoOwners(other, o))
		}
	}
	return out
}

// withoutFound leaves out, of objects of one key, those that the path of a root holds and that an object of the same agent, found there, applies from the
// very same file: a Kustomization flux-system in the folder that it applies, an Application of its own folder. The root says where to look, that object
// says what is applied, and how.
func withoutFound(objects []*Object) []*Object {
	if len(objects) < 2 {
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
