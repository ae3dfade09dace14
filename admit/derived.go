package admit

import (
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// ofService judges Endpoints and EndpointSlices: they follow from a Service, by owner or by name.
func (j *judgement) ofService() *Decision {
	if j.r.Operation == Delete {
		return free(func(*judgement) bool { return true }).judge(j) // what is deleted is made anew while the Service is there
	}
	owners := live.OwnersOf(j.r.Object)
	// Endpoints that somebody wrote by hand, for a Service without a selector, own the slices that mirror them.
	if len(owners) == 0 || owners[0].Kind == "Endpoints" && j.declared(owners[0].Key) == nil {
		name := j.key.Name
		if labels := labelsOf(j.r.Object); labels["kubernetes.io/service-name"] != nil {
			name, _ = labels["kubernetes.io/service-name"].(string)
		}
		service := live.Owner{Key: manifest.Key{Kind: "Service", Namespace: j.key.Namespace, Name: name}}
		if l := j.Live.Object(service.Key); l != nil {
			service.UID = l.UID
		}
		owners = []live.Owner{service}
	}
	entry, end := j.chain(owners)
	switch {
	case end == chainDeclared:
		d := allow(v1alpha1.ReasonDerived)
		d.Entry = entry
		return d
	case j.scope == v1alpha1.ScopeDeclared:
		return allow(v1alpha1.ReasonNotGuarded)
	case end == chainUnknown:
		return retry(v1alpha1.ReasonOwnerUnknown, "%s follows from %s, which has not been seen yet.\nNext: wait; the controller asks again by itself.", j.key, owners[0].Key)
	}
	return j.notDerived(v1alpha1.ReasonOwnerNotDeclared, "Git does not declare "+owners[0].Key.String())
}

// scaledByGit judges the autoscaler: it may scale what a declared HorizontalPodAutoscaler names, as long as Git leaves the replicas out.
func (j *judgement) scaledByGit() *Decision {
	target := j.declared(j.key)
	if target == nil {
		if j.scope == v1alpha1.ScopeDeclared {
			return allow(v1alpha1.ReasonNotGuarded)
		}
		return j.notDerived(v1alpha1.ReasonOwnerNotDeclared, "Git does not declare "+j.key.String())
	}
	if target.Content.Has("spec", "replicas") && !j.replicasExempt() {
		d := j.notDerived(v1alpha1.ReasonFieldsDiffer, "Git declares spec.replicas in "+place(target))
		d.Entry, d.Fields = target, []string{"spec.replicas"}
		return d
	}
	var beyond *snapshot.Entry
	for s := range j.snapshots() {
		for _, hpa := range s.OfKind("autoscaling", "HorizontalPodAutoscaler") {
			if hpa.Namespace != j.key.Namespace {
				continue
			}
			if ref := hpa.Content.Child("spec", "scaleTargetRef"); ref["kind"] == j.key.Kind && ref["name"] == j.key.Name {
				if !j.withinBounds(hpa) {
					beyond = hpa
					continue
				}
				d := allow(v1alpha1.ReasonDerived)
				d.Entry = hpa
				return d
			}
		}
	}
	if beyond != nil {
		d := j.notDerived(v1alpha1.ReasonNotFromOwner, "that is beyond what "+beyond.Key.String()+" says, declared in "+place(beyond))
		d.Entry, d.Fields = beyond, []string{"spec.replicas"}
		return d
	}
	return j.notDerived(v1alpha1.ReasonOwnerNotDeclared, "Git declares no HorizontalPodAutoscaler for "+j.key.String())
}

// withinBounds tells whether a Scale asks for what a declared HorizontalPodAutoscaler may ask for. Bounds that an exemption leaves to others do not bind.
func (j *judgement) withinBounds(hpa *snapshot.Entry) bool {
	replicas, ok := integer(spec(j.r.Object)["replicas"])
	least, given := integer(hpa.Content.At("spec", "minReplicas"))
	if !given {
		least = 1
	}
	most, bounded := integer(hpa.Content.At("spec", "maxReplicas"))
	exempt, _ := j.ExemptFields(hpa.Key, j.Now)
	for _, p := range exempt {
		if p.Match("spec.minReplicas") || p.Match("spec.maxReplicas") {
			return ok
		}
	}
	return ok && replicas >= least && bounded && replicas <= most
}

// integer reads a number, whichever decoder made it.
func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case int64:
		return n, true
	case float64:
		return int64(n), n == float64(int64(n))
	}
	return 0, false
}

// replicasExempt tells whether an exemption leaves the replicas of the target to others.
func (j *judgement) replicasExempt() bool {
	for i := range j.spec.Exemptions {
		e := &j.spec.Exemptions[i]
		at := *j
		request := *j.r
		request.Subresource = ""
		at.r = &request
		if len(e.Fields) > 0 && at.covers(e) {
			for _, p := range patterns(e.Fields) {
				if p.Match("spec.replicas") {
					return true
				}
			}
		}
	}
	return false
}

// claimOfStatefulSet judges a claim that a StatefulSet makes for one of its pods: TEMPLATE-SET-ORDINAL, without an owner by default.
func (j *judgement) claimOfStatefulSet() *Decision {
	if !strings.Contains(j.key.Name, "-") {
		return nil
	}
	set, template := j.setOfClaim()
	switch {
	case set != nil:
		if differ := j.types().Follows(j.r.Object, map[string]any{"spec": template["spec"]}, claimMetadata); len(differ) > 0 {
			d := j.notDerived(v1alpha1.ReasonNotFromOwner, someOf(differ)+" does not follow from "+set.Key.String())
			d.Entry, d.Fields = set, differ
			return d
		}
		d := allow(v1alpha1.ReasonDerived)
		d.Entry = set
		return d
	case j.scope == v1alpha1.ScopeDeclared:
		return allow(v1alpha1.ReasonNotGuarded)
	}
	return j.notDerived(v1alpha1.ReasonOwnerNotDeclared, "no declared StatefulSet has a claim template for it")
}

// setOfClaim is the declared StatefulSet that makes the claim which the request is about, and the template that it makes it from; nil if there is none.
func (j *judgement) setOfClaim() (*snapshot.Entry, map[string]any) {
	base, ordinal, ok := cutLast(j.key.Name, "-")
	if !ok || strings.Trim(ordinal, "0123456789") != "" {
		return nil, nil
	}
	for s := range j.snapshots() {
		for _, set := range s.OfKind("apps", "StatefulSet") {
			name, ok := strings.CutSuffix(base, "-"+set.Name)
			if set.Namespace != j.key.Namespace || !ok {
				continue
			}
			for _, c := range asList(set.Content.At("spec", "volumeClaimTemplates")) {
				template, _ := c.(map[string]any)
				if meta, _ := template["metadata"].(map[string]any); meta["name"] == name {
					return set, template
				}
			}
		}
	}
	return nil, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func labelsOf(object map[string]any) map[string]any {
	meta, _ := object["metadata"].(map[string]any)
	labels, _ := meta["labels"].(map[string]any)
	return labels
}

func annotationsOf(object map[string]any) map[string]any {
	meta, _ := object["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	return annotations
}
