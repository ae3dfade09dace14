package admit

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
)

// row is one line of the table of built-in controllers: who may do what to which resource, and what must hold. What no row
// lets a controller do, it may not.
type row struct {
	who  string // a controller of kube-controller-manager by its service account, or a whole user name
	ops  string // the operations, by their first letters: C U D
	what string // resource as group/resource/subresource; * for any group, resource or subresource
	must condition
}

// condition judges a request that a row is about: an allow, a refusal, or nil if the row does not apply after all.
type condition interface {
	judge(*judgement) *Decision
}

// free rows hold without looking at Git: a cluster must live on while the Git host is down, and before the first
// revision is verified.
type free func(*judgement) bool

func (f free) judge(j *judgement) *Decision {
	if !f(j) {
		return nil
	}
	return allow(v1alpha1.ReasonController)
}

// bound rows ask Git, and come after the gate is ready.
type bound func(*judgement) *Decision

func (b bound) judge(j *judgement) *Decision { return b(j) }

// The table. Sources: plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go of Kubernetes 1.36 for what each may ask,
// and recorded traffic for what each does ask.
func controllerTable() []row {
	return []row{
		// Workloads: what is made follows from its owner, whose chain ends in Git.
		{"deployment-controller", "C", "apps/replicasets", follows{[]string{"Deployment.apps"}, live.TemplateOf, hashLabels}},
		{"deployment-controller", "U", "apps/replicasets", ownedBy("spec.replicas", "spec.minReadySeconds", "metadata.annotations[*]", "metadata.labels[pod-template-hash]")},
		{"deployment-controller", "U", "apps/replicasets", only("metadata.ownerReferences")},
		{"deployment-controller", "D", "apps/replicasets", hasOwner},
		{"deployment-controller", "U", "apps/deployments", only("metadata.annotations[deployment.kubernetes.io/revision]")},
		{"deployment-controller", "U", "apps/deployments/status", always},
		{"deployment-controller", "U", "pods", only("metadata.labels[pod-template-hash]")},
		{"replicaset-controller", "C", "pods", follows{[]string{"ReplicaSet.apps"}, itself, nil}},
		{"replicaset-controller", "U", "apps/replicasets/status", always},
		{"replicaset-controller", "U", "pods", only("metadata.ownerReferences")},
		{"replicaset-controller", "D", "pods", hasOwner},
		{"replication-controller", "C", "pods", follows{[]string{"ReplicationController"}, itself, nil}},
		{"replication-controller", "U", "replicationcontrollers/status", always},
		{"replication-controller", "U", "pods", only("metadata.ownerReferences")},
		{"replication-controller", "D", "pods", hasOwner},
		{"statefulset-controller", "C", "pods", follows{[]string{"StatefulSet.apps"}, itself, statefulPod}},
		{"statefulset-controller", "U", "pods", ownedBy("metadata.labels[*]", "metadata.ownerReferences", "spec.volumes")},
		{"statefulset-controller", "D", "pods", hasOwner},
		{"statefulset-controller", "C", "persistentvolumeclaims", bound((*judgement).claimOfStatefulSet)},
		{"statefulset-controller", "U", "persistentvolumeclaims", only("metadata.ownerReferences", "spec.resources", "spec.volumeAttributesClassName")},
		{"statefulset-controller", "D", "persistentvolumeclaims", hasOwner},
		{"statefulset-controller", "CUD", "apps/controllerrevisions", revisionOf},
		{"statefulset-controller", "U", "apps/statefulsets/status", always},
		{"daemon-set-controller", "C", "pods", follows{[]string{"DaemonSet.apps"}, itself, daemonPod}},
		{"daemon-set-controller", "U", "pods", only("metadata.ownerReferences", "metadata.labels[controller-revision-hash]")},
		{"daemon-set-controller", "D", "pods", hasOwner},
		{"daemon-set-controller", "CUD", "apps/controllerrevisions", revisionOf},
		{"daemon-set-controller", "U", "apps/daemonsets/status", always},
		{"job-controller", "C", "pods", follows{[]string{"Job.batch"}, itself, jobPod}},
		{"job-controller", "U", "pods", only("metadata.finalizers", "metadata.ownerReferences")},
		{"job-controller", "D", "pods", hasOwner},
		{"job-controller", "U", "batch/jobs", only("metadata.labels[batch.kubernetes.io/job-tracking]", "metadata.annotations[batch.kubernetes.io/job-tracking]")},
		{"job-controller", "U", "batch/jobs/status", always},
		{"job-controller", "C", "scheduling.k8s.io/workloads", follows{[]string{"Job.batch"}, nil, nil}},
		{"job-controller", "C", "scheduling.k8s.io/podgroups", follows{[]string{"Job.batch"}, nil, nil}},
		{"podgroup-protection-controller", "U", "scheduling.k8s.io/podgroups", only("metadata.finalizers")},
		{"cronjob-controller", "C", "batch/jobs", follows{[]string{"CronJob.batch"}, itself, cronJob}},
		{"cronjob-controller", "U", "batch/jobs", only("metadata.ownerReferences")},
		{"cronjob-controller", "D", "batch/jobs", hasOwner},
		{"cronjob-controller", "U", "batch/cronjobs", only("metadata.annotations[*]")},
		{"cronjob-controller", "U", "batch/cronjobs/status", always},
		{"ttl-after-finished-controller", "D", "batch/jobs", free((*judgement).finishedWithTTL)},
		{"horizontal-pod-autoscaler", "U", "*/*/scale", bound((*judgement).scaledByGit)},
		{"horizontal-pod-autoscaler", "U", "autoscaling/horizontalpodautoscalers/status", always},
		{"disruption-controller", "U", "policy/poddisruptionbudgets/status", always},
		{"disruption-controller", "U", "pods/status", always},

		// Services and networks.
		{"endpoint-controller", "CUD", "endpoints", bound((*judgement).ofService)},
		{"endpointslice-controller", "CUD", "discovery.k8s.io/endpointslices", bound((*judgement).ofService)},
		{"endpointslicemirroring-controller", "CUD", "discovery.k8s.io/endpointslices", bound((*judgement).ofService)},
		{"endpointslice-controller", "U", "services/status", always},
		{"service-controller", "U", "services", only("metadata.finalizers")},
		{"service-controller", "U", "services/status", always},
		{"service-cidrs-controller", "U", "networking.k8s.io/servicecidrs", only("metadata.finalizers")},
		{"service-cidrs-controller", "U", "networking.k8s.io/servicecidrs/status", always},
		{"route-controller", "U", "nodes/status", always},

		// Storage.
		{"persistent-volume-binder", "U", "persistentvolumeclaims", only("spec.volumeName", "metadata.annotations[*]", "metadata.finalizers")},
		{"persistent-volume-binder", "U", "persistentvolumeclaims/status", always},
		{"persistent-volume-binder", "U", "persistentvolumes", only("spec.claimRef", "metadata.annotations[*]", "metadata.finalizers")},
		{"persistent-volume-binder", "U", "persistentvolumes/status", always},
		{"persistent-volume-binder", "C", "persistentvolumes", free((*judgement).provisioned)},
		{"persistent-volume-binder", "D", "persistentvolumes", free((*judgement).provisioned)},
		{"pvc-protection-controller", "U", "persistentvolumeclaims", only("metadata.finalizers")},
		{"pvc-protection-controller", "U", "persistentvolumeclaims/status", always},
		{"pv-protection-controller", "U", "persistentvolumes", only("metadata.finalizers")},
		{"attachdetach-controller", "CUD", "storage.k8s.io/volumeattachments", always},
		{"attachdetach-controller", "U", "nodes/status", always},
		{"expand-controller", "U", "persistentvolumes", only("spec.capacity", "metadata.annotations[*]")},
		{"expand-controller", "U", "persistentvolumeclaims/status", always},
		{"volumeattributesclass-protection-controller", "U", "storage.k8s.io/volumeattributesclasses", only("metadata.finalizers")},
		{"ephemeral-volume-controller", "C", "persistentvolumeclaims", follows{[]string{"Pod"}, nil, nil}},
		{"resource-claim-controller", "C", "resource.k8s.io/resourceclaims", follows{[]string{"Pod", "PodGroup.scheduling.k8s.io"}, nil, nil}},
		{"resource-claim-controller", "U", "resource.k8s.io/resourceclaims/status", always},
		{"resource-claim-controller", "U", "resource.k8s.io/resourceclaims", only("metadata.finalizers")},
		{"resource-claim-controller", "D", "resource.k8s.io/resourceclaims", hasOwner},
		{"resource-claim-controller", "U", "pods/status", always},
		{"resource-claim-controller", "U", "scheduling.k8s.io/podgroups/status", always},
		{"resourcepoolstatusrequest-controller", "U", "resource.k8s.io/resourcepoolstatusrequests/status", always},
		{"resourcepoolstatusrequest-controller", "D", "resource.k8s.io/resourcepoolstatusrequests", always},

		// Storage versions. What a migration writes changes nothing, and passes as that.
		{"storage-version-migrator-controller", "U", "storagemigration.k8s.io/storageversionmigrations/status", always},
		{"storage-version-migrator-controller", "U", "apiextensions.k8s.io/customresourcedefinitions/status", always},
		{"storage-version-garbage-collector", "UD", "internal.apiserver.k8s.io/storageversions", always},
		{"storage-version-garbage-collector", "U", "internal.apiserver.k8s.io/storageversions/status", always},

		// Nodes.
		{"node-controller", "U", "nodes", only("spec.taints", "spec.podCIDR", "spec.podCIDRs", "spec.providerID", "metadata.labels[*]", "metadata.annotations[*]")},
		{"node-controller", "U", "nodes/status", always},
		{"node-controller", "D", "nodes", always},
		{"node-controller", "U", "pods/status", always},
		{"node-controller", "D", "pods", always},
		{"cloud-node-controller", "U", "nodes", only("spec.taints", "spec.providerID", "metadata.labels[*]", "metadata.annotations[*]")},
		{"cloud-node-controller", "U", "nodes/status", always},
		{"cloud-node-lifecycle-controller", "U", "nodes", only("spec.taints")},
		{"cloud-node-lifecycle-controller", "U", "nodes/status", always},
		{"cloud-node-lifecycle-controller", "D", "nodes", always},
		{"ttl-controller", "U", "nodes", only("metadata.annotations[node.alpha.kubernetes.io/ttl]")},
		{"pod-garbage-collector", "D", "pods", always},
		{"pod-garbage-collector", "U", "pods/status", always},
		{"taint-eviction-controller", "D", "pods", always},
		{"taint-eviction-controller", "U", "pods/status", always},
		{"device-taint-eviction-controller", "D", "pods", always},
		{"device-taint-eviction-controller", "U", "pods/status", always},
		{"device-taint-eviction-controller", "U", "resource.k8s.io/devicetaintrules/status", always},

		// Accounts, certificates, namespaces, quota, garbage.
		{"service-account-controller", "C", "serviceaccounts", free((*judgement).defaultAccount)},
		{"root-ca-cert-publisher", "CU", "configmaps", named("kube-root-ca.crt")},
		{"kube-apiserver-serving-clustertrustbundle-publisher", "CUD", "certificates.k8s.io/clustertrustbundles", free((*judgement).servingTrust)},
		{"podcertificaterequestcleaner", "D", "certificates.k8s.io/podcertificaterequests", always},
		{"legacy-service-account-token-cleaner", "U", "secrets", only("metadata.labels[kubernetes.io/legacy-token-invalid-since]")},
		{"legacy-service-account-token-cleaner", "D", "secrets", free((*judgement).accountToken)},
		{"bootstrap-signer", "U", "configmaps", named("cluster-info")},
		{"token-cleaner", "D", "secrets", free((*judgement).bootstrapToken)},
		{"certificate-controller", "U", "certificates.k8s.io/certificatesigningrequests/status", always},
		{"certificate-controller", "U", "certificates.k8s.io/certificatesigningrequests/approval", always},
		{"certificate-controller", "D", "certificates.k8s.io/certificatesigningrequests", always},
		{"clusterrole-aggregation-controller", "U", "rbac.authorization.k8s.io/clusterroles", free((*judgement).aggregated)},
		{"resourcequota-controller", "U", "resourcequotas/status", always},
		{"validatingadmissionpolicy-status-controller", "U", "admissionregistration.k8s.io/validatingadmissionpolicies/status", always},
		{"namespace-controller", "U", "namespaces/finalize", free((*judgement).terminating)},
		{"namespace-controller", "U", "namespaces/status", always},
		{"namespace-controller", "D", "*/*", free((*judgement).namespaceGoes)},
		{"namespace-controller", "D", "*/*", bound((*judgement).namespaceUnseen)},
		{"generic-garbage-collector", "D", "*/*", collectable{}},
		{"generic-garbage-collector", "U", "*/*", free((*judgement).letGo)},

		// Components that are not controllers of kube-controller-manager.
		{"system:kube-scheduler", "C", "pods/binding", always},
		{"system:kube-scheduler", "U", "pods/status", always},
		{"system:kube-scheduler", "D", "pods", hasOwner}, // preemption
		{"system:kube-scheduler", "U", "persistentvolumeclaims", only("metadata.annotations[volume.kubernetes.io/selected-node]")},
		{"system:kube-scheduler", "U", "persistentvolumes", only("spec.claimRef", "metadata.annotations[*]")},
		{"system:kube-scheduler", "U", "resource.k8s.io/resourceclaims", only("metadata.finalizers")},
		{"system:kube-scheduler", "U", "resource.k8s.io/resourceclaims/status", always},
		{"system:kube-scheduler", "C", "resource.k8s.io/resourceclaims", follows{[]string{"Pod"}, nil, nil}}, // for extended resources
		{"system:kube-scheduler", "D", "resource.k8s.io/resourceclaims", hasOwner},
		{"system:kube-scheduler", "U", "scheduling.k8s.io/podgroups/status", always},
		{"system:kube-controller-manager", "C", "serviceaccounts/token", free((*judgement).controllersToken)},
		{"system:kube-controller-manager", "CU", "serviceaccounts", free((*judgement).controllersAccount)},
		{"system:kube-controller-manager", "U", "serviceaccounts", only("secrets")}, // a token of it is gone
		{"system:kube-controller-manager", "U", "secrets", free((*judgement).tokenFilledIn)},
		{"system:kube-controller-manager", "D", "secrets", free((*judgement).accountToken)},
		{"system:apiserver", "CUD", "apiregistration.k8s.io/apiservices", always},
		{"system:apiserver", "U", "apiregistration.k8s.io/apiservices/status", always},
		{"system:apiserver", "CUD", "networking.k8s.io/ipaddresses", always},
		{"system:apiserver", "CU", "networking.k8s.io/servicecidrs", named("kubernetes")},
		{"system:apiserver", "U", "networking.k8s.io/servicecidrs/status", always},
		{"system:apiserver", "U", "apiextensions.k8s.io/customresourcedefinitions/status", always},
		{"system:apiserver", "U", "apiextensions.k8s.io/customresourcedefinitions", only("metadata.finalizers")},
		{"system:apiserver", "D", "*/*", free((*judgement).terminating)}, // what a deleted CRD leaves
		{"system:apiserver", "U", "policy/poddisruptionbudgets/status", always},
		{"system:apiserver", "U", "resourcequotas/status", always},                                          // its admission plugin counts
		{"system:apiserver", "U", "secrets", only("metadata.labels[kubernetes.io/legacy-token-last-used]")}, // or the cleaner takes it for unused
		{"system:apiserver", "CU", "namespaces", free((*judgement).systemNamespace)},
		{"system:apiserver", "CU", "services", named("kubernetes")},
		{"system:apiserver", "CU", "endpoints", named("kubernetes")},
		{"system:apiserver", "CU", "discovery.k8s.io/endpointslices", named("kubernetes")},
		{"system:apiserver", "CU", "configmaps", named("extension-apiserver-authentication", "kube-apiserver-legacy-service-account-token-tracking")},
		{"system:apiserver", "CUD", "rbac.authorization.k8s.io/*", free((*judgement).bootstrapped)},
		{"system:apiserver", "CUD", "flowcontrol.apiserver.k8s.io/*", always},
		{"system:apiserver", "CU", "flowcontrol.apiserver.k8s.io/*/status", always},
		{"system:apiserver", "C", "scheduling.k8s.io/priorityclasses", named("system-cluster-critical", "system-node-critical")},
		{"system:apiserver", "CUD", "internal.apiserver.k8s.io/*", always},
		{"system:apiserver", "U", "internal.apiserver.k8s.io/storageversions/status", always},
	}
}

