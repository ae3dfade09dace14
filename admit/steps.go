package admit

import (
	"reflect"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/snapshot"
)

// notAChange lets pass what asks or coordinates: access and token reviews, Events, and the leases of components. Nothing that Git declares
// can change by them, and a cluster stops within seconds without.
func (j *judgement) notAChange() *Decision {
	switch r := j.r.Resource; {
	case r.Group == "authentication.k8s.io" && j.r.Operation == Create, r.Group == "authorization.k8s.io" && j.r.Operation == Create:
		return allow(v1alpha1.ReasonNotAChange)
	case (r.Group == "" || r.Group == "events.k8s.io") && r.Resource == "events":
		return allow(v1alpha1.ReasonNotAChange)
	case r.Group == "coordination.k8s.io" && (r.Resource == "leases" || r.Resource == "leasecandidates"):
		// The gate's own leases count the uses of grants.
		if own, ok := j.spec.OwnNamespace(); ok && j.key.Namespace == own && !j.isController() {
			return nil
		}
		// A person who edits a lease unseats a leader, and a node that edits another's makes it look alive: judged like any other change.
		if j.key.Namespace == "kube-node-lease" && strings.HasPrefix(j.r.User.Name, nodeUser) && !j.ownNode() {
			return nil
		}
		if strings.HasPrefix(j.r.User.Name, "system:") {
			return allow(v1alpha1.ReasonNotAChange)
		}
	}
	return nil
}

// ownIdentity holds the gate to what it really does: its rights for dry-runs would make a stolen token of it worth having.
func (j *judgement) ownIdentity() *Decision {
	if j.spec.ServiceAccount == "" || j.r.User.Name != j.spec.ServiceAccount {
		return nil
	}
	ns, _, _ := j.r.User.serviceAccount()
	written := j.r.Operation == Create || j.r.Operation == Update
	ownLease := j.r.Resource.Group == "coordination.k8s.io" && j.r.Resource.Resource == "leases" && j.r.Namespace == ns && written
	ownStatus := j.r.Resource.Group == "commitgate.dev" && j.r.Subresource == "status" && j.r.Operation == Update
	report := j.r.Resource.Group == "openreports.io" && j.r.Subresource == ""
	event := j.r.Resource.Resource == "events" && (j.r.Resource.Group == "" || j.r.Resource.Group == "events.k8s.io") && j.r.Subresource == "" && written
	question := (j.r.Resource.Group == "authentication.k8s.io" || j.r.Resource.Group == "authorization.k8s.io") && j.r.Operation == Create
	if j.r.DryRun && j.r.Operation != Connect || ownLease || ownStatus || report || event || question {
		d := allow(v1alpha1.ReasonOwnWork)
		d.Role = RoleGate
		return d
	}
	d := deny(v1alpha1.ReasonOwnIdentity, "%s is the gate's own identity, which never asks to %s.\n"+
		"Next: treat its token as stolen: delete the token's pod, find out who used it.", j.r.User.Name, j.what())
	d.Role = RoleGate
	return d
}

// rotation holds whoever replaces the gate's certificate authority to its Secret, under every scope. What it writes there, and that it changes nothing of the
// webhook configuration but the caBundle, the policy commitgate-guards-itself says. By an impersonated name it is somebody else.
func (j *judgement) rotation() *Decision {
	account, ok := j.spec.RotationAccount()
	if !ok || j.r.User.Name != account || j.r.User.UID == "" || j.r.Resource.Group == "authentication.k8s.io" || j.r.Resource.Group == "authorization.k8s.io" {
		return nil
	}
	ns, _ := j.spec.OwnNamespace()
	var d *Decision
	if j.r.Resource.Group == "" && j.r.Resource.Resource == "secrets" && j.r.Subresource == "" && j.r.Operation == Update && j.key.Namespace == ns && j.key.Name == v1alpha1.AuthoritySecret {
		d = allow(v1alpha1.ReasonOwnWork)
	} else {
		d = deny(v1alpha1.ReasonOwnIdentity, "%s replaces the gate's certificate authority, and never asks to %s.\n"+
			"Next: treat its token as stolen: find out who used it.", j.r.User.Name, j.what())
	}
	d.Role = RoleGate
	return d
}

