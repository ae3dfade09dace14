package admit

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// maxChain bounds the walk along owners: CronJob, Job, Pod, claim is the longest that Kubernetes itself makes.
const maxChain = 8

// chainEnd says how a chain of owners ends. The zero value is: nobody knows.
type chainEnd int

const (
	chainUnknown    chainEnd = iota // an owner has not been seen yet
	chainDeclared                   // in an object that Git declares
	chainUndeclared                 // in a live object that Git does not declare
)

// chain follows owners up to a declared object.
func (j *judgement) chain(owners []live.Owner) (*snapshot.Entry, chainEnd) {
	for range maxChain {
		if len(owners) == 0 {
			return nil, chainUndeclared
		}
		owner := owners[0]
		if i := slices.IndexFunc(owners, func(o live.Owner) bool { return o.Controller }); i >= 0 {
			owner = owners[i]
		}
		if e := j.declared(owner.Key); e != nil {
			return e, chainDeclared
		}
		l := j.Live.Object(owner.Key)
		if l == nil || l.UID != owner.UID {
			return nil, chainUnknown
		}
		if e := j.declaredAs(l); e != nil {
			return e, chainDeclared
		}
		owners = l.Owners
	}
	return nil, chainUnknown
}

// declared looks an object up in every snapshot that counts: what is being pruned still owns what it made.
func (j *judgement) declared(k manifest.Key) *snapshot.Entry {
	for s := range j.snapshots() {
		if e := s.Lookup(k); e != nil {
			return e
		}
	}
	return nil
}

// declaredAs looks up an object of which Git declares the beginning of the name alone: a hook.
func (j *judgement) declaredAs(l *live.Object) *snapshot.Entry {
	if l.GenerateName == "" {
		return nil
	}
	k := l.Key
	k.Name = l.GenerateName
	if e := j.declared(k); e != nil && e.Apply.GenerateName {
		return e
	}
	return nil
}

// follows is the condition of a derived object: its controller owner is of one of these kinds, its chain ends in a declared
// object, and what it contains follows from that owner's template. With no part, only the chain is asked for.
type follows struct {
	owners []string // Kind.group of the direct owner
	part   func(object map[string]any) map[string]any
	extra  []account.Pattern // what the controller adds to the template
}

func (f follows) judge(j *judgement) *Decision {
	owner, ok := live.ControllerOf(j.r.Object)
	if !ok {
		return j.notDerived(v1alpha1.ReasonOwnerNotDeclared, "it has no controller among its owners")
	}
	if !matchesKind(f.owners, owner.Group, owner.Kind) {
		return j.notDerived(v1alpha1.ReasonOwnerNotDeclared, "its owner is a "+owner.Kind)
	}
	entry, end := j.chain([]live.Owner{owner})
	switch end {
	case chainUnknown, chainUndeclared:
		if j.scope == v1alpha1.ScopeDeclared {
			return allow(v1alpha1.ReasonNotGuarded) // anybody may make what Git does not declare: a controller must not be worse off
		}
		if end == chainUnknown {
			return retry(v1alpha1.ReasonOwnerUnknown, "%s owns %s, and has not been seen yet.\nNext: wait; the controller asks again by itself.", owner.Key, j.key)
		}
		return j.notDerived(v1alpha1.ReasonOwnerNotDeclared, "its owners end in "+owner.Key.String()+", which Git does not declare")
	}
	if f.part != nil {
		template := j.templateOf(owner)
		if template == nil {
			return retry(v1alpha1.ReasonOwnerUnknown, "%s owns %s, and has not been seen yet.\nNext: wait; the controller asks again by itself.", owner.Key, j.key)
		}
		if differ := j.types().Follows(f.part(j.r.Object), template, f.extra); len(differ) > 0 && !f.fromRevision(j, owner) && !f.fromNewer(j, owner) {
			d := j.notDerived(v1alpha1.ReasonNotFromOwner, someOf(differ)+" does not follow from "+owner.Key.String())
			d.Entry, d.Fields = entry, differ
			return d
		}
	}
	d := allow(v1alpha1.ReasonDerived)
	d.Entry = entry
	return d
}

