package agent

import (
	"encoding/json"
	"maps"
)

// ArgoCDGroup is the API group of Argo CD.
const ArgoCDGroup = "argoproj.io"

// Normal is how the agent that owns a kind reads its objects, as a function that makes the form in which two of them are compared; nil for kinds
// that are compared as they stand.
//
// Argo CD's controllers read Applications, ApplicationSets and AppProjects into Go types, and often write the whole of what they have read: values
// that say nothing (prune: false, helm: {}) are gone then, and others that say nothing have come (directory: {jsonnet: {}}, the empty template of each
// generator, an empty status). Besides, application-controller takes out sources' options that are empty, and names the project default
// (util/argo, NormalizeApplicationSpec).
func Normal(group, kind string) func(map[string]any) map[string]any {
	if group != ArgoCDGroup {
		return nil
	}
	switch kind {
	case "Application":
		return normalApplication
	case "ApplicationSet", "AppProject":
		return normalArgoCD
	}
	return nil
}

func normalApplication(object map[string]any) map[string]any {
	if object == nil {
		return nil
	}
	out := normalArgoCD(object)
	spec, ok := out["spec"].(map[string]any)
	if ok && spec["project"] == nil {
		spec["project"] = "default"
	}
	return out
}

// normalArgoCD is a copy without what says nothing in spec and status.
func normalArgoCD(object map[string]any) map[string]any {
	if object == nil {
		return nil
	}
	out := maps.Clone(object)
	if v, ok := out["spec"]; ok {
		out["spec"] = normalValue(v, telling)
	}
	if v, ok := out["status"]; ok {
		if out["status"] = normalValue(v, func(string) bool { return false }); empty(out["status"]) {
			delete(out, "status")
		}
	}
	return out
}

// normalValue leaves out the fields that are empty, but for those that tell something by being there.
func normalValue(v any, telling func(field string) bool) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			if !wordForWord(k, item) {
				item = normalValue(item, telling)
			}
			if item != nil && (telling(k) || !empty(item)) {
				out[k] = item
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = normalValue(item, telling)
		}
		return out
	}
	return v
}

// empty tells whether a value is what Go has where nothing was said.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case int64:
		return v == 0
	case int:
		return v == 0
	case float64:
		return v == 0
	case json.Number:
		return v == "0"
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// telling are the fields whose presence says something, whatever they hold: the pointers of Argo CD's types (pkg/apis/application/v1alpha1).
func telling(field string) bool {
	switch field {
	case "automated", "enabled", "retry", "backoff", "factor", "revisionHistoryLimit", "managedNamespaceMetadata", "plugin", "sourceHydrator", "hydrateTo",
		"string", "array", "map",
		"list", "clusters", "git", "scmProvider", "clusterDecisionResource", "pullRequest", "matrix", "merge", "requeueAfterSeconds", "templatePatch",
		"strategy", "rollingSync", "maxUpdate", "applicationsSync",
		"orphanedResources", "warn", "namespaceResourceWhitelist":
		return true
	}
	return false
}

// wordForWord are the fields whose content is the user's own: maps with any keys, and values that Argo CD hands on as they are.
func wordForWord(field string, v any) bool {
	_, isMap := v.(map[string]any)
	switch field {
	case "valuesObject", "elements":
		return true
	case "labels", "annotations", "commonLabels", "commonAnnotations", "matchLabels", "options", "values", "parameters", "map":
		return isMap
	}
	return false
}
