package admit

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
)

// The conditions of the table of controllers.

// always holds.
var always = free(func(*judgement) bool { return true })

// hasOwner holds for what has an owner. Adding an owner is a change of a guarded field, judged where it is made.
var hasOwner = free(func(j *judgement) bool { return len(live.OwnersOf(j.r.Old)) > 0 })

// only holds for an UPDATE that changes nothing but these fields (and what is below them).
func only(fields ...string) free {
	allowed := below(fields)
	return func(j *judgement) bool { return j.changesOnly(allowed) }
}

// ownedBy is only, for an object whose chain of owners ends in a declared one, or is not guarded.
func ownedBy(fields ...string) bound {
	allowed := below(fields)
	return func(j *judgement) *Decision {
		if !j.changesOnly(allowed) {
			return nil
		}
		return follows{}.judge(j)
	}
}

// revisionOf holds for ControllerRevisions of a declared owner.
var revisionOf = bound(func(j *judgement) *Decision {
	switch j.r.Operation {
	case Delete:
		return hasOwner.judge(j)
	case Update: // an older revision is in force again, or one is adopted: its data never changes
		return only("revision", "metadata.labels[*]", "metadata.annotations[*]", "metadata.ownerReferences").judge(j)
	}
	return follows{[]string{"StatefulSet.apps", "DaemonSet.apps"}, live.TemplateOf, nil}.judge(j)
})

// named holds for objects with one of these names.
func named(names ...string) free {
	return func(j *judgement) bool { return slices.Contains(names, j.key.Name) }
}

func below(fields []string) []account.Pattern {
	var out []account.Pattern
	for _, f := range fields {
		out = append(out, account.Pattern(f), account.Pattern(f+"**"))
	}
	return out
}

// namespaceGoes holds while the namespace of the object is being deleted.
func (j *judgement) namespaceGoes() bool {
	ns := j.Live.Object(manifest.Key{Kind: "Namespace", Name: j.key.Namespace})
	return j.key.Namespace != "" && ns != nil && ns.Deleting
}

// namespaceUnseen asks the namespace controller to come again while it is not known whether a namespace is being deleted.
func (j *judgement) namespaceUnseen() *Decision {
	ns := manifest.Key{Kind: "Namespace", Name: j.key.Namespace}
	if j.key.Namespace == "" || j.Live.Object(ns) != nil || j.scope == v1alpha1.ScopeDeclared && j.declared(j.key) == nil {
		return nil
	}
	return retry(v1alpha1.ReasonOwnerUnknown, "%s is in %s, which has not been seen yet.\nNext: wait; the controller asks again by itself.", j.key, ns)
}

func (j *judgement) terminating() bool { return live.Deleting(j.r.Old) }

func (j *judgement) defaultAccount() bool { return j.key.Name == "default" }

// accountToken holds for Secrets that hold a legacy service account token.
func (j *judgement) accountToken() bool {
	return j.r.Old["type"] == "kubernetes.io/service-account-token"
}

func (j *judgement) bootstrapToken() bool {
	return j.r.Old["type"] == "bootstrap.kubernetes.io/token" && j.key.Namespace == "kube-system"
}

// servingTrust holds for the bundle by which clients know the API server.
func (j *judgement) servingTrust() bool {
	return strings.HasPrefix(j.key.Name, "kubernetes.io:kube-apiserver-serving:")
}

// aggregated holds for ClusterRoles whose rules are collected from others by an aggregationRule.
func (j *judgement) aggregated() bool {
	return j.r.Old["aggregationRule"] != nil && j.changesOnly(below([]string{"rules"}))
}

// controllersToken holds for tokens of kube-controller-manager's own controllers.
func (j *judgement) controllersToken() bool {
	return j.r.Namespace == "kube-system" && j.rows["system:serviceaccount:kube-system:"+j.key.Name] != nil
}

func (j *judgement) controllersAccount() bool { return j.key.Namespace == "kube-system" }

// systemNamespace holds for the namespaces that the API server keeps in being.
func (j *judgement) systemNamespace() bool {
	return slices.Contains([]string{"default", "kube-system", "kube-public", "kube-node-lease"}, j.key.Name)
}

// bootstrapped holds for the default roles and bindings that the API server reconciles.
func (j *judgement) bootstrapped() bool {
	object := j.r.Object
	if object == nil {
		object = j.r.Old
	}
	meta, _ := object["metadata"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	return labels["kubernetes.io/bootstrapping"] == "rbac-defaults"
}

// finishedWithTTL holds for a Job that says itself how long it may stay after it ended.
func (j *judgement) finishedWithTTL() bool {
	_, ok := spec(j.r.Old)["ttlSecondsAfterFinished"]
	status, _ := j.r.Old["status"].(map[string]any)
	return ok && status["completionTime"] != nil || ok && len(asList(status["conditions"])) > 0
}

// provisioned holds for volumes that a provisioner made for a claim.
func (j *judgement) provisioned() bool {
	object := j.r.Object
	if object == nil {
		object = j.r.Old
	}
	meta, _ := object["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	_, ok := annotations["pv.kubernetes.io/provisioned-by"]
	return ok && spec(object)["claimRef"] != nil
}

// tokenFilledIn holds when the token controller puts the token of a service account into the Secret that asks for it.
func (j *judgement) tokenFilledIn() bool {
	return j.accountToken() && j.changesOnly([]account.Pattern{"data**", "metadata.annotations[kubernetes.io/service-account.uid]"})
}

// letGo holds when the garbage collector takes its own finalizers away, or owners that are gone. It never adds any, and of an owner
// that stays it only lifts the block on its deletion.
func (j *judgement) letGo() bool {
	if !j.changesOnly(below([]string{"metadata.finalizers", "metadata.ownerReferences"})) || addsFinalizer(j.r.Old, j.r.Object) {
		return false
	}
	left := metadataList(j.r.Object, "finalizers")
	for _, f := range metadataList(j.r.Old, "finalizers") {
		if f != "orphan" && f != "foregroundDeletion" && !slices.Contains(left, f) {
			return false
		}
	}
	before := live.OwnersOf(j.r.Old)
	for _, o := range live.OwnersOf(j.r.Object) {
		if !slices.Contains(before, o) {
			return false
		}
	}
	return true
}

// collectable is the condition under which the garbage collector deletes: the object has an owner. An object that Git declares goes only with an
// owner that Git says it has, or declares too: an owner that somebody put there before the gate came is how one has others delete.
type collectable struct{}

func (collectable) judge(j *judgement) *Decision {
	owners := live.OwnersOf(j.r.Old)
	if len(owners) == 0 {
		return nil
	}
	e := j.entry()
	if e == nil || len(asList(e.Content.At("metadata", "ownerReferences"))) > 0 {
		return allow(v1alpha1.ReasonController)
	}
	if _, end := j.chain(owners); end == chainDeclared {
		return allow(v1alpha1.ReasonController)
	}
	d := j.notDerived(v1alpha1.ReasonStillDeclared, "Git declares it in "+place(e)+", and not the owner that the live object names, "+owners[0].Key.String())
	d.Entry = e
	return d
}

func metadataList(object map[string]any, field string) []any {
	meta, _ := object["metadata"].(map[string]any)
	return asList(meta[field])
}
