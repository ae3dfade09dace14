package scan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// Judge compares single objects with one truth. It is pure, and safe for concurrent use.
type Judge struct {
	Gate  *admit.Gate
	Truth *snapshot.Snapshot
	Now   time.Time
}

// Object judges a live object. An undeclared one that has owners comes back as Untraced, with the owner that would explain it: whether it
// does is for whoever knows all objects to tell.
func (j *Judge) Object(object map[string]any) (Finding, *live.Owner) {
	f := Finding{Key: live.KeyOf(object)}
	f.Version = versionOf(object)
	if e := j.declared(f.Key, object); e != nil {
		f.Entry = e
		j.compare(&f, object)
		if f.State != InGit {
			f.Manager, f.Time = lastWriter(object)
		}
		return f, nil
	}
	f.State, f.Why = j.undeclared(f.Key, object)
	if f.State != Untraced {
		return f, nil
	}
	f.Manager, f.Time = lastWriter(object)
	if owner, ok := ownerOf(f.Key, object); ok {
		return f, &owner
	}
	return f, nil
}

// declared finds the declaration of a live object; that of one with a generated name stands under its prefix.
func (j *Judge) declared(k manifest.Key, object map[string]any) *snapshot.Entry {
	if e := j.Truth.Lookup(k); e != nil {
		return e
	}
	if prefix, _ := metadata(object)["generateName"].(string); prefix != "" {
		k.Name = prefix
		if e := j.Truth.Lookup(k); e != nil && e.Apply.GenerateName {
			return e
		}
	}
	return nil
}

// compare accounts for every field of a declared object.
func (j *Judge) compare(f *Finding, object map[string]any) {
	if other := anothers(f.Entry.Adds, object); other != "" {
		f.State, f.Fields = Conflict, []string{other}
		f.Why = fmt.Sprintf("%s says that something else applies it too", other)
		return
	}
	change := account.Change{Object: object, Exempt: j.Exempt(f.Entry)}
	f.Entry = f.Entry.Form(change)
	result := f.Entry.Account.Explain(change)
	if result.Faithful() {
		f.State = InGit
		return
	}
	f.State = Drifted
	f.Fields = slices.Concat(result.Unexplained, result.Missing)
	slices.Sort(f.Fields)
	f.Fields = slices.Compact(f.Fields)
	f.Why = named(f.Fields) + " differs from Git"
	if len(f.Fields) > 1 {
		f.Why = named(f.Fields) + " differ from Git"
	}
}