// identified finds the agent behind the user, and refuses who only bears its name.
func (j *judgement) identified() *Decision {
	id, d := j.identify(j.r.User)
	j.id = id
	return d
}

// unchanged lets pass a write that changes nothing outside server-set fields and managedFields, whoever makes it. The object may hold drifted
// values at that moment: the next write restores them (Flux cleans managedFields first).
func (j *judgement) unchanged() *Decision {
	if j.r.Operation != Update || len(j.changed) > 0 {
		return nil
	}
	// The comparison of an object leaves status out, which is all that most subresources change.
	if j.r.Subresource != "" && !sameButForBookkeeping(j.r.Old, j.r.Object) {
		return nil
	}
	d := allow(v1alpha1.ReasonUnchanged)
	d.Noop = true
	return d
}

// sameButForBookkeeping compares two versions of an object, leaving out what the API server itself writes on each update.
func sameButForBookkeeping(old, object map[string]any) bool {
	if len(old) != len(object) {
		return false
	}
	for k, v := range object {
		if k == "metadata" {
			continue
		}
		if !reflect.DeepEqual(old[k], v) {
			return false
		}
	}
	a, _ := old["metadata"].(map[string]any)
	b, _ := object["metadata"].(map[string]any)
	for _, m := range []map[string]any{a, b} {
		for k := range m {
			if k != "managedFields" && k != "resourceVersion" && k != "generation" && !reflect.DeepEqual(a[k], b[k]) {
				return false
			}
		}
	}
	return true
}

// exempted applies the exemptions: data, with a reason and an end.
func (j *judgement) exempted() *Decision {
	for i := range j.spec.Exemptions {
		e := &j.spec.Exemptions[i]
		if !j.covers(e) {
			continue
		}
		if len(e.Fields) > 0 && !j.changesOnly(patterns(e.Fields)) {
			continue // its fields may still explain part of a change: see fromGit
		}
		d := allow(v1alpha1.ReasonExempt)
		d.Role, d.Rule, d.Warnings = RoleExempt, e.Name, j.endsSoon(e)
		return d
	}
	return nil
}

// covers tells whether an exemption that has not ended is about this request, whatever its fields.
func (j *judgement) covers(e *v1alpha1.Exemption) bool { return !e.Ended(j.Now) && j.concerns(e) }

// concerns tells whether an exemption is or was about this request, whatever its fields.
func (j *judgement) concerns(e *v1alpha1.Exemption) bool {
	switch {
	case len(e.Operations) > 0 && !slices.Contains(e.Operations, string(j.r.Operation)),
		!matchesAny(e.Namespaces, j.key.Namespace),
		!matchesAny(e.Names, j.key.Name),
		!matchesKind(e.Kinds, j.key.Group, j.key.Kind),
		j.r.Subresource == "" && len(e.Subresources) > 0 && !slices.Contains(e.Subresources, "") && !slices.Contains(e.Subresources, "*"),
		j.r.Subresource != "" && !slices.Contains(e.Subresources, j.r.Subresource) && !slices.Contains(e.Subresources, "*"):
		return false
	}
	if len(e.Users)+len(e.Groups) == 0 {
		return true
	}
	return slices.Contains(e.Users, j.r.User.Name) || slices.ContainsFunc(e.Groups, j.r.User.inGroup)
}

func patterns(fields []string) []account.Pattern {
	out := make([]account.Pattern, len(fields))
	for i, f := range fields {
		out[i] = account.Pattern(f)
	}
	return out
}

// changesOnly tells whether an UPDATE changes something, and nothing but what the patterns cover.
func (j *judgement) changesOnly(allowed []account.Pattern) bool {
	if j.r.Operation != Update || len(j.changed) == 0 {
		return false
	}
	for _, path := range j.changed {
		if !slices.ContainsFunc(allowed, func(p account.Pattern) bool { return p.Match(path) }) {
			return false
		}
	}
	return true
}

