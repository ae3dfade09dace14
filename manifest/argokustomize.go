package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// argoKustomize are the options that Argo CD gives to kustomize. Those that choose a binary or what a chart inside may ask for change nothing here.
type argoKustomize struct {
	NamePrefix                string            `json:"namePrefix,omitempty"`
	NameSuffix                string            `json:"nameSuffix,omitempty"`
	Namespace                 string            `json:"namespace,omitempty"`
	Images                    []string          `json:"images,omitempty"`
	Replicas                  []argoReplicas    `json:"replicas,omitempty"`
	CommonLabels              map[string]string `json:"commonLabels,omitempty"`
	ForceCommonLabels         bool              `json:"forceCommonLabels,omitempty"`
	LabelWithoutSelector      bool              `json:"labelWithoutSelector,omitempty"`
	LabelIncludeTemplates     bool              `json:"labelIncludeTemplates,omitempty"`
	CommonAnnotations         map[string]string `json:"commonAnnotations,omitempty"`
	ForceCommonAnnotations    bool              `json:"forceCommonAnnotations,omitempty"`
	CommonAnnotationsEnvsubst bool              `json:"commonAnnotationsEnvsubst,omitempty"`
	Patches                   []map[string]any  `json:"patches,omitempty"`
	Components                []string          `json:"components,omitempty"`
	IgnoreMissingComponents   bool              `json:"ignoreMissingComponents,omitempty"`
}

type argoReplicas struct {
	Name  string `json:"name"`
	Count any    `json:"count"` // a number, or text that is one
}

// kustomize builds a folder as Argo CD does: `kustomize edit` with the options, then `kustomize build`.
func (u *applicationUnit) kustomize(r *renderer, b *Build, at file, options *argoKustomize) error {
	if options == nil {
		return r.kustomize(b, at)
	}
	name := r.kustomizationFile(at)
	if name == at.path {
		r.problem(u.self.at, "%s has kustomize options, and folder %s has no kustomization", u.self.name(), at.path)
		return errReported
	}
	docs, err := r.readFile(b, file{at.repository, name}, folderRules{})
	if err != nil {
		return err
	}
	k := map[string]any{}
	if len(docs) > 0 {
		k = docs[0].content.Map()
	}
	if err := u.edit(r, k, at, options); err != nil {
		return err
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return r.kustomizeWith(b, at, map[string][]byte{string(name): text}, nil)
}

// edit does to a kustomization what `kustomize edit` would.
func (u *applicationUnit) edit(r *renderer, k map[string]any, at file, o *argoKustomize) error {
	for field, value := range map[string]string{"namePrefix": o.NamePrefix, "nameSuffix": o.NameSuffix, "namespace": o.Namespace} {
		if value != "" {
			k[field] = value
		}
	}
	for _, image := range o.Images {
		k["images"] = replaceNamed(listOf(k["images"]), parseImage(image))
	}
	for _, replicas := range o.Replicas {
		count, err := countOf(replicas.Count)
		if err != nil {
			r.problem(u.self.at, "%s: kustomize.replicas of %s: %v", u.self.name(), replicas.Name, err)
			return errReported
		}
		k["replicas"] = replaceNamed(listOf(k["replicas"]), map[string]any{"name": replicas.Name, "count": count})
	}
	switch {
	case len(o.CommonLabels) == 0:
	case o.LabelWithoutSelector:
		pairs := map[string]any{}
		for key, value := range o.CommonLabels {
			pairs[key] = value
		}
		k["labels"] = append(listOf(k["labels"]), map[string]any{"pairs": pairs, "includeTemplates": o.LabelIncludeTemplates})
	default:
		mergeStrings(k, "commonLabels", o.CommonLabels)
	}
	annotations := maps.Clone(o.CommonAnnotations)
	if o.CommonAnnotationsEnvsubst {
		for key, value := range annotations {
			annotations[key] = u.environment(r, at.repository, value)
		}
	}
	mergeStrings(k, "commonAnnotations", annotations)
	for _, p := range o.Patches {
		k["patches"] = append(listOf(k["patches"]), p)
	}
	for _, c := range o.Components {
		id, err := r.fileID(file{at.repository, join(at.path, c)})
		if err != nil {
			return err
		}
		if id != "" || !o.IgnoreMissingComponents {
			k["components"] = append(listOf(k["components"]), c)
		}
	}
	return nil
}

// environment replaces the variables of Argo CD's build environment that can be known.
func (u *applicationUnit) environment(r *renderer, repository, value string) string {
	commit := string(r.revisions[repository].commit)
	known := map[string]string{
		"ARGOCD_APP_NAME": u.instance, "ARGOCD_APP_NAMESPACE": u.spec.Destination.Namespace,
		"ARGOCD_APP_REVISION": commit, "ARGOCD_APP_REVISION_SHORT": commit[:min(7, len(commit))], "ARGOCD_APP_REVISION_SHORT_8": commit[:min(8, len(commit))],
	}
	for name, v := range known {
		value = strings.ReplaceAll(value, "${"+name+"}", v)
	}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(known))) { // the longer ones first
		value = strings.ReplaceAll(value, "$"+name, known[name])
	}
	return value
}

// replaceNamed puts an item in the place of the one with its name.
func replaceNamed(list []any, item map[string]any) []any {
	same := func(other any) bool {
		m, _ := other.(map[string]any)
		return text(m, "name") == text(item, "name")
	}
	if i := slices.IndexFunc(list, same); i >= 0 {
		list[i] = item
		return list
	}
	return append(list, item)
}

// parseImage reads what `kustomize edit set image` takes: NAME=NEWNAME:TAG, NAME:TAG, NAME@DIGEST.
func parseImage(s string) map[string]any {
	name, image, renamed := strings.Cut(s, "=")
	if !renamed {
		image = s
	}
	made := map[string]any{}
	base, digest, ok := strings.Cut(image, "@")
	if ok {
		made["digest"] = digest
	} else if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		base, made["newTag"] = image[:i], image[i+1:]
	}
	if renamed {
		made["name"] = name
		if base != "*" {
			made["newName"] = base
		}
	} else {
		made["name"] = base
	}
	return made
}

func countOf(v any) (int64, error) {
	switch v := v.(type) {
	case float64:
		return int64(v), nil
	case string:
		var n int64
		_, err := fmt.Sscan(v, &n)
		return n, err
	}
	return 0, fmt.Errorf("%v is not a number", v)
}
