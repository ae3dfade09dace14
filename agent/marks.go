package agent

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// Flux's groups, and the labels by which its controllers know what they applied.
const (
	FluxKustomizeGroup = "kustomize.toolkit.fluxcd.io"
	FluxHelmGroup      = "helm.toolkit.fluxcd.io"
	FluxSourceGroup    = "source.toolkit.fluxcd.io"
)

// FluxLabels are what kustomize-controller (group FluxKustomizeGroup) or helm-controller (FluxHelmGroup) sets on each object that a
// Kustomization or HelmRelease applies (fluxcd/pkg ssa, SetOwnerLabels).
func FluxLabels(group, namespace, name string) Metadata {
	return Metadata{Labels: map[string]string{group + "/name": name, group + "/namespace": namespace}}
}

// HelmMetadata is what Helm 3 and 4 set on each object of a release, but not on hooks and CRDs (helm.sh/helm, pkg/action/validate.go).
func HelmMetadata(namespace, release string) Metadata {
	return Metadata{
		Labels:      map[string]string{"app.kubernetes.io/managed-by": "Helm"},
		Annotations: map[string]string{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace},
	}
}

// ArgoCDTracking is how Argo CD knows the objects of an Application (argocd-cm, application.resourceTrackingMethod).
type ArgoCDTracking string

// The tracking methods.
const (
	TrackByAnnotation         ArgoCDTracking = "annotation" // the default since 3.0
	TrackByLabel              ArgoCDTracking = "label"
	TrackByAnnotationAndLabel ArgoCDTracking = "annotation+label"
)

// ArgoCDMarks are what application-controller sets on an object of an application instance: the application's name, with NAMESPACE_ before
// it where it lives outside Argo CD's own. namespace is the object's, or that of the destination if it is cluster-scoped.
func ArgoCDMarks(method ArgoCDTracking, labelKey, installation, instance, group, kind, namespace, name string) Metadata {
	var m Metadata
	if method != TrackByLabel {
		m.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": instance + ":" + group + "/" + kind + ":" + namespace + "/" + name}
		if installation != "" {
			m.Annotations["argocd.argoproj.io/installation-id"] = installation
		}
	}
	if method != TrackByAnnotation {
		if len(instance) > 63 {
			instance = strings.TrimRight(instance[:63], "-_.")
		}
		m.Labels = map[string]string{labelKey: instance}
	}
	return m
}

// ConfigSync is what a reconciler of Config Sync knows itself by.
type ConfigSync struct {
	Name, Namespace string // of the RootSync or RepoSync
	Kind            string
	Repository      string // spec.git.repo, word for word
	Branch          string
	Revision        string // spec.git.revision, HEAD if it is not set
	Commit          string
	Cluster         string // what Config Sync knows the cluster as; "" if that is not known
}

// configSyncSpecial are the namespaces that Config Sync never deletes (pkg/syncer/differ, SpecialNamespaces).
var configSyncSpecial = []string{"default", "kube-system", "kube-public", "kube-node-lease", "gatekeeper-system"}

// ConfigSyncMark tells whether a label or annotation is one of those that Config Sync takes off an object that it lets go of (pkg/metadata,
// RemoveConfigSyncMetadata; sigs.k8s.io/cli-utils takes off the last one alone).
func ConfigSyncMark(key string) bool {
	return strings.HasPrefix(key, "configmanagement.gke.io/") || strings.HasPrefix(key, "configsync.gke.io/") ||
		key == "app.kubernetes.io/managed-by" || key == "hnc.x-k8s.io/managed-by" || key == "config.k8s.io/owning-inventory"
}

// Marks are what the reconciler sets on an object; sourcePath is the file that declares it, "" for a namespace that it makes by itself
// (kpt-config-sync pkg/metadata, SetConfigSyncMetadata). The commit is one of them: each commit touches every object.
func (c ConfigSync) Marks(group, version, kind, namespace, name, sourcePath string) Metadata {
	parent := sha256.Sum256([]byte(c.Name + "." + c.Namespace + "." + c.Kind + ".configsync.gke.io"))
	scope, usual := c.Namespace, "repo-sync"
	if c.Kind == "RootSync" {
		scope, usual = ":root", "root-sync"
	}
	manager := scope
	if c.Name != usual {
		manager += "_" + c.Name
	}
	id := group + "_" + strings.ToLower(kind) + "_"
	if namespace != "" {
		id += namespace + "_"
	}
	m := Metadata{
		Labels: map[string]string{
			"app.kubernetes.io/managed-by":       "configmanagement.gke.io",
			"applyset.kubernetes.io/part-of":     "applyset-" + base64.RawURLEncoding.EncodeToString(parent[:]) + "-v1",
			"configsync.gke.io/declared-version": version,
		},
		Annotations: map[string]string{
			"configmanagement.gke.io/managed": "enabled",
			"configmanagement.gke.io/token":   c.Commit,
			"configsync.gke.io/git-context":   c.context(),
			"configsync.gke.io/manager":       manager,
			"configsync.gke.io/resource-id":   id + name,
			"config.k8s.io/owning-inventory":  c.Namespace + "_" + c.Name,
		},
	}
	if sourcePath != "" {
		m.Annotations["configmanagement.gke.io/source-path"] = sourcePath
	}
	if c.Cluster != "" {
		m.Annotations["configmanagement.gke.io/cluster-name"] = c.Cluster
	}
	if group == "" && kind == "Namespace" && slices.Contains(configSyncSpecial, name) {
		m.Annotations["client.lifecycle.config.k8s.io/deletion"] = "detach"
	}
	return m
}

// context is where the object comes from, as JSON in the reconciler's own order.
func (c ConfigSync) context() string {
	text, err := json.Marshal(struct {
		Repo   string `json:"repo"`
		Branch string `json:"branch"`
		Rev    string `json:"rev"`
	}{c.Repository, c.Branch, c.Revision})
	if err != nil {
		return "" // of three texts: not reached
	}
	return string(text)
}
