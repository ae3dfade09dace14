package account

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// row is one thing that the API server itself sets in objects of a kind: what registry strategies and the admission plugins
// that are on by default do beyond defaulting. docs/accounting.md prints the table.
//
// A row never explains what Git declares otherwise, unless overrides says that the server replaces the value whatever it is.
// Values that the server allocates cannot be told from values that a client chose when an object is created; then their shape
// is all that is checked. When it is updated, they must be the old ones, or take the place of nothing.
type row struct {
	// path of the field, with [*] for any item of a list; with [*] at its end, the row is for items or keys that are not expected.
	path string
	// overrides: the server sets the field whatever the client sends.
	overrides bool
	// ok judges the value. key is that of an extra key, old the value of the old object.
	ok func(w *walk, key string, v, old any) bool
	// source is the file of k8s.io/kubernetes that does it.
	source string
}

// serverMetadata are the fields of ObjectMeta that are the API server's alone: it overwrites or copies them on each request
// (apiserver/pkg/registry/rest: FillObjectMetaSystemFields, BeforeCreate, BeforeUpdate; endpoints/handlers/fieldmanager).
var serverMetadata = []string{
	"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
	"resourceVersion", "selfLink", "uid",
}

// generatedName explains the name of an object that Git declares with generateName alone.
var generatedName = &row{path: "metadata.name", ok: hasGeneratedName, source: "apiserver/pkg/registry/rest/create.go"}

// requestNamespace explains the namespace of an object that Git declares without one: it is that of the request, by which the
// declaration was found.
var requestNamespace = &row{path: "metadata.namespace", ok: anyText, source: "apiserver/pkg/registry/rest/meta.go"}

// statusIsServers tells whether the status of a built-in kind is never a client's to set in a request for the object itself. Node
// is the exception: a kubelet registers itself with a status.
func statusIsServers(gk schema.GroupKind, s *shape) bool {
	_, ok := s.fields["status"]
	return ok && gk != schema.GroupKind{Kind: "Node"}
}

