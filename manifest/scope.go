package manifest

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/compact"
)

// groupKind names a kind in any of its versions.
type groupKind struct{ group, kind string }

func kindOf(content compact.Object) (gk groupKind, version string) {
	apiVersion := content.Text("apiVersion")
	gk.kind = content.Text("kind")
	if group, v, ok := strings.Cut(apiVersion, "/"); ok {
		gk.group, version = group, v
	} else {
		version = apiVersion
	}
	return gk, version
}

// scope is whether objects of a kind live in namespaces.
type scope int

const (
	scopeUnknown scope = iota // no CRD of this revision says so
	scopeNamespaced
	scopeCluster
)

// builtinScope is the scope of a kind that every API server serves.
func builtinScope(gk groupKind) scope {
	switch gk.group {
	case "":
		switch gk.kind {
		case "Namespace", "Node", "PersistentVolume", "ComponentStatus":
			return scopeCluster
		}
		return scopeNamespaced
	case "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "flowcontrol.apiserver.k8s.io",
		"internal.apiserver.k8s.io", "node.k8s.io", "storagemigration.k8s.io":
		return scopeCluster
	case "apps", "autoscaling", "batch", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "policy", "extensions":
		return scopeNamespaced
	}
	cluster, ok := clusterKinds(gk.group)
	switch {
	case !ok:
		return scopeUnknown
	case slices.Contains(cluster, gk.kind):
		return scopeCluster
	}
	return scopeNamespaced
}

// clusterKinds are the cluster-scoped kinds of a group that has kinds of both scopes: of Kubernetes itself, and of the agents.
func clusterKinds(group string) ([]string, bool) {
	switch group {
	case "rbac.authorization.k8s.io":
		return []string{"ClusterRole", "ClusterRoleBinding"}, true
	case "storage.k8s.io":
		return []string{"StorageClass", "VolumeAttachment", "CSIDriver", "CSINode", "VolumeAttributesClass"}, true
	case "scheduling.k8s.io":
		return []string{"PriorityClass"}, true
	case "certificates.k8s.io":
		return []string{"CertificateSigningRequest", "ClusterTrustBundle"}, true
	case "networking.k8s.io":
		return []string{"IngressClass", "IPAddress", "ServiceCIDR"}, true
	case "resource.k8s.io":
		return []string{"DeviceClass", "ResourceSlice", "DeviceTaintRule"}, true
	case "argoproj.io":
		return []string{"ClusterAnalysisTemplate", "ClusterWorkflowTemplate"}, true
	case "fleet.cattle.io":
		return []string{"Content"}, true
	case agent.FluxKustomizeGroup, agent.FluxHelmGroup, agent.FluxSourceGroup, "configsync.gke.io":
		return nil, true
	}
	return nil, false
}

// crdScope reads kind and scope out of a CustomResourceDefinition.
func crdScope(content compact.Object) (groupKind, scope) {
	gk, _ := kindOf(content)
	if gk != (groupKind{"apiextensions.k8s.io", "CustomResourceDefinition"}) {
		return groupKind{}, scopeUnknown
	}
	spec := content.Child("spec")
	made := groupKind{text(spec, "group"), text(childMap(spec, "names"), "kind")}
	switch text(spec, "scope") {
	case "Namespaced":
		return made, scopeNamespaced
	case "Cluster":
		return made, scopeCluster
	}
	return made, scopeUnknown
}

// childMap is the map below a key, nil if there is none.
func childMap(m map[string]any, path ...string) map[string]any {
	for _, key := range path {
		m, _ = m[key].(map[string]any)
	}
	return m
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}
