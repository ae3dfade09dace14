package admit

import (
	"reflect"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// releaseOfAgent holds for the Secrets of the releases that are this agent's by Git or, of a pipeline, by the configuration. Their content is Helm's own
// and cannot be compared with anything. While the release is declared, its record is not marked as going, nor deleted while it is the one in force: what is
// deleted for an uninstall would be refused one by one, and leave Helm with a release that it takes for half gone.
func (j *judgement) releaseOfAgent() bool {
	name, status, ok := j.releaseRecord()
	if !ok {
		return false
	}
	if j.r.Operation == Create {
		return j.inWindow(func(s *snapshot.Snapshot) bool {
			_, ok := recordIn(s, j.id.agent.Name, j.key.Namespace, name)
			return ok
		})
	}
	release, declared := recordIn(j.Truth.Current, j.id.agent.Name, j.key.Namespace, name) // what the last commit drops may go at once
	if !declared || release.Rollback || j.moved(release) {
		return true
	}
	if j.r.Operation == Update {
		return status != "uninstalling" && status != "uninstalled"
	}
	return status != "deployed"
}

// releaseRecord tells of which release, and in which state, an object is the Secret in which Helm keeps it: its type serves nothing else.
func (j *judgement) releaseRecord() (name, status string, ok bool) {
	for _, object := range []map[string]any{j.r.Old, j.r.Object} {
		if object == nil {
			continue
		}
		labels := labelsOf(object)
		name, _ = labels["name"].(string)
		status, _ = labels["status"].(string)
		number, ofName := strings.CutPrefix(j.key.Name, "sh.helm.release.v1."+name+".v")
		if object["type"] != "helm.sh/release.v1" || labels["owner"] != "helm" || !ofName || name == "" || strings.Trim(number, "0123456789") != "" {
			return "", "", false
		}
		ok = true
	}
	return name, status, ok
}

// releaseDeclared tells whether a release of the agent is rendered from a revision inside the accepted window.
func (j *judgement) releaseDeclared(namespace, name string) bool {
	return j.inWindow(func(s *snapshot.Snapshot) bool {
		_, ok := releaseIn(s, j.id.agent.Name, namespace, name)
		return ok
	})
}

// inWindow tells whether something holds for a snapshot that counts.
func (j *judgement) inWindow(holds func(*snapshot.Snapshot) bool) bool {
	for s := range j.snapshots() {
		if holds(s) {
			return true
		}
	}
	return false
}

// recordIn finds the release of an agent that is recorded in a namespace, among those that are rendered.
func recordIn(s *snapshot.Snapshot, applier, namespace, name string) (manifest.Release, bool) {
	return releaseWhere(s, applier, func(r manifest.Release) bool { return r.RecordedIn() == namespace && r.Name == name })
}

// releaseIn finds the release of an agent that is made in a namespace.
func releaseIn(s *snapshot.Snapshot, applier, namespace, name string) (manifest.Release, bool) {
	return releaseWhere(s, applier, func(r manifest.Release) bool { return r.Namespace == namespace && r.Name == name })
}

func releaseWhere(s *snapshot.Snapshot, applier string, is func(manifest.Release) bool) (manifest.Release, bool) {
	if s == nil || s.Rendered == nil {
		return manifest.Release{}, false
	}
	for _, b := range s.Rendered.Builds {
		if b.Owner.Agent == applier && b.Release.Name != "" && is(b.Release) {
			return b.Release, true
		}
	}
	return manifest.Release{}, false
}

// moved tells whether a release was recorded in another namespace, or of a chart of another name, in a revision inside the accepted window: Flux
// uninstalls it there, with all that is declared, before it installs it anew (helm-controller, internal/action, ReleaseTargetChanged).
func (j *judgement) moved(release manifest.Release) bool {
	if j.id.agent.Preset != v1alpha1.PresetFlux {
		return false
	}
	return j.inWindow(func(s *snapshot.Snapshot) bool {
		was, ok := releaseIn(s, j.id.agent.Name, release.Namespace, release.Name)
		return ok && (was.RecordedIn() != release.RecordedIn() || was.Chart != release.Chart)
	})
}

// ofReleaseGone tells whether a live object belongs to a Helm release that this agent no longer makes, and is declared as one of another: Helm takes
// over nothing of another release, so the agent uninstalls the one that Git has dropped, and installs the one that it has now (a folder of Fleet's, or a
// HelmRelease of Flux's that was renamed). So it is with one that moved. Under the gate nobody but the agent sets these marks.
func (j *judgement) ofReleaseGone(e *snapshot.Entry) bool {
	const name, namespace = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
	marks := annotationsOf(j.r.Old)
	was, _ := marks[name].(string)
	in, _ := marks[namespace].(string)
	if was == "" || e.Adds.Annotations[name] == "" {
		return false
	}
	switch j.id.agent.Preset {
	case v1alpha1.PresetFleet, v1alpha1.PresetPipeline, v1alpha1.PresetFlux:
	default:
		return false
	}
	release, declared := releaseIn(j.Truth.Current, j.id.agent.Name, in, was)
	if was == e.Adds.Annotations[name] && in == e.Adds.Annotations[namespace] {
		return declared && j.moved(release)
	}
	return !declared
}

// chartOfRelease holds for the HelmChart that helm-controller makes from a HelmRelease: NAMESPACE-NAME, of a declared release, with the chart that this
// names. It goes with the release, or when that names another chart elsewhere; where it goes before, helm-controller makes it again.
func (j *judgement) chartOfRelease() bool {
	object := j.r.Object
	if object == nil {
		object = j.r.Old
	}
	labels := labelsOf(object)
	name, _ := labels["helm.toolkit.fluxcd.io/name"].(string)
	namespace, _ := labels["helm.toolkit.fluxcd.io/namespace"].(string)
	if name == "" || j.key.Name != namespace+"-"+name {
		return false
	}
	key := manifest.Key{Group: agent.FluxHelmGroup, Kind: "HelmRelease", Namespace: namespace, Name: name}
	return j.r.Operation == Delete || j.inWindow(func(s *snapshot.Snapshot) bool {
		e := s.Lookup(key)
		return e != nil && namesChart(e, j.key.Namespace, spec(object))
	})
}

// namesChart tells whether a HelmRelease names what a HelmChart in this namespace says.
func namesChart(release *snapshot.Entry, namespace string, chart map[string]any) bool {
	template, _ := spec(release.Content.Map())["chart"].(map[string]any)
	wanted := spec(template)
	source, _ := wanted["sourceRef"].(map[string]any)
	in, _ := source["namespace"].(string)
	if in == "" {
		in = release.Namespace
	}
	from, _ := chart["sourceRef"].(map[string]any)
	same := wanted != nil && in == namespace && from["kind"] == source["kind"] && from["name"] == source["name"]
	for field, otherwise := range map[string]any{
		"chart": nil, "version": "*", "reconcileStrategy": "ChartVersion", "valuesFiles": nil, "ignoreMissingValuesFiles": false, "verify": nil,
	} {
		is, want := chart[field], wanted[field]
		if is == nil {
			is = otherwise
		}
		if want == nil {
			want = otherwise
		}
		same = same && reflect.DeepEqual(is, want)
	}
	return same
}