// ready stops who needs the truth before there is one, or when it is too old. People and strangers are refused rather than told to wait.
func (j *judgement) ready() *Decision {
	if j.id.agent == nil && !j.isController() && j.scope == v1alpha1.ScopeEverything {
		if j.Truth.Current == nil {
			return j.refuse()
		}
		return nil
	}
	if j.Truth.Current == nil {
		return retry(v1alpha1.ReasonNotReady, "no revision of the trusted repository has been verified yet.\nNext: wait; if it lasts, see /readyz of the gate.")
	}
	for name, bound := range j.stale {
		rev := j.Truth.Current.Revisions[name]
		if rev == nil {
			return retry(v1alpha1.ReasonNotReady, "no revision of %s has been verified yet.\nNext: wait; if it lasts, see /readyz of the gate.", name)
		}
		if age := j.Now.Sub(rev.Fetched); age > bound {
			return retry(v1alpha1.ReasonStale, "the gate last heard from repository %s %s ago; the bound is %s.\nNext: bring the Git host back, or use a break-glass grant.",
				name, age.Round(retryAfter/2), bound)
		}
	}
	return nil
}

// fromGit judges what the sync agent applies and deletes: identity alone never suffices.
func (j *judgement) fromGit() *Decision {
	if j.id.agent == nil || j.r.Operation == Connect {
		return nil
	}
	if j.r.Subresource != "" {
		return j.ahead(deny(v1alpha1.ReasonSubresourceRefused, "agent %s may not %s: an agent applies objects, not subresources.\nNext: change the object in Git.", j.id.agent.Name, j.what()))
	}
	candidates := j.candidates()
	if j.r.Operation == Delete {
		return j.agentDeletes(candidates)
	}
	if len(candidates) == 0 {
		if j.scope == v1alpha1.ScopeDeclared {
			return nil // the scope decides
		}
		return j.ahead(deny(v1alpha1.ReasonNotDeclared, "agent %s may not %s: no verified commit declares it%s.\nNext: commit it there, signed, and let the agent apply it.",
			j.id.agent.Name, j.what(), j.heads()))
	}
	var best *Decision
	for _, e := range candidates {
		d := j.faithful(e)
		if d.Outcome == Allow {
			return d
		}
		if best == nil { // the current revision's, which a person will look at
			best = d
		}
	}
	if d := j.takeover(); d != nil {
		return d
	}
	return j.ahead(best)
}

// candidates are the declarations of the object: in the current revision first, then in those inside the accepted window, where they differ.
func (j *judgement) candidates() []*snapshot.Entry {
	var out []*snapshot.Entry
	for s := range j.snapshots() {
		e := s.Lookup(j.key)
		if e == nil && j.r.Object != nil && j.r.generateName() != "" {
			k := j.key
			k.Name = j.r.generateName()
			e = s.Lookup(k)
		}
		if e != nil && !slices.Contains(out, e) {
			out = append(out, e.Forms()...)
		}
	}
	return out
}

// snapshots yields the current snapshot and the recent ones that are inside the accepted window.
func (j *judgement) snapshots() func(yield func(*snapshot.Snapshot) bool) {
	return func(yield func(*snapshot.Snapshot) bool) {
		if j.Truth.Current == nil || !yield(j.Truth.Current) {
			return
		}
		superseded := j.Truth.Current.Published
		for _, s := range j.Truth.Recent {
			if j.Now.Sub(superseded) > j.spec.Window.Duration || !yield(s) {
				return
			}
			superseded = s.Published
		}
	}
}

