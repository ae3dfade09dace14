package account

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// row is one thing that the API server itself sets in objects of a kind: what registry strategies and the admission plugins
// that are on by default do beyond defaulting.
//
// A row never explains what Git declares otherwise, unless overrides says that the server replaces the value whatever it is.
// Values that the server allocates cannot be told from values that a client chose when an object is created; then their shape
// is all that is checked. When it is updated, they must be the old ones, or take the place of nothing.
type row struct {
	// path of the field, with [*] for any item of a list; with [*] at its end, the row is for items or keys that are not expected.
	path string
	// overrides: the server sets the field whatever the client sends.
	overrides bool
	// drops: the server may leave out what the client sends, because a feature is off or the value is of another age.
	drops bool
	// when limits drops to some objects; nil is all.
	when func(w *walk) bool
	// frozen: an update keeps the old value, or its absence, whatever the client sends.
	frozen bool
	// ok judges a value that Git does not declare; nil if the row only drops. key is that of an extra key, old the value of the old object.
	ok func(w *walk, key string, v, old any) bool
	// source is the file of k8s.io/kubernetes that does it.
	source string
}

// explains tells whether the row, if there is one, is the reason of a value.
func (r *row) explains(w *walk, key string, v, old any) bool {
	return r != nil && r.ok != nil && r.ok(w, key, v, old)
}

