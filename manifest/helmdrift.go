package manifest

import (
	"regexp"

	"k8s.io/apimachinery/pkg/labels"
)

// helmDrift is what helm-controller does about live objects that are not as it made them (HelmRelease, spec.driftDetection).
type helmDrift struct {
	Ignore []struct {
		Paths  []string         `json:"paths"`
		Target *kustomizeTarget `json:"target,omitempty"`
	} `json:"ignore,omitempty"`
}

// kustomizeTarget selects objects as kustomize does: by expressions that a whole name must match, and by labels and annotations. What is empty matches any.
type kustomizeTarget struct {
	Group              string `json:"group,omitempty"`
	Version            string `json:"version,omitempty"`
	Kind               string `json:"kind,omitempty"`
	Namespace          string `json:"namespace,omitempty"`
	Name               string `json:"name,omitempty"`
	AnnotationSelector string `json:"annotationSelector,omitempty"`
	LabelSelector      string `json:"labelSelector,omitempty"`
}

// of are the fields of an object whose live values are left as they are.
func (d helmDrift) of(o *Object) []string {
	var fields []string
	for _, rule := range d.Ignore {
		if rule.Target != nil && !rule.Target.matches(o) {
			continue
		}
		for _, pointer := range rule.Paths {
			if len(pointer) > 1 && pointer[0] == '/' { // the object as a whole is not left to others
				fields = append(fields, fieldOfPointer(pointer))
			}
		}
	}
	return fields
}

func (t *kustomizeTarget) matches(o *Object) bool {
	for _, pair := range [][2]string{{t.Group, o.Group}, {t.Version, o.Version}, {t.Kind, o.Kind}, {t.Namespace, o.Namespace}, {t.Name, o.Name}} {
		if pair[0] == "" {
			continue
		}
		if whole, err := regexp.Compile("^(?:" + pair[0] + ")$"); err != nil || !whole.MatchString(pair[1]) {
			return false
		}
	}
	return selectorHolds(t.LabelSelector, o, "labels") && selectorHolds(t.AnnotationSelector, o, "annotations")
}

// selectorHolds tells whether a selector, written as for labels, matches what the metadata of an object hold in a field.
func selectorHolds(selector string, o *Object, field string) bool {
	if selector == "" {
		return true
	}
	s, err := labels.Parse(selector)
	if err != nil {
		return false
	}
	set := labels.Set{}
	for key, value := range childMap(o.Content.Child("metadata"), field) {
		set[key], _ = value.(string)
	}
	return s.Matches(set)
}