// named names the first fields.
func named(fields []string) string {
	const most = 3
	if len(fields) <= most {
		return strings.Join(fields, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(fields[:most], ", "), len(fields)-most)
}

// Exempt are the fields of a declared object that others may write: by exemption, because they are a built-in controller's, or because a
// declared autoscaler sets them.
func (j *Judge) Exempt(e *snapshot.Entry) []account.Pattern {
	fields, _ := j.Gate.ExemptFields(e.Key, j.Now)
	fields = append(fields, controllersFields(e.Group, e.Kind)...)
	if e.Owner.Group == agent.ArgoCDGroup && e.Owner.Kind == "ApplicationSet" {
		fields = append(fields, "metadata.ownerReferences", "metadata.ownerReferences**")
	}
	if e.Apply.Rolling {
		fields = append(fields, "spec.syncPolicy", "spec.syncPolicy.automated", "spec.syncPolicy.automated**")
	}
	if !e.Content.Has("spec", "replicas") && j.autoscaled(e.Key) {
		fields = append(fields, "spec.replicas")
	}
	return fields
}

func (j *Judge) autoscaled(k manifest.Key) bool {
	return slices.ContainsFunc(j.Truth.OfKind("autoscaling", "HorizontalPodAutoscaler"), func(hpa *snapshot.Entry) bool {
		if hpa.Namespace != k.Namespace {
			return false
		}
		target := hpa.Content.Child("spec", "scaleTargetRef")
		return target["kind"] == k.Kind && target["name"] == k.Name
	})
}

// anothers is the first mark of an agent that an object bears with another value than its declared owner gives it, "" if there is none.
func anothers(adds agent.Metadata, object map[string]any) string {
	marks := func(field string, want map[string]string) string {
		have, _ := metadata(object)[field].(map[string]any)
		var differ []string
		for k, v := range want {
			if got, ok := have[k]; ok && got != v {
				differ = append(differ, fmt.Sprintf("metadata.%s[%s]", field, k))
			}
		}
		slices.Sort(differ)
		if len(differ) == 0 {
			return ""
		}
		return differ[0]
	}
	if m := marks("labels", adds.Labels); m != "" {
		return m
	}
	return marks("annotations", adds.Annotations)
}

// undeclared says why an object that Git does not declare may be there all the same.
func (j *Judge) undeclared(k manifest.Key, object map[string]any) (State, string) {
	if why := system(k, object); why != "" {
		return System, why
	}
	if e := j.Gate.Exemption(k, j.Now); e != nil {
		return Exempt, "exemption " + e.Name
	}
	if k.Group == "" && k.Kind == "Secret" && object["type"] == "helm.sh/release.v1" && j.release(k, object) {
		return Derived, "Helm keeps the release of something that Git declares in it"
	}
	if why := j.fleetCopy(k, object); why != "" {
		return Derived, why
	}
	if k.Group == "" && k.Kind == "PersistentVolumeClaim" && j.claim(k) {
		return Derived, "a declared StatefulSet claims it"
	}
	if j.Gate.Scope(k) == v1alpha1.ScopeDeclared {
		return Unguarded, "the scope is Declared, and Git does not declare it"
	}
	if mark := agentsMark(object); mark != "" {
		return Untraced, fmt.Sprintf("an agent applied it once (%s), and Git does not declare it any more", mark)
	}
	return Untraced, "nothing in Git explains it"
}

// release tells whether a Secret keeps a release that Git declares, or whose objects it does.
func (j *Judge) release(k manifest.Key, object map[string]any) bool {
	name, _ := dig(object, "metadata", "labels", "name")
	if j.Truth.Rendered != nil && slices.ContainsFunc(j.Truth.Rendered.Builds, func(b *manifest.Build) bool { return b.Release.Name == name && b.Release.RecordedIn() == k.Namespace }) {
		return true
	}
	for e := range j.Truth.All() {
		a := e.Adds.Annotations
		if a["meta.helm.sh/release-name"] == name && a["meta.helm.sh/release-namespace"] == k.Namespace {
			return true
		}
	}
	return false
}

// claim tells whether a declared StatefulSet claims a volume: TEMPLATE-SET-ORDINAL, without an owner by default.
func (j *Judge) claim(k manifest.Key) bool {
	return slices.ContainsFunc(j.Truth.OfKind("apps", "StatefulSet"), func(set *snapshot.Entry) bool {
		if set.Namespace != k.Namespace {
			return false
		}
		list, _ := set.Content.At("spec", "volumeClaimTemplates").([]any)
		return slices.ContainsFunc(list, func(v any) bool {
			claim, _ := v.(map[string]any)
			name, _ := metadata(claim)["name"].(string)
			ordinal, ok := strings.CutPrefix(k.Name, name+"-"+set.Name+"-")
			return ok && ordinal != "" && strings.Trim(ordinal, "0123456789") == ""
		})
	})
}

// agentsMark is the label or annotation by which an agent knows what it applied.
func agentsMark(object map[string]any) string {
	for _, path := range []string{
		"metadata.labels[kustomize.toolkit.fluxcd.io/name]", "metadata.labels[helm.toolkit.fluxcd.io/name]",
		"metadata.annotations[argocd.argoproj.io/tracking-id]", "metadata.annotations[objectset.rio.cattle.io/id]",
		"metadata.annotations[configmanagement.gke.io/managed]", "metadata.annotations[meta.helm.sh/release-name]",
	} {
		if v, ok := account.Value(object, path); ok {
			return fmt.Sprintf("%s is %v", path, v)
		}
	}
	return ""
}

// lastWriter is what managedFields say of the newest write that was not about a subresource.
func lastWriter(object map[string]any) (manager string, at time.Time) {
	list, _ := metadata(object)["managedFields"].([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		if sub, _ := m["subresource"].(string); sub != "" {
			continue
		}
		text, _ := m["time"].(string)
		when, err := time.Parse(time.RFC3339, text)
		if err == nil && !when.Before(at) {
			manager, _ = m["manager"].(string)
			at = when
		}
	}
	return manager, at
}

func metadata(object map[string]any) map[string]any {
	m, _ := object["metadata"].(map[string]any)
	return m
}

func versionOf(object map[string]any) string {
	v, _ := object["apiVersion"].(string)
	return v[strings.IndexByte(v, '/')+1:]
}

func dig(object map[string]any, names ...string) (any, bool) {
	var at any = object
	for _, name := range names {
		m, _ := at.(map[string]any)
		v, ok := m[name]
		if !ok {
			return nil, false
		}
		at = v
	}
	return at, true
}