// faithful accounts for every field of what the agent applies, but for those that the caller has judged already.
func (j *judgement) faithful(e *snapshot.Entry, judged ...account.Pattern) *Decision {
	early := j.r.Operation == Create && slices.Contains(e.Apply.Early, j.id.agent.Name)
	if !early && e.Owner.Agent != j.id.agent.Name {
		return j.anothers(e)
	}
	if j.letsGo() && live.Deleting(j.r.Old) {
		d := deny(v1alpha1.ReasonFieldsDiffer, "agent %s may not %s: it takes metadata.finalizers away, and with the last one the object.\nIt is declared in %s.\nNext: let whoever owns the finalizer remove it.",
			j.id.agent.Name, j.what(), place(e))
		d.Entry, d.Fields = e, []string{"metadata.finalizers"}
		return d
	}
	judged = append(judged, j.reconciled(e)...)
	change := account.Change{Object: j.r.Object, Old: j.r.Old, Exempt: append(judged, j.exemptFields()...)}
	result := e.Account.Explain(change)
	if result.Faithful() {
		d := allow(v1alpha1.ReasonFromGit)
		d.Entry, d.Unverified, d.Decrypted = e, result.Opaque, result.Decrypted
		return d
	}
	switch {
	case early && onlyMetadataMissing(result): // Helm posts a namespace before it asks whether it is there
		d := allow(v1alpha1.ReasonFromGit)
		d.Entry = e
		return d
	case e.Owner.Agent != j.id.agent.Name:
		return j.anothers(e)
	}
	dryRun := j.Mutations != nil && j.mutable()
	if dryRun {
		for _, m := range j.Mutations.Of(e, j.r) {
			change.Mutated = m
			if r := e.Account.Explain(change); r.Faithful() {
				d := allow(v1alpha1.ReasonFromGit)
				d.Entry, d.Unverified, d.Decrypted, d.Rule = e, r.Opaque, r.Decrypted, "dry-run"
				return d
			}
		}
	}
	fields := slices.Concat(result.Unexplained, result.Missing)
	slices.Sort(fields)
	fields = slices.Compact(fields)
	d := deny(v1alpha1.ReasonFieldsDiffer, "agent %s may not %s: %s.\nIt is declared in %s.%s\nNext: change it there, signed; a cluster that adds the field itself needs an exemption.",
		j.id.agent.Name, j.what(), namedFields(result), place(e), j.unbelieved(e))
	d.Entry, d.Fields = e, fields
	if dryRun {
		d.Mutable = e
	}
	return d
}

// anothers refuses an agent what another one applies.
func (j *judgement) anothers(e *snapshot.Entry) *Decision {
	d := deny(v1alpha1.ReasonWrongAgent, "agent %s may not %s: %s applies it.\nNext: let that agent apply it, or move it to a root of this one.", j.id.agent.Name, j.what(), e.Owner.Agent)
	d.Entry = e
	return d
}

// onlyMetadataMissing tells whether all that an object holds has a reason, and all that it lacks are labels and annotations.
func onlyMetadataMissing(r account.Result) bool {
	return len(r.Unexplained) == 0 && !slices.ContainsFunc(r.Missing, func(field string) bool {
		return !strings.HasPrefix(field, "metadata.labels") && !strings.HasPrefix(field, "metadata.annotations")
	})
}

// mutable tells whether the configuration says that this cluster's admission changes such objects.
func (j *judgement) mutable() bool { return j.DryRun(j.key) }

// exemptFields are the field patterns of the exemptions that cover this request.
func (j *judgement) exemptFields() []account.Pattern {
	var out []account.Pattern
	for i := range j.spec.Exemptions {
		if e := &j.spec.Exemptions[i]; len(e.Fields) > 0 && j.covers(e) {
			out = append(out, patterns(e.Fields)...)
		}
	}
	return out
}

// agentDeletes judges a deletion by the sync agent: what Git no longer declares and this agent applied, or what Git says may be replaced.
// Nothing in the request announces which it is; the rendered graph decides.
func (j *judgement) agentDeletes(candidates []*snapshot.Entry) *Decision {
	current := j.Truth.Current.Lookup(j.key)
	switch {
	case current != nil && current.Owner.Agent != j.id.agent.Name:
		return j.faithful(current) // refuses: another agent's
	case current != nil && (current.Apply.Recreate || current.Apply.Hook || j.ofReleaseGone(current) || j.anotherRole(current)):
		d := allow(v1alpha1.ReasonRecreated)
		d.Entry = current
		return d
	case current != nil:
		d := deny(v1alpha1.ReasonStillDeclared, "agent %s may not %s: Git still declares it in %s.%s\nNext: remove it there, signed; or say there that it may be replaced (force).", j.id.agent.Name, j.what(), place(current), j.unbelieved(current))
		d.Entry = current
		return j.ahead(d)
	case len(candidates) > 0 || j.trackedByAgent() && !j.madeByOthers():
		if e := j.takesAlong(); e != nil {
			d := deny(v1alpha1.ReasonStillDeclared, "agent %s may not %s; with it would go %s, which Git still declares: %s.\nNext: remove that from Git too, signed; or keep both.",
				j.id.agent.Name, j.what(), e.Key, place(e))
			d.Entry = e
			return j.ahead(d)
		}
		return allow(v1alpha1.ReasonPruned)
	case j.scope == v1alpha1.ScopeDeclared:
		return nil
	}
	return j.ahead(deny(v1alpha1.ReasonNotDeclared, "agent %s may not %s: the object bears no mark of this agent, so it never applied it.\nNext: find out who asked the agent to delete it.", j.id.agent.Name, j.what()))
}

