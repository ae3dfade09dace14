package account

import (
	"net/netip"
	"slices"
	"strings"
)

// The judgements of the server rows. Each sees the whole change through w and the old value of its own field.

func anything(*walk, string, any, any) bool { return true }

func anyText(_ *walk, _ string, v, _ any) bool {
	_, ok := v.(string)
	return ok
}

// creating tells whether the request creates the object.
func (w *walk) creating() bool { return w.change.Old == nil }

// at is a value of the new object, by the names of fields.
func (w *walk) at(names ...string) any { return dig(w.change.Object, names) }

// was is a value of the old object.
func (w *walk) was(names ...string) any { return dig(w.change.Old, names) }

func dig(v any, names []string) any {
	for _, name := range names {
		v = asMap(v)[name]
	}
	return v
}

func text(v any) string { s, _ := v.(string); return s }

func hasGeneratedName(w *walk, _ string, v, _ any) bool {
	prefix := text(w.at("metadata", "generateName"))
	return prefix != "" && strings.HasPrefix(text(v), prefix)
}

func isOwnName(w *walk, _ string, v, _ any) bool {
	return text(v) != "" && same(v, w.at("metadata", "name"))
}

func isOwnUID(w *walk, _ string, v, _ any) bool {
	return text(v) != "" && same(v, w.at("metadata", "uid"))
}

func isText(want string) func(*walk, string, any, any) bool {
	return func(w *walk, _ string, v, _ any) bool { return w.creating() && text(v) == want }
}

func isOneOf(texts []string) func(*walk, string, any, any) bool {
	return func(_ *walk, _ string, v, _ any) bool {
		s, ok := v.(string)
		return ok && slices.Contains(texts, s)
	}
}

func isOnCreate(want string) func(*walk, string, any, any) bool { return isText(want) }

func isCopyOf(names ...string) func(*walk, string, any, any) bool {
	return func(w *walk, _ string, v, _ any) bool {
		return w.at(names...) != nil && equal(v, subset(w.at(names...), v))
	}
}

// subset is a map without the keys that another has not: a dataSource lacks the namespace of a dataSourceRef.
func subset(v, like any) any {
	m, l := asMap(v), asMap(like)
	if m == nil || l == nil {
		return v
	}
	out := map[string]any{}
	for k, item := range m {
		if _, ok := l[k]; ok {
			out[k] = item
		}
	}
	return out
}

// isDefaultClass: the class that the cluster's administrator marked as default. Which one that is, only the cluster knows; it
// is taken on CREATE and stays.
func isDefaultClass(w *walk, _ string, v, _ any) bool { return w.creating() && text(v) != "" }