// fromRevision tells whether a pod follows from an older revision of its StatefulSet, of which the controller remakes pods while a new one is
// rolled out. The ControllerRevision was itself judged when it was made.
func (f follows) fromRevision(j *judgement, owner live.Owner) bool {
	name, _ := labelsOf(j.r.Object)["controller-revision-hash"].(string)
	if owner.Kind != "StatefulSet" || name == "" {
		return false
	}
	revision := j.Live.Object(manifest.Key{Group: "apps", Kind: "ControllerRevision", Namespace: j.key.Namespace, Name: name})
	return revision != nil && revision.Template != nil && slices.ContainsFunc(revision.Owners, func(o live.Owner) bool { return o.UID == owner.UID }) &&
		len(j.types().Follows(f.part(j.r.Object), revision.Template, f.extra)) == 0
}

// fromNewer tells whether what a controller makes follows from the template that a write gave the owner, although a write of the owner's status that had read
// the older one was seen last.
func (f follows) fromNewer(j *judgement, owner live.Owner) bool {
	l := j.Live.Object(owner.Key)
	return j.isController() && l != nil && l.UID == owner.UID && l.Newer != nil && len(j.types().Follows(f.part(j.r.Object), l.Newer, f.extra)) == 0
}

// templateOf is what an owner makes others from: as it is live, where that was seen, else as Git declares it.
func (j *judgement) templateOf(o live.Owner) map[string]any {
	if l := j.Live.Object(o.Key); l != nil && l.UID == o.UID && l.Template != nil {
		return l.Template
	}
	if e := j.declared(o.Key); e != nil {
		return live.TemplateOf(e.Content.Map())
	}
	return nil
}

func (j *judgement) notDerived(reason v1alpha1.Reason, why string) *Decision {
	d := deny(reason, "%s may not %s: %s.\nNext: declare the owner in Git, signed; or exempt the controller, with a reason.", j.r.User.Name, j.what(), why)
	d.Role = RoleController
	return d
}

// itself is an object as it follows from a template: with its kind, so that what the API server sets in it is known.
func itself(object map[string]any) map[string]any { return object }

// astray is the declared workload that Kubernetes made an object from, where the request would leave that object unlike what the workload makes: a
// patched ReplicaSet, an ephemeral container, a Job by hand. It would run beside what Git says, under its name. nil if there is none.
func (j *judgement) astray() *snapshot.Entry {
	f, made := madeFrom(j.key)
	if !made || j.r.Operation != Create && j.r.Operation != Update || j.r.ownKind() {
		return nil
	}
	was := j.r.Object
	if j.r.Operation == Update {
		if !slices.ContainsFunc(j.changed, guardedInDerived) {
			return nil
		}
		was = j.r.Old
	}
	owner, ok := live.ControllerOf(was)
	if !ok {
		return nil
	}
	e, end := j.chain([]live.Owner{owner})
	if end != chainDeclared || e.Key.Group != "apps" && e.Key.Group != "batch" && e.Key.Kind != "ReplicationController" {
		return nil
	}
	if now, _ := live.ControllerOf(j.r.Object); now.UID == owner.UID && f.judge(j).Outcome == Allow {
		return nil
	}
	return e
}

// guardedInDerived tells whether a changed field says what a derived object is, rather than what is noted on it.
func guardedInDerived(path string) bool {
	for _, p := range []string{"spec", "data", "metadata.ownerReferences"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// madeFrom says how objects follow that the controllers of Kubernetes make from workloads; false for kinds that they do not make.
func madeFrom(k manifest.Key) (follows, bool) {
	switch k.Group + "/" + k.Kind {
	case "apps/ReplicaSet":
		return follows{[]string{"Deployment.apps"}, live.TemplateOf, hashLabels}, true
	case "apps/ControllerRevision":
		return follows{[]string{"StatefulSet.apps", "DaemonSet.apps"}, live.TemplateOf, nil}, true
	case "batch/Job":
		return follows{[]string{"CronJob.batch"}, itself, append(slices.Clone(cronJob), "metadata.annotations[cronjob.kubernetes.io/instantiate]")}, true // kubectl create job --from
	case "/Pod":
		return follows{[]string{"ReplicaSet.apps", "StatefulSet.apps", "DaemonSet.apps", "Job.batch", "ReplicationController"}, itself, slices.Concat(statefulPod, daemonPod, jobPod)}, true
	}
	return follows{}, false
}