// ahead marks a refusal of the agent that a newer revision could change: the agent may have seen a commit that the mirror has not.
func (j *judgement) ahead(d *Decision) *Decision {
	d.Ahead = d.Outcome != Allow
	return d
}

// letsGo tells whether an UPDATE takes a finalizer away.
func (j *judgement) letsGo() bool {
	return j.r.Operation == Update && addsFinalizer(j.r.Object, j.r.Old)
}

// equalToGit lets anybody make an object what Git says it is: kubectl apply of the very manifest, a restore. Every field has its reason in
// a signed commit, so nothing enters that the commit does not say.
func (j *judgement) equalToGit() *Decision {
	if j.r.Operation != Create && j.r.Operation != Update || j.r.Subresource != "" || j.isController() || j.id.agent != nil {
		return nil
	}
	e := j.entry()
	if e == nil || e.Apply.Hook {
		return nil // a hook runs when the agent syncs, not when somebody feels like it
	}
	if j.letsGo() {
		return nil // whoever put the finalizer there takes it away
	}
	if result := e.Account.Explain(account.Change{Object: j.r.Object, Old: j.r.Old}); !result.Faithful() {
		return nil
	}
	d := allow(v1alpha1.ReasonFromGit)
	d.Entry = e
	return d
}

// notGuarded leaves to RBAC what Git does not declare, under scope Declared; but not what would take declared objects with it.
func (j *judgement) notGuarded() *Decision {
	if j.scope != v1alpha1.ScopeDeclared || len(j.candidates()) > 0 {
		return nil
	}
	if e := j.astray(); e != nil {
		d := deny(v1alpha1.ReasonNotFromSyncAgent, "%s may not %s: it would no longer follow from %s, declared in Git: %s.\nNext: change that file, signed, and let %s apply it.",
			j.r.User.Name, j.what(), e.Key, place(e), e.Owner.Agent)
		d.Entry = e
		return d
	}
	if e := j.takesAlong(); e != nil {
		d := deny(v1alpha1.ReasonNotFromSyncAgent, "%s may not %s; with it would go %s, declared in Git: %s.\nNext: remove that from Git first, signed.",
			j.r.User.Name, j.what(), e.Key, place(e))
		d.Entry = e
		return d
	}
	if e := j.rewrites(); e != nil {
		d := deny(v1alpha1.ReasonNotFromSyncAgent, "%s may not %s: another server would say what is in %s, declared in Git: %s.\nNext: declare it in Git too, signed.",
			j.r.User.Name, j.what(), e.Key, place(e))
		d.Entry = e
		return d
	}
	d := allow(v1alpha1.ReasonNotGuarded)
	d.Ahead = j.id.agent != nil // the agent may be applying a commit that declares it
	return d
}

// takesAlong is a declared object that goes with the one that is deleted: the objects of a Namespace, by a controller's hand, and those of a
// CustomResourceDefinition, of which no webhook is asked. nil if there is none.
func (j *judgement) takesAlong() *snapshot.Entry {
	if j.r.Operation != Delete || j.r.Subresource != "" || j.Truth.Current == nil {
		return nil
	}
	switch {
	case j.key.Group == "" && j.key.Kind == "Namespace":
		for e := range j.Truth.Current.All() { // deleting a namespace is rare
			if e.Key.Namespace == j.key.Name {
				return e
			}
		}
	case j.key.Group == "apiextensions.k8s.io" && j.key.Kind == "CustomResourceDefinition":
		group, _ := spec(j.r.Old)["group"].(string)
		names, _ := spec(j.r.Old)["names"].(map[string]any)
		kind, _ := names["kind"].(string)
		if all := j.Truth.Current.OfKind(group, kind); len(all) > 0 {
			return all[0]
		}
	}
	return nil
}