var serverRows = map[schema.GroupKind][]row{
	{Kind: "Service"}: {
		{path: "spec.clusterIP", ok: isClusterIP, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.clusterIPs", ok: areClusterIPs, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.ipFamilies", ok: areIPFamilies, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.ipFamilyPolicy", ok: isIPFamilyPolicy, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.ports[*].nodePort", ok: isNodePort, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.healthCheckNodePort", ok: isHealthCheckNodePort, source: "pkg/registry/core/service/storage/alloc.go"},
	},
	{Kind: "Namespace"}: {
		{path: "spec.finalizers", overrides: true, ok: areNamespaceFinalizers, source: "pkg/registry/core/namespace/strategy.go"},
		{path: "metadata.labels[kubernetes.io/metadata.name]", overrides: true, ok: isOwnName, source: "pkg/registry/core/namespace/strategy.go"},
	},
	{Kind: "PersistentVolumeClaim"}: {
		{path: "metadata.finalizers[*]", ok: isOnCreate("kubernetes.io/pvc-protection"), source: "plugin/pkg/admission/storage/storageobjectinuseprotection/admission.go"},
		{path: "spec.storageClassName", ok: isDefaultClass, source: "plugin/pkg/admission/storage/storageclass/setdefault/admission.go"},
		{path: "spec.dataSource", ok: isCopyOf("spec", "dataSourceRef"), source: "pkg/registry/core/persistentvolumeclaim/strategy.go"},
		{path: "spec.dataSourceRef", ok: isCopyOf("spec", "dataSource"), source: "pkg/registry/core/persistentvolumeclaim/strategy.go"},
	},
	{Kind: "PersistentVolume"}: {
		{path: "metadata.finalizers[*]", ok: isOnCreate("kubernetes.io/pv-protection"), source: "plugin/pkg/admission/storage/storageobjectinuseprotection/admission.go"},
	},
	{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"}: {
		{path: "metadata.finalizers[*]", ok: isOnCreate("kubernetes.io/vac-protection"), source: "plugin/pkg/admission/storage/storageobjectinuseprotection/admission.go"},
	},
	{Group: "networking.k8s.io", Kind: "Ingress"}: {
		{path: "spec.ingressClassName", ok: isDefaultClass, source: "plugin/pkg/admission/network/defaultingressclass/admission.go"},
	},
	{Group: "batch", Kind: "Job"}: {
		{path: "spec.selector.matchLabels[batch.kubernetes.io/controller-uid]", ok: isOwnUID, source: "pkg/registry/batch/job/strategy.go"},
		{path: "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]", ok: isOwnUID, source: "pkg/registry/batch/job/strategy.go"},
		{path: "spec.template.metadata.labels[controller-uid]", ok: isOwnUID, source: "pkg/registry/batch/job/strategy.go"},
		{path: "spec.template.metadata.labels[batch.kubernetes.io/job-name]", ok: isOwnName, source: "pkg/registry/batch/job/strategy.go"},
		{path: "spec.template.metadata.labels[job-name]", ok: isOwnName, source: "pkg/registry/batch/job/strategy.go"},
	},
	{Group: "apps", Kind: "DaemonSet"}: {
		{path: "metadata.annotations[deprecated.daemonset.template.generation]", overrides: true, ok: isTemplateGeneration, source: "pkg/registry/apps/daemonset/strategy.go"},
	},
	{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}: {
		{path: "spec.username", overrides: true, ok: anything, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.uid", overrides: true, ok: anything, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.groups", overrides: true, ok: anything, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.extra", overrides: true, ok: anything, source: "pkg/registry/certificates/certificates/strategy.go"},
	},
	{Kind: "Node"}: {
		{path: "spec.taints[*]", ok: isNotReadyTaint, source: "plugin/pkg/admission/nodetaint/admission.go"},
	},
	{Kind: "Pod"}: podRows,
}

// podRows are what admission plugins set in a Pod when it is created.
var podRows = []row{
	{path: "spec.serviceAccountName", ok: isText("default"), source: "plugin/pkg/admission/serviceaccount/admission.go"},
	{path: "spec.serviceAccount", ok: isText("default"), source: "plugin/pkg/admission/serviceaccount/admission.go"},
	{path: "spec.imagePullSecrets", ok: areSecretNames, source: "plugin/pkg/admission/serviceaccount/admission.go"},
	{path: "spec.volumes[*]", ok: isTokenVolume, source: "plugin/pkg/admission/serviceaccount/admission.go"},
	{path: "spec.containers[*].volumeMounts[*]", ok: isTokenMount, source: "plugin/pkg/admission/serviceaccount/admission.go"},
	{path: "spec.initContainers[*].volumeMounts[*]", ok: isTokenMount, source: "plugin/pkg/admission/serviceaccount/admission.go"},
	{path: "spec.tolerations[*]", ok: isDefaultToleration, source: "plugin/pkg/admission/defaulttolerationseconds/admission.go"},
	{path: "spec.priority", ok: isPriority, source: "plugin/pkg/admission/priority/admission.go"},
	{path: "spec.priorityClassName", ok: isDefaultClass, source: "plugin/pkg/admission/priority/admission.go"},
	{path: "spec.preemptionPolicy", ok: isPreemptionPolicy, source: "plugin/pkg/admission/priority/admission.go"},
	{path: "metadata.annotations[kubernetes.io/limit-ranger]", ok: isLimitRanger, source: "plugin/pkg/admission/limitranger/admission.go"},
	{path: "spec.containers[*].resources.limits[*]", ok: isFromLimitRange, source: "plugin/pkg/admission/limitranger/admission.go"},
	{path: "spec.containers[*].resources.requests[*]", ok: isFromLimitRange, source: "plugin/pkg/admission/limitranger/admission.go"},
	{path: "spec.initContainers[*].resources.limits[*]", ok: isFromLimitRange, source: "plugin/pkg/admission/limitranger/admission.go"},
	{path: "spec.initContainers[*].resources.requests[*]", ok: isFromLimitRange, source: "plugin/pkg/admission/limitranger/admission.go"},
}

// plant puts the row into an expected tree. Under an item that nobody expects there is nothing to plant: what the server
// sets in it explains nothing.
func (r *row) plant(root *node) {
	segments, err := Pattern(r.path).segments()
	if err != nil {
		return // the table is covered by a test
	}
	r.plantAt(root, segments)
}

func (r *row) plantAt(n *node, segments []segment) {
	s := segments[0]
	last := len(segments) == 1
	switch {
	case s.any && last:
		n.row = r
	case s.any:
		for i := range n.kids {
			r.plantAt(&n.kids[i], segments[1:])
		}
	case last:
		k := n.need(s.text)
		if r.overrides {
			*k = node{name: s.text, shape: k.shape}
		}
		k.row = r
	case segments[1].any && n.kid(s.text) == nil:
		k := n.need(s.text)
		if k.shape.form == formMap {
			k.kind = expectMap
		} else {
			k.kind = expectList
		}
		r.plantAt(k, segments[1:])
	case segments[1].any:
		r.plantAt(n.kid(s.text), segments[1:])
	default:
		r.plantAt(n.needMap(s.text), segments[1:])
	}
}
