package scan

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
)

// controllersFields are fields of a declared object that the controllers of Kubernetes write: the same that the table of package admit lets
// them write, where they stay in the object.
func controllersFields(group, kind string) []account.Pattern {
	switch (schemaKind{group, kind}) {
	case schemaKind{"apps", "Deployment"}:
		return []account.Pattern{"metadata.annotations[deployment.kubernetes.io/revision]"}
	case schemaKind{"apps", "DaemonSet"}:
		return []account.Pattern{"metadata.annotations[deprecated.daemonset.template.generation]"}
	case schemaKind{"batch", "Job"}:
		return []account.Pattern{"metadata.annotations[batch.kubernetes.io/job-tracking]", "metadata.labels[batch.kubernetes.io/job-tracking]"}
	case schemaKind{"", "PersistentVolumeClaim"}:
		return []account.Pattern{
			"spec.volumeName", "metadata.finalizers**", "metadata.annotations[pv.kubernetes.io/bind-completed]",
			"metadata.annotations[pv.kubernetes.io/bound-by-controller]", "metadata.annotations[volume.kubernetes.io/selected-node]",
			"metadata.annotations[volume.kubernetes.io/storage-provisioner]", "metadata.annotations[volume.beta.kubernetes.io/storage-provisioner]",
		}
	case schemaKind{"", "PersistentVolume"}:
		return []account.Pattern{"spec.claimRef**", "metadata.finalizers**", "metadata.annotations[pv.kubernetes.io/bound-by-controller]"}
	case schemaKind{"", "Service"}:
		return []account.Pattern{"metadata.finalizers[service.kubernetes.io/load-balancer-cleanup]"}
	case schemaKind{"apiextensions.k8s.io", "CustomResourceDefinition"}:
		return []account.Pattern{"metadata.finalizers[customresourcecleanup.apiextensions.k8s.io]"}
	case schemaKind{"", "Pod"}:
		return []account.Pattern{"spec.nodeName"}
	case schemaKind{agent.ArgoCDGroup, "Application"}, schemaKind{agent.ArgoCDGroup, "ApplicationSet"}, schemaKind{agent.ArgoCDGroup, "AppProject"}:
		return []account.Pattern{ // their status is no subresource, or no definition in Git says so
			"status", "status**", "operation", "operation**", "metadata.finalizers", "metadata.finalizers**", "metadata.annotations[argocd.argoproj.io/refresh]",
			"metadata.annotations[argocd.argoproj.io/hydrate]", "metadata.annotations[notified.notifications.argoproj.io]",
		}
	}
	return nil
}

type schemaKind struct{ group, kind string }

// passing are kinds of which nothing is asked: they come and go with what nodes, leases and metrics do, and say nothing that Git could.
func passing(group, kind string) bool {
	switch group {
	case "coordination.k8s.io", "events.k8s.io", "metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io", "internal.apiserver.k8s.io", "openreports.io",
		"authentication.k8s.io", "authorization.k8s.io":
		return true
	case "":
		return slices.Contains([]string{"Event", "ComponentStatus", "Node"}, kind)
	case "storage.k8s.io":
		return slices.Contains([]string{"CSINode", "CSIStorageCapacity", "VolumeAttachment"}, kind)
	case "networking.k8s.io":
		return kind == "IPAddress"
	case "certificates.k8s.io":
		return slices.Contains([]string{"CertificateSigningRequest", "ClusterTrustBundle"}, kind)
	case "resource.k8s.io":
		return kind == "ResourceSlice"
	}
	return false
}

// system says why an object is Kubernetes' own, "" if it is not: what every cluster makes for itself before anybody asked it to. Labels alone are
// believed of nothing that gives rights.
func system(k manifest.Key, object map[string]any) string {
	labels, _ := metadata(object)["labels"].(map[string]any)
	annotations, _ := metadata(object)["annotations"].(map[string]any)
	switch k.Group {
	case "":
		return systemCore(k, object, annotations)
	case "rbac.authorization.k8s.io":
		if labels["kubernetes.io/bootstrapping"] == "rbac-defaults" && defaultRole(k, object) {
			return "a default role that the API server keeps"
		}
	case "flowcontrol.apiserver.k8s.io":
		if _, ok := annotations["apf.kubernetes.io/autoupdate-spec"]; ok {
			return "a default of API priority and fairness"
		}
	case "scheduling.k8s.io":
		if strings.HasPrefix(k.Name, "system-") {
			return "a default priority class"
		}
	case "apiregistration.k8s.io":
		if _, serves := dig(object, "spec", "service"); !serves {
			return "a group that the API server itself serves"
		}
	case "networking.k8s.io":
		if k.Kind == "ServiceCIDR" && k.Name == "kubernetes" {
			return "the default range of service addresses"
		}
	case "discovery.k8s.io":
		if k.Namespace == "default" && k.Name == "kubernetes" {
			return "the API server's own address"
		}
	}
	return ""
}

