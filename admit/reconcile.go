package admit

import (
	"reflect"
	"slices"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/snapshot"
)

// `kubectl auth reconcile`, which goes before Argo CD's apply of what RBAC knows: it adds to a live object the rules or subjects that are declared and
// not there, takes nothing away, and makes a binding anew whose roleRef differs. The apply after it brings the object to what Git says.

// reconciled are the fields in which a request does what `kubectl auth reconcile` does: there the live items stay, and of what Git declares the missing ones come.
func (j *judgement) reconciled(e *snapshot.Entry) []account.Pattern {
	if !e.Apply.Reconciled || j.r.Operation != Update {
		return nil
	}
	switch j.key.Kind {
	case "Role", "ClusterRole":
		if addsTo(j.r.Old, j.r.Object, "rules", e.Content.At("rules"), permissions) {
			return below([]string{"rules"})
		}
	case "RoleBinding", "ClusterRoleBinding":
		if addsTo(j.r.Old, j.r.Object, "subjects", e.Content.At("subjects"), subjects) {
			return below([]string{"subjects"})
		}
	}
	return nil
}

// anotherRole tells whether a live binding is of another role than the declared one: no update changes that.
func (j *judgement) anotherRole(e *snapshot.Entry) bool {
	if !e.Apply.Reconciled || j.key.Kind != "RoleBinding" && j.key.Kind != "ClusterRoleBinding" {
		return false
	}
	is, _ := j.r.Old["roleRef"].(map[string]any)
	declared := e.Content.Child("roleRef")
	return len(is) > 0 && (is["kind"] != declared["kind"] || is["name"] != declared["name"])
}

// addsTo tells whether a list is the old one with items of the declared list after it, and then holds all of those. read takes an item apart.
func addsTo(old, object map[string]any, field string, declared any, read func(item any) []grain) bool {
	before, now := asList(old[field]), asList(object[field])
	if len(now) <= len(before) || !reflect.DeepEqual(before, now[:len(before)]) {
		return false
	}
	var said, have []grain
	for _, item := range asList(declared) {
		said = append(said, read(item)...)
	}
	for _, item := range now {
		have = append(have, read(item)...)
	}
	for _, item := range now[len(before):] {
		added := read(item)
		if len(added) == 0 || slices.ContainsFunc(added, func(g grain) bool { return !slices.Contains(said, g) }) {
			return false
		}
	}
	return !slices.ContainsFunc(said, func(g grain) bool {
		return !slices.ContainsFunc(have, func(h grain) bool { return h.covers(g) })
	})
}

// grain is one permission of a rule, or one subject: the smallest part that is granted. Fields that do not apply are "".
type grain struct{ verb, group, resource, name, url string }

// covers tells whether one permission holds another one.
func (g grain) covers(other grain) bool {
	within := func(mine, its string) bool { return mine == its || mine == "*" && its != "" }
	return within(g.verb, other.verb) && within(g.group, other.group) && within(g.resource, other.resource) &&
		(g.name == "" || g.name == other.name) && within(g.url, other.url)
}

// permissions takes a rule apart.
func permissions(item any) []grain {
	rule, _ := item.(map[string]any)
	texts := func(field string) []string {
		var out []string
		for _, v := range asList(rule[field]) {
			s, _ := v.(string)
			out = append(out, s)
		}
		return out
	}
	names := texts("resourceNames")
	if len(names) == 0 {
		names = []string{""}
	}
	var out []grain
	for _, verb := range texts("verbs") {
		for _, group := range texts("apiGroups") {
			if group != "*" {
				group = "/" + group // the core group is one, too
			}
			for _, resource := range texts("resources") {
				for _, name := range names {
					out = append(out, grain{verb, group, resource, name, ""})
				}
			}
		}
		for _, url := range texts("nonResourceURLs") {
			out = append(out, grain{verb: verb, url: url})
		}
	}
	return out
}

// subjects reads a subject; its group is that of its kind where it says none.
func subjects(item any) []grain {
	s, _ := item.(map[string]any)
	text := func(field string) string { v, _ := s[field].(string); return v }
	if text("kind") == "" || text("name") == "" {
		return nil
	}
	group := text("apiGroup")
	if group == "" && text("kind") != "ServiceAccount" {
		group = "rbac.authorization.k8s.io"
	}
	return []grain{{verb: text("kind"), group: group, resource: text("namespace"), name: text("name")}}
}