func isTemplateGeneration(_ *walk, _ string, v, _ any) bool {
	s := text(v)
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// areNamespaceFinalizers: on CREATE the kubernetes finalizer joins the declared ones, on UPDATE they are the old ones.
func areNamespaceFinalizers(w *walk, _ string, v, old any) bool {
	if !w.creating() {
		return equal(v, old)
	}
	declared := asList(w.object.declaration.Content.At("spec", "finalizers"))
	for _, f := range asList(v) {
		if text(f) != "kubernetes" && !slices.Contains(declared, f) {
			return false
		}
	}
	return true
}

// wasExternalName tells whether the Service had nothing allocated before.
func (w *walk) wasExternalName() bool { return text(w.was("spec", "type")) == "ExternalName" }

// isExternalName: such a Service has no traffic to route.
func isExternalName(w *walk) bool { return text(w.at("spec", "type")) == "ExternalName" }

func isClusterIP(w *walk, _ string, v, old any) bool {
	if !w.creating() && !w.wasExternalName() {
		return equal(v, old)
	}
	_, err := netip.ParseAddr(text(v))
	return err == nil
}

// areClusterIPs: the first is clusterIP, which has its own reason; a second comes with dual stack. Where Git declares the list, v is an
// item that it lacks.
func areClusterIPs(w *walk, key string, v, old any) bool {
	ips, ok := v.([]any)
	if !ok {
		return isSecondIP(w, key, v, old)
	}
	if len(ips) == 0 || len(ips) > 2 || !same(ips[0], w.at("spec", "clusterIP")) {
		return false
	}
	if len(ips) == 1 {
		return true
	}
	if was := asList(old); len(was) == 2 {
		return equal(v, old)
	}
	_, err := netip.ParseAddr(text(ips[1]))
	return err == nil
}

// areIPFamilies: those of the addresses. Where Git declares the list, v is an item that it lacks.
func areIPFamilies(w *walk, key string, v, old any) bool {
	families, ok := v.([]any)
	if !ok {
		return isSecondFamily(w, key, v, old)
	}
	if was := asList(old); len(was) > 0 && len(families) > 0 && !same(was[0], families[0]) {
		return false
	}
	for _, f := range families {
		if s := text(f); s != "IPv4" && s != "IPv6" {
			return false
		}
	}
	return len(families) > 0 && len(families) <= 2
}

// isSecondIP: of a dual-stack Service whose first address Git declares.
func isSecondIP(w *walk, _ string, v, old any) bool {
	ips := asList(w.at("spec", "clusterIPs"))
	_, err := netip.ParseAddr(text(v))
	return (old == nil || same(v, old)) && len(ips) == 2 && same(v, ips[1]) && err == nil && text(w.at("spec", "ipFamilyPolicy")) != "SingleStack"
}

// isSecondFamily: of a dual-stack Service whose first family Git declares.
func isSecondFamily(w *walk, _ string, v, _ any) bool {
	families := asList(w.at("spec", "ipFamilies"))
	return len(families) == 2 && same(v, families[1]) && !same(v, families[0]) && (text(v) == "IPv4" || text(v) == "IPv6") &&
		text(w.at("spec", "ipFamilyPolicy")) != "SingleStack"
}

// isIPFamilyPolicy: single stack, but for a headless Service without selector.
func isIPFamilyPolicy(w *walk, _ string, v, old any) bool {
	if old != nil && !w.wasExternalName() {
		return equal(v, old)
	}
	switch text(v) {
	case "SingleStack":
		return true
	case "RequireDualStack":
		return text(w.at("spec", "clusterIP")) == "None" && len(asMap(w.at("spec", "selector"))) == 0
	}
	return false
}

// isNodePort: allocated where there was none, and kept.
func isNodePort(w *walk, _ string, v, old any) bool {
	if old != nil {
		return same(v, old)
	}
	switch text(w.at("spec", "type")) {
	case "NodePort", "LoadBalancer":
		return isPort(v)
	}
	return false
}

func isHealthCheckNodePort(w *walk, _ string, v, old any) bool {
	if old != nil {
		return same(v, old)
	}
	return text(w.at("spec", "type")) == "LoadBalancer" && text(w.at("spec", "externalTrafficPolicy")) == "Local" && isPort(v)
}

func isPort(v any) bool {
	i, _, integer, ok := number(v)
	return ok && integer && i > 0 && i < 1<<16
}

func isNotReadyTaint(w *walk, _ string, v, _ any) bool {
	return w.creating() && equal(v, map[string]any{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"})
}

// areSecretNames: those of the pod's service account, which is not at hand here.
func areSecretNames(w *walk, _ string, v, _ any) bool {
	names, ok := v.([]any)
	if !ok {
		return false // an item more where Git lists some: the plugin only fills what is empty
	}
	for _, item := range names {
		if m := asMap(item); len(m) != 1 || text(m["name"]) == "" {
			return false
		}
	}
	return w.creating()
}

const tokenVolume = "kube-api-access-"

// isTokenVolume: exactly the volume that the plugin makes, and only where the Pod itself does not refuse a token.
func isTokenVolume(w *walk, _ string, v, _ any) bool {
	m := asMap(v)
	if !w.creating() || w.at("spec", "automountServiceAccountToken") == false || !strings.HasPrefix(text(m["name"]), tokenVolume) {
		return false
	}
	return len(m) == 2 && equal(m["projected"], map[string]any{
		"defaultMode": int64(420),
		"sources": []any{
			map[string]any{"serviceAccountToken": map[string]any{"expirationSeconds": int64(3607), "path": "token"}},
			map[string]any{"configMap": map[string]any{
				"name": "kube-root-ca.crt", "items": []any{map[string]any{"key": "ca.crt", "path": "ca.crt"}},
			}},
			map[string]any{"downwardAPI": map[string]any{"items": []any{map[string]any{
				"path": "namespace", "fieldRef": map[string]any{"apiVersion": "v1", "fieldPath": "metadata.namespace"},
			}}}},
		},
	})
}

func isTokenMount(w *walk, _ string, v, _ any) bool {
	m := asMap(v)
	return w.creating() && len(m) == 3 && strings.HasPrefix(text(m["name"]), tokenVolume) && m["readOnly"] == true &&
		m["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
}

func isDefaultToleration(w *walk, _ string, v, _ any) bool {
	m := asMap(v)
	key := text(m["key"])
	_, _, integer, ok := number(m["tolerationSeconds"])
	return len(m) == 4 && ok && integer && m["operator"] == "Exists" && m["effect"] == "NoExecute" &&
		(key == "node.kubernetes.io/not-ready" || key == "node.kubernetes.io/unreachable")
}

// isPriority: the plugin computes it from the class, and refuses any other.
func isPriority(w *walk, _ string, v, _ any) bool {
	_, _, integer, ok := number(v)
	return w.creating() && ok && integer
}

func isPreemptionPolicy(w *walk, _ string, v, _ any) bool {
	return w.creating() && (text(v) == "PreemptLowerPriority" || text(v) == "Never")
}

const limitRangerKey = "kubernetes.io/limit-ranger"

func isLimitRanger(w *walk, _ string, v, _ any) bool {
	return w.creating() && strings.HasPrefix(text(v), "LimitRanger plugin set: ")
}

// isFromLimitRange: the plugin says in an annotation which resources it set; the amounts are those of the namespace's
// LimitRange, which is not at hand here.
func isFromLimitRange(w *walk, resource string, _, _ any) bool {
	if !w.creating() {
		return false
	}
	annotations := asMap(w.at("metadata", "annotations"))
	return strings.Contains(text(annotations[limitRangerKey]), resource)
}

// isFromLabelKeys: a term that says that a label, of those that the constraint lists, has or has not the pod's own value.
func isFromLabelKeys(w *walk, _ string, v, _ any) bool {
	m := asMap(v)
	key, values := text(m["key"]), asList(m["values"])
	var list string
	switch text(m["operator"]) {
	case "In":
		list = "matchLabelKeys"
	case "NotIn":
		list = "mismatchLabelKeys"
	}
	own := asMap(w.at("metadata", "labels"))[key]
	return len(m) == 3 && list != "" && own != nil && len(values) == 1 && same(values[0], own) &&
		(lists(w.at("spec", "affinity"), list, key) || lists(w.at("spec", "topologySpreadConstraints"), list, key))
}

// lists tells whether a list of this name, anywhere in a value, holds a text.
func lists(v any, name, want string) bool {
	switch x := v.(type) {
	case map[string]any:
		for k, item := range x {
			if k == name && slices.Contains(asList(item), any(want)) || lists(item, name, want) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(x, func(item any) bool { return lists(item, name, want) })
	}
	return false
}