// keeps tells whether the server keeps an old value, or its absence, against the declaration.
func (r *row) keeps(w *walk, v, old any) bool {
	return r != nil && (r.drops && v == nil && (r.when == nil || r.when(w)) || r.frozen && !w.creating() && equal(v, old))
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

// ownRows is the table, without what pod specs have in common.
var ownRows = map[schema.GroupKind][]row{
	{Kind: "Service"}: {
		{path: "spec.clusterIP", ok: isClusterIP, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.clusterIPs", ok: areClusterIPs, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.ipFamilies", ok: areIPFamilies, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.ipFamilyPolicy", ok: isIPFamilyPolicy, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.ports[*].nodePort", ok: isNodePort, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.healthCheckNodePort", ok: isHealthCheckNodePort, source: "pkg/registry/core/service/storage/alloc.go"},
		{path: "spec.internalTrafficPolicy", drops: true, when: isExternalName, source: "pkg/registry/core/service/storage/storage.go"},
	},
	{Kind: "ServiceAccount"}: {
		{path: "secrets[*].apiVersion", drops: true, source: "pkg/registry/core/serviceaccount/strategy.go"},
		{path: "secrets[*].fieldPath", drops: true, source: "pkg/registry/core/serviceaccount/strategy.go"},
		{path: "secrets[*].kind", drops: true, source: "pkg/registry/core/serviceaccount/strategy.go"},
		{path: "secrets[*].namespace", drops: true, source: "pkg/registry/core/serviceaccount/strategy.go"},
		{path: "secrets[*].resourceVersion", drops: true, source: "pkg/registry/core/serviceaccount/strategy.go"},
		{path: "secrets[*].uid", drops: true, source: "pkg/registry/core/serviceaccount/strategy.go"},
	},
	{Kind: "Namespace"}: {
		{path: "spec.finalizers", overrides: true, ok: areNamespaceFinalizers, source: "pkg/registry/core/namespace/strategy.go"},
		{path: "metadata.labels[kubernetes.io/metadata.name]", overrides: true, ok: isOwnName, source: "pkg/registry/core/namespace/strategy.go"},
	},
	{Kind: "PersistentVolumeClaim"}: {
		{path: "metadata.finalizers[*]", ok: isOnCreate("kubernetes.io/pvc-protection"), source: "plugin/pkg/admission/storage/storageobjectinuseprotection/admission.go"},
		{path: "spec.storageClassName", ok: isDefaultClass, source: "plugin/pkg/admission/storage/storageclass/setdefault/admission.go"},
		{path: "spec.dataSource", ok: isCopyOf("spec", "dataSourceRef"), drops: true, source: "pkg/registry/core/persistentvolumeclaim/strategy.go"},
		{path: "spec.dataSourceRef", ok: isCopyOf("spec", "dataSource"), source: "pkg/registry/core/persistentvolumeclaim/strategy.go"},
		{path: "spec.dataSourceRef.namespace", drops: true, source: "CrossNamespaceVolumeDataSource"},
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
	{Group: "batch", Kind: "Job"}: append([]row{
		{path: "spec.selector.matchLabels[batch.kubernetes.io/controller-uid]", ok: isOwnUID, source: "pkg/registry/batch/job/strategy.go"},
	}, append(jobLabels("spec.template.metadata.labels", "pkg/registry/batch/job/strategy.go"),
		// An object that was read back has its own labels defaulted from those.
		jobLabels("metadata.labels", "pkg/apis/batch/v1/defaults.go")...)...),
	{Group: "apps", Kind: "DaemonSet"}: {
		{path: "metadata.annotations[deprecated.daemonset.template.generation]", overrides: true, ok: isTemplateGeneration, source: "pkg/registry/apps/daemonset/strategy.go"},
	},
	{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}: {
		{path: "spec.request", frozen: true, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.signerName", frozen: true, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.expirationSeconds", frozen: true, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.usages", frozen: true, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.username", overrides: true, ok: anything, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.uid", overrides: true, ok: anything, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.groups", overrides: true, ok: anything, source: "pkg/registry/certificates/certificates/strategy.go"},
		{path: "spec.extra", overrides: true, ok: anything, source: "pkg/registry/certificates/certificates/strategy.go"},
	},
	{Group: "apps", Kind: "StatefulSet"}: {
		{path: "spec.updateStrategy.rollingUpdate.maxUnavailable", drops: true, source: "MaxUnavailableStatefulSet"},
	},
	{Group: "coordination.k8s.io", Kind: "Lease"}: {
		{path: "spec.strategy", drops: true, source: "CoordinatedLeaderElection"},
		{path: "spec.preferredHolder", drops: true, source: "CoordinatedLeaderElection"},
	},
	{Group: "storage.k8s.io", Kind: "CSIDriver"}: {
		{path: "spec.preventPodSchedulingIfMissing", drops: true, source: "VolumeLimitScaling"},
	},
	{Group: "discovery.k8s.io", Kind: "EndpointSlice"}: {
		{path: "endpoints[*].deprecatedTopology", drops: true, source: "pkg/registry/discovery/endpointslice/strategy.go"},
	},
	{Kind: "Node"}: {
		{path: "spec.configSource", drops: true, source: "pkg/registry/core/node/strategy.go"},
		{path: "spec.taints[*]", ok: isNotReadyTaint, source: "plugin/pkg/admission/nodetaint/admission.go"},
	},
	{Kind: "Pod"}: podRows,
}

// podRows are what admission plugins set in a Pod when it is created.
var podRows = append(labelKeyRows(), []row{
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
}...)

// podFeatures are fields of a pod's spec that a server drops while their feature, named as the source, is off, as it is by default in 1.36.
var podFeatures = []row{
	{path: "containers[*].lifecycle.stopSignal", drops: true, source: "ContainerStopSignals"},
	{path: "initContainers[*].lifecycle.stopSignal", drops: true, source: "ContainerStopSignals"},
	{path: "volumes[*].projected.sources[*].clusterTrustBundle", drops: true, source: "ClusterTrustBundleProjection"},
	{path: "volumes[*].projected.sources[*].podCertificate", drops: true, source: "PodCertificateRequest"},
	{path: "schedulingGroup", drops: true, source: "GenericWorkload"},
}

// podSpecs are where the kinds have a pod's spec.
var podSpecs = map[schema.GroupKind]string{
	{Kind: "Pod"}:                        "spec",
	{Kind: "PodTemplate"}:                "template.spec",
	{Kind: "ReplicationController"}:      "spec.template.spec",
	{Group: "apps", Kind: "DaemonSet"}:   "spec.template.spec",
	{Group: "apps", Kind: "Deployment"}:  "spec.template.spec",
	{Group: "apps", Kind: "ReplicaSet"}:  "spec.template.spec",
	{Group: "apps", Kind: "StatefulSet"}: "spec.template.spec",
	{Group: "batch", Kind: "CronJob"}:    "spec.jobTemplate.spec.template.spec",
	{Group: "batch", Kind: "Job"}:        "spec.template.spec",
}

// serverRows are the rows of a kind.
func serverRows(gk schema.GroupKind) []row { return rowsByKind()[gk] }

// rowsByKind is the table with podFeatures put where each kind has its pod spec.
var rowsByKind = sync.OnceValue(func() map[schema.GroupKind][]row {
	out := maps.Clone(ownRows)
	for gk, place := range podSpecs {
		rows := slices.Clone(out[gk])
		for _, r := range podFeatures {
			r.path = place + "." + r.path
			rows = append(rows, r)
		}
		out[gk] = rows
	}
	return out
})

func jobLabels(place, source string) []row {
	return []row{
		{path: place + "[batch.kubernetes.io/controller-uid]", ok: isOwnUID, source: source},
		{path: place + "[controller-uid]", ok: isOwnUID, source: source},
		{path: place + "[batch.kubernetes.io/job-name]", ok: isOwnName, source: source},
		{path: place + "[job-name]", ok: isOwnName, source: source},
	}
}

// labelKeyRows explain the selector terms that the server makes of matchLabelKeys and mismatchLabelKeys.
func labelKeyRows() []row {
	const source = "pkg/registry/core/pod/strategy.go"
	rows := []row{{path: "spec.topologySpreadConstraints[*].labelSelector.matchExpressions[*]", ok: isFromLabelKeys, source: source}}
	for _, affinity := range []string{"podAffinity", "podAntiAffinity"} {
		rows = append(rows,
			row{path: "spec.affinity." + affinity + ".requiredDuringSchedulingIgnoredDuringExecution[*].labelSelector.matchExpressions[*]", ok: isFromLabelKeys, source: source},
			row{path: "spec.affinity." + affinity + ".preferredDuringSchedulingIgnoredDuringExecution[*].podAffinityTerm.labelSelector.matchExpressions[*]", ok: isFromLabelKeys, source: source})
	}
	return rows
}

// plant puts the row into an expected tree. Under an item that nobody expects there is nothing to plant: what the server
// sets in it explains nothing.
func (r *row) plant(root *draft) {
	if segments, err := Pattern(r.path).segments(); err == nil { // a test reads every row
		items := slices.IndexFunc(segments[:len(segments)-1], func(s segment) bool { return s.any })
		r.plantAt(root, segments, items >= 0)
	}
}

// plantAt plants below a node. items tells whether the path still goes through the items of a list: up to there, only
// what is expected is followed.
func (r *row) plantAt(n *draft, segments []segment, items bool) {
	s := segments[0]
	switch {
	case s.any && len(segments) == 1:
		n.row = r
	case s.any:
		items = slices.ContainsFunc(segments[1:len(segments)-1], func(s segment) bool { return s.any })
		for i := range n.kids {
			r.plantAt(&n.kids[i], segments[1:], items)
		}
	case len(segments) == 1:
		k := n.kid(s.text)
		switch {
		case k == nil && r.ok == nil: // nothing to drop
		case k == nil, r.overrides:
			k = n.need(s.text)
			*k = draft{name: s.text, shape: k.shape, row: r}
		default:
			k.row = r
		}
	default:
		k := n.kid(s.text)
		if k == nil && (items || r.ok == nil) {
			return
		}
		if k == nil {
			k = n.need(s.text)
			k.kind = expectMap
			if segments[1].any && k.shape.form != formMap {
				k.kind = expectList
			}
		}
		r.plantAt(k, segments[1:], items)
	}
}