// rewrites is a declared object whose content another server would say, without any review of it: by the conversion webhook of its
// CustomResourceDefinition, or by an aggregated API server that takes its group over. nil if there is none. Which authority vouches for such a server is
// no change of who it is.
func (j *judgement) rewrites() *snapshot.Entry {
	if j.r.Operation != Create && j.r.Operation != Update || j.r.Subresource != "" || j.Truth.Current == nil {
		return nil
	}
	group, _ := spec(j.r.Object)["group"].(string)
	changes := func(field, authority string) bool {
		return j.r.Operation == Create || slices.ContainsFunc(j.changed, func(path string) bool { return strings.HasPrefix(path, field) && path != authority })
	}
	switch {
	case j.key.Group == "apiextensions.k8s.io" && j.key.Kind == "CustomResourceDefinition":
		conversion, _ := spec(j.r.Object)["conversion"].(map[string]any)
		names, _ := spec(j.r.Object)["names"].(map[string]any)
		kind, _ := names["kind"].(string)
		if conversion["webhook"] == nil || !changes("spec.conversion", "spec.conversion.webhook.clientConfig.caBundle") {
			return nil
		}
		if all := j.Truth.Current.OfKind(group, kind); len(all) > 0 {
			return all[0]
		}
	case j.key.Group == "apiregistration.k8s.io" && j.key.Kind == "APIService":
		if spec(j.r.Object)["service"] == nil || !changes("spec", "spec.caBundle") {
			return nil
		}
		for e := range j.Truth.Current.All() { // an API server is rarely added
			if e.Key.Group == group {
				return e
			}
		}
	}
	return nil
}

// refuse is the end of the table: nothing above allowed the request.
func (j *judgement) refuse() *Decision {
	user := j.r.User.Name
	if _, known := j.rows[user]; known && !proven(j.r.User) {
		return deny(v1alpha1.ReasonImpersonated, "%s carries no credential of that component: somebody impersonates it.\nNext: make the change in Git, as yourself.", user)
	}
	if j.isController() {
		d := deny(v1alpha1.ReasonNotControllersBusiness, "%s may not %s: no row of the table of controllers lets it.\nNext: if this is right for your cluster, exempt it, with a reason.", user, j.what())
		d.Role = RoleController
		return d
	}
	if j.r.Subresource != "" && j.r.Operation != Connect && j.entry() == nil && j.r.Resource.Resource != "pods" {
		return deny(v1alpha1.ReasonNotFromSyncAgent, "%s may not %s; only the sync agent changes this cluster.\nNext: make the change in Git, signed, and let the agent apply it.", user, j.what())
	}
	if e := j.entry(); e != nil {
		d := deny(v1alpha1.ReasonNotFromSyncAgent, "%s may not %s; it is declared in Git: %s.\nNext: change that file, signed, and let %s apply it.", user, j.what(), place(e), e.Owner.Agent)
		d.Entry = e
		return d
	}
	if o := j.declaredOwner(); o != nil {
		d := deny(v1alpha1.ReasonNotFromSyncAgent, "%s may not %s; it follows from %s, declared in Git: %s.\nNext: change that file, signed, and let %s apply it.",
			user, j.what(), o.Key, place(o), o.Owner.Agent)
		d.Entry = o
		return d
	}
	return deny(v1alpha1.ReasonNotFromSyncAgent, "%s may not %s; only the sync agent changes this cluster%s.\nNext: declare it in Git, signed, and let the agent apply it.", user, j.what(), j.heads())
}

// declaredOwner is the declared object at the end of the object's chain of owners, nil if there is none.
func (j *judgement) declaredOwner() *snapshot.Entry {
	object := j.r.Old
	if object == nil {
		object = j.r.Object
	}
	if j.r.Subresource != "" {
		if l := j.Live.Object(j.key); l != nil {
			e, _ := j.chain(l.Owners)
			return e
		}
	}
	e, _ := j.chain(live.OwnersOf(object))
	return e
}
