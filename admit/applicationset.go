package admit

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/snapshot"
)

// isApplicationSets tells whether a user of an agent is its applicationset-controller.
func isApplicationSets(a *v1alpha1.Agent, user string) bool {
	return a.Preset == v1alpha1.PresetArgoCD && strings.HasSuffix(user, agent.ApplicationSetController)
}

// applicationSets judges Argo CD's applicationset-controller. It makes the Applications that ApplicationSets generate, as they are
// rendered from Git, and keeps the status of the sets. It is nobody else: what the rest of the agent may is not its own.
func (j *judgement) applicationSets() *Decision {
	if !j.id.sets || j.r.Operation == Connect {
		return nil
	}
	switch j.r.resource() {
	case "argoproj.io/applicationsets", "argoproj.io/applicationsets/status":
		if j.r.Operation == Update && (j.r.Subresource == "status" || changingNormal("status", "metadata.finalizers", "metadata.annotations[argocd.argoproj.io/application-set-refresh]")(j)) {
			return j.keptByArgoCD()
		}
	case "argoproj.io/applications":
		if d := j.applicationOfSet(); d != nil {
			return d
		}
	}
	if d := j.notGuarded(); d != nil {
		return d
	}
	return j.ahead(deny(v1alpha1.ReasonNotDeclared, "%s may not %s: it makes the Applications of ApplicationSets that Git declares%s, and nothing else.\n"+
		"Next: declare it in Git, signed; generators that ask a cluster or a forge are not followed.", j.r.User.Name, j.what(), j.heads()))
}

// keptByArgoCD lets one of Argo CD's controllers write what it keeps for itself.
func (j *judgement) keptByArgoCD() *Decision {
	d := allow(v1alpha1.ReasonBookkeeping)
	d.Rule = string(v1alpha1.PresetArgoCD) + " " + j.r.resource()
	return d
}

// applicationOfSet judges a write of an Application; nil if no ApplicationSet that Git declares has to do with it.
func (j *judgement) applicationOfSet() *Decision {
	candidates := j.candidates()
	if j.r.Operation == Delete {
		if owner, ok := live.ControllerOf(j.r.Old); len(candidates) == 0 && !(ok && isApplicationSet(owner)) {
			return nil
		}
		if current := j.Truth.Current.Lookup(j.key); current != nil {
			return j.agentDeletes(candidates) // refuses: it is still declared
		}
		return allow(v1alpha1.ReasonPruned)
	}
	if j.letsGoOfApplication() {
		return j.keptByArgoCD()
	}
	var best *Decision
	for _, e := range candidates {
		if e.Owner.Kind != "ApplicationSet" || !ownedBySet(j.r.Object, e) {
			continue
		}
		d := j.asGenerated(e)
		if d.Outcome == Allow {
			return d
		}
		if best == nil { // the current revision's
			best = d
		}
	}
	if best == nil {
		return nil
	}
	return j.ahead(best)
}

// letsGoOfApplication holds where the controller leaves an Application that its set generates no more: it takes away its finalizer where there
// is no such cluster (removeFinalizerOnInvalidDestination), or its owner where the policy of the set forbids to delete it
// (removeOwnerReferencesOnDeleteAppSet).
func (j *judgement) letsGoOfApplication() bool {
	owner, ok := live.ControllerOf(j.r.Old)
	if j.r.Operation != Update || !ok || !isApplicationSet(owner) || j.Truth.Current.Lookup(j.key) != nil {
		return false
	}
	return changingNormal("metadata.finalizers", "metadata.ownerReferences")(j) && !addsFinalizer(j.r.Old, j.r.Object) && fewer(metadataList(j.r.Old, "ownerReferences"), metadataList(j.r.Object, "ownerReferences"))
}

// fewer tells whether every item of a list was there before.
func fewer(before, now []any) bool {
	return !slices.ContainsFunc(now, func(item any) bool {
		return !slices.ContainsFunc(before, func(was any) bool { return reflect.DeepEqual(was, item) })
	})
}

// asGenerated accounts for what the controller writes beside what the set generates: its owner, the empty status of what is new, and, of a set with
// a rolling sync, the operation that starts the sync in place of an automated one.
func (j *judgement) asGenerated(e *snapshot.Entry) *Decision {
	judged := below([]string{"metadata.ownerReferences"})
	if !e.Apply.Rolling {
		return j.faithful(e, judged...)
	}
	if startsSync(j.r.Object, e) {
		judged = append(judged, below([]string{"operation"})...)
	}
	as, r := *j, *j.r
	r.Object, as.r = withAutomation(r.Object, e), &r
	return as.faithful(e, judged...)
}

// startsSync tells whether an Application's operation is the one with which a rolling sync begins: a sync of what the Application names, with its own
// options, and of nothing else (applicationset_controller.go, syncApplication).
func startsSync(application map[string]any, e *snapshot.Entry) bool {
	operation, _ := application["operation"].(map[string]any)
	sync, ok := operation["sync"].(map[string]any)
	if !ok {
		return false
	}
	policy := e.Content.Child("spec", "syncPolicy")
	automated, _ := policy["automated"].(map[string]any)
	for field, v := range sync {
		switch {
		case field == "syncOptions" && sameJSON(v, policy["syncOptions"]):
		case field == "prune" && (v == false || v == automated["prune"]):
		default:
			return false
		}
	}
	for field, v := range operation {
		switch field {
		case "sync", "initiatedBy", "info":
		case "retry":
			if m, _ := v.(map[string]any); len(m) > 0 && !sameJSON(v, policy["retry"]) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// withAutomation is an Application with the automated sync that Git declares, where a rolling sync has taken it out or switched it off.
func withAutomation(application map[string]any, e *snapshot.Entry) map[string]any {
	automated := e.Content.Child("spec", "syncPolicy", "automated")
	if automated == nil {
		return application
	}
	policy, _ := spec(application)["syncPolicy"].(map[string]any)
	if now, ok := policy["automated"].(map[string]any); ok {
		if enabled, ok := now["enabled"].(bool); !ok || enabled {
			return application
		}
		automated = with(now, "enabled", automated["enabled"]) // nil is none
	}
	return with(application, "spec", with(spec(application), "syncPolicy", with(policy, "automated", automated)))
}

// sameJSON compares values of Git, which have other number types, with those of a request.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// with is a copy of a map with another value.
func with(m map[string]any, field string, v any) map[string]any {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]any{}
	}
	out[field] = v
	return out
}

func isApplicationSet(o live.Owner) bool {
	return o.Group == "argoproj.io" && o.Kind == "ApplicationSet"
}

// ownedBySet tells whether an Application belongs to the ApplicationSet that declares it, and to nobody else: an owner more is one whose end is the
// Application's.
func ownedBySet(application map[string]any, e *snapshot.Entry) bool {
	owners := live.OwnersOf(application)
	return len(owners) == 1 && owners[0].Controller && isApplicationSet(owners[0]) && owners[0].Name == e.Owner.Name && owners[0].Namespace == e.Owner.Namespace
}