// What controllers add to the template that they make something from.
var (
	hashLabels  = []account.Pattern{"metadata.labels[pod-template-hash]"}
	statefulPod = []account.Pattern{"metadata.labels[controller-revision-hash]", "metadata.labels[statefulset.kubernetes.io/pod-name]",
		"metadata.labels[apps.kubernetes.io/pod-index]", "spec.hostname", "spec.subdomain", "spec.volumes[*]**"}
	daemonPod = []account.Pattern{"metadata.labels[controller-revision-hash]", "metadata.labels[pod-template-generation]",
		"spec.affinity.nodeAffinity**", "spec.tolerations**"}
	jobPod  = []account.Pattern{"metadata.labels[*]", "metadata.annotations[batch.kubernetes.io/job-completion-index]", "spec.hostname", "spec.containers[*].env**", "spec.initContainers[*].env**"}
	cronJob = []account.Pattern{"metadata.annotations[batch.kubernetes.io/cronjob-scheduled-timestamp]", "spec.selector**", "spec.template.metadata.labels[*]"}

	claimMetadata = []account.Pattern{"metadata.labels[*]", "metadata.annotations[*]"}
)

// controllerRows sorts the table by user name: with per-controller credentials each controller has its own account; without, all
// are system:kube-controller-manager.
func controllerRows() map[string][]row {
	rows := map[string][]row{}
	for _, r := range controllerTable() {
		if strings.HasPrefix(r.who, "system:") {
			rows[r.who] = append(rows[r.who], r)
			continue
		}
		own := "system:serviceaccount:kube-system:" + r.who
		rows[own] = append(rows[own], r)
		if slices.Contains(ofTheCloud, r.who) {
			rows[cloud] = append(rows[cloud], r)
		}
		rows["system:kube-controller-manager"] = append(rows["system:kube-controller-manager"], r)
	}
	rows[nodes] = nodeTable()
	return rows
}