func systemCore(k manifest.Key, object, annotations map[string]any) string {
	switch k.Kind {
	case "Namespace":
		if slices.Contains([]string{"default", "kube-system", "kube-public", "kube-node-lease"}, k.Name) {
			return "a namespace that the API server keeps"
		}
	case "ServiceAccount":
		if k.Name == "default" {
			return "the default account of its namespace"
		}
		if k.Namespace == "kube-system" && controllersAccount(k.Name) {
			return "the account of a controller of kube-controller-manager"
		}
	case "ConfigMap":
		if k.Name == "kube-root-ca.crt" {
			return "the cluster's authority, published to each namespace"
		}
		if k.Namespace == "kube-system" && (k.Name == "extension-apiserver-authentication" || k.Name == "kube-apiserver-legacy-service-account-token-tracking") {
			return "the API server's own bookkeeping"
		}
	case "Service", "Endpoints":
		if k.Namespace == "default" && k.Name == "kubernetes" {
			return "the API server's own address"
		}
	case "Pod":
		if _, mirror := annotations["kubernetes.io/config.mirror"]; mirror {
			return "the shadow of a static pod"
		}
	case "PersistentVolume":
		if _, ok := annotations["pv.kubernetes.io/provisioned-by"]; ok {
			if _, bound := dig(object, "spec", "claimRef"); bound {
				return "a volume that was provisioned for a claim"
			}
		}
	}
	return ""
}

// controllersAccount tells whether kube-controller-manager makes a service account of this name for one of its controllers.
func controllersAccount(name string) bool {
	return strings.HasSuffix(name, "-controller") || slices.Contains([]string{
		"generic-garbage-collector", "horizontal-pod-autoscaler", "persistent-volume-binder", "pod-garbage-collector", "root-ca-cert-publisher",
		"kube-apiserver-serving-clustertrustbundle-publisher", "legacy-service-account-token-cleaner", "bootstrap-signer", "token-cleaner",
	}, name)
}

// defaultRole tells whether a role can be one of the API server's defaults: by its name, and a binding also by whom it binds to what. Anybody can set the
// label, so that a binding of anybody but the system's own is never taken for one.
func defaultRole(k manifest.Key, object map[string]any) bool {
	system := strings.HasPrefix(k.Name, "system:") || slices.Contains([]string{"cluster-admin", "admin", "edit", "view", "extension-apiserver-authentication-reader"}, k.Name)
	if !system || !strings.HasSuffix(k.Kind, "Binding") {
		return system
	}
	subjects, _ := object["subjects"].([]any)
	for _, v := range subjects {
		s, _ := v.(map[string]any)
		name, _ := s["name"].(string)
		if s["kind"] == "ServiceAccount" && s["namespace"] != "kube-system" || s["kind"] != "ServiceAccount" && !strings.HasPrefix(name, "system:") {
			return false
		}
	}
	return true
}

// makers are which built-in kinds make which: an owner of another kind explains nothing. Kinds that are not built in make what they like.
func makes(owner, made manifest.Key) bool {
	is := func(k manifest.Key, kinds ...string) bool {
		return slices.Contains(kinds, strings.TrimSuffix(k.Kind+"."+k.Group, "."))
	}
	switch {
	case !builtin(owner.Group):
		return true
	case is(owner, "Deployment.apps"):
		return is(made, "ReplicaSet.apps")
	case is(owner, "ReplicaSet.apps", "ReplicationController", "Job.batch"):
		return is(made, "Pod")
	case is(owner, "StatefulSet.apps"):
		return is(made, "Pod", "ControllerRevision.apps", "PersistentVolumeClaim")
	case is(owner, "DaemonSet.apps"):
		return is(made, "Pod", "ControllerRevision.apps")
	case is(owner, "CronJob.batch"):
		return is(made, "Job.batch")
	case is(owner, "Pod"):
		return is(made, "PersistentVolumeClaim", "ResourceClaim.resource.k8s.io")
	case is(owner, "Service"):
		return is(made, "EndpointSlice.discovery.k8s.io", "Endpoints")
	case is(owner, "Endpoints"):
		return is(made, "EndpointSlice.discovery.k8s.io")
	case is(owner, "ServiceAccount"):
		return is(made, "Secret")
	case is(owner, "Node"):
		return is(made, "Pod")
	}
	return false
}

// builtin tells whether a group is one of Kubernetes itself: those have no dot, or end in k8s.io.
func builtin(group string) bool {
	return !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
}

// ownerOf is what would explain an undeclared object: its controller, else its first owner; for Endpoints and for tokens, which have none,
// the Service or account that they are about, then without a uid.
func ownerOf(k manifest.Key, object map[string]any) (live.Owner, bool) {
	if owner, ok := live.ControllerOf(object); ok {
		return owner, true
	}
	if owners := live.OwnersOf(object); len(owners) > 0 {
		return owners[0], true
	}
	switch {
	case k.Group == "" && k.Kind == "Endpoints":
		return live.Owner{Key: manifest.Key{Kind: "Service", Namespace: k.Namespace, Name: k.Name}}, true
	case k.Group == "" && k.Kind == "Secret" && object["type"] == "kubernetes.io/service-account-token":
		if name, ok := dig(object, "metadata", "annotations", "kubernetes.io/service-account.name"); ok {
			name, _ := name.(string)
			return live.Owner{Key: manifest.Key{Kind: "ServiceAccount", Namespace: k.Namespace, Name: name}}, true
		}
	}
	return live.Owner{}, false
}