// cloud is the account of a cloud provider's controller manager where its controllers have no credentials of their own: ofTheCloud. A provider that names
// it otherwise takes an exemption.
const cloud = "system:serviceaccount:kube-system:cloud-controller-manager"

var ofTheCloud = []string{"cloud-node-controller", "cloud-node-lifecycle-controller", "route-controller", "service-controller"}

// nodes is the key of the kubelets' rows: each kubelet has a user name of its own.
const nodes = "system:nodes"

// rowsOf are the rows of a user, nil if it is no component of Kubernetes.
func (j *judgement) rowsOf() []row {
	if strings.HasPrefix(j.r.User.Name, nodeUser) && j.r.User.inGroup("system:nodes") {
		return j.rows[nodes]
	}
	return j.rows[j.r.User.Name]
}

// isController tells whether the user is a component of Kubernetes, and can show it.
func (j *judgement) isController() bool { return len(j.rowsOf()) > 0 && proven(j.r.User) }

// proven tells whether the API server itself authenticated the user: an impersonated one carries no credential (and a service account no uid).
func proven(u User) bool {
	if _, _, ok := u.serviceAccount(); ok && u.UID == "" {
		return false
	}
	return u.claim(claimCredential) != "" || u.Name == "system:apiserver" && u.UID != "" && u.inGroup("system:masters")
}

// housekeeping lets the components of Kubernetes do what needs no word of Git.
func (j *judgement) housekeeping() *Decision {
	return j.byRow(func(c condition) bool { _, ok := c.(free); return ok })
}

// derived judges what the controllers make and change on behalf of declared objects.
func (j *judgement) derived() *Decision {
	return j.byRow(func(c condition) bool { _, ok := c.(free); return !ok })
}

func (j *judgement) byRow(wanted func(condition) bool) *Decision {
	if !j.isController() {
		return nil
	}
	op := string(j.r.Operation[:1])
	resource := j.r.resource()
	if j.r.Resource.Group == "" {
		resource = "/" + resource
	}
	var refusal *Decision
	for _, row := range j.rowsOf() {
		if !wanted(row.must) || !strings.Contains(row.ops, op) || !matchesResource(row.what, resource) {
			continue
		}
		d := row.must.judge(j)
		if d == nil {
			continue
		}
		d.Role = RoleController
		d.Rule = strings.TrimPrefix(row.who, "system:") + " " + row.what
		if d.Outcome == Allow {
			return d
		}
		refusal = d // another row may still allow: without per-controller credentials there are many
	}
	return refusal
}

// matchesResource compares the resource of a row with that of a request, segment by segment.
func matchesResource(pattern, resource string) bool {
	p, r := strings.Split(pattern, "/"), strings.Split(resource, "/")
	if r[0] == "" && p[0] != "*" { // core group: rows leave it out
		r = r[1:]
	}
	if len(p) != len(r) {
		return false
	}
	for i := range p {
		if p[i] != "*" && p[i] != r[i] {
			return false
		}
	}
	return true
}

func asList(v any) []any { l, _ := v.([]any); return l }

// Controllers are the user names of the built-in controllers that the table knows, sorted: those of kube-controller-manager with and without an account
// for each, the scheduler and the API server itself. Kubelets are not among them: each has a name of its own.
func Controllers() []string {
	var out []string
	for who := range controllerRows() {
		if who != nodes {
			out = append(out, who)
		}
	}
	slices.Sort(out)
	return out
}
