package admit

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

const (
	deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
`
	cronJobOfGit = `
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  schedule: "0 1 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: job, image: "job:1"}]}}}}
`
)

func ownedBySomebody(kind, name, uid string) string {
	group := "apps/v1"
	switch kind {
	case "CronJob", "Job":
		group = "batch/v1"
	case "Rollout":
		group = "argoproj.io/v1alpha1"
	}
	return "ownerReferences: [{apiVersion: " + group + ", kind: " + kind + ", name: " + name + ", uid: " + uid + ", controller: true}]"
}

// replicaSetOf is a ReplicaSet as the API server shows it, podOf one of its pods.
func replicaSetOf(t *testing.T, owner, image string) map[string]any {
	return object(t, "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-1, namespace: shop, uid: rs, labels: {app: web, pod-template-hash: '1'}, "+owner+"}, spec: {replicas: 1, selector: {matchLabels: {app: web, pod-template-hash: '1'}}, "+
		"template: {metadata: {labels: {app: web, pod-template-hash: '1'}}, spec: "+podSpec(image)+"}}}")
}

func podOf(t *testing.T, owner, image, more string) map[string]any {
	spec := strings.TrimSuffix(podSpec(image), "}") + ", enableServiceLinks: true" + more + "}"
	return object(t, "{apiVersion: v1, kind: Pod, metadata: {name: web-1-x, namespace: shop, uid: p, labels: {app: web, pod-template-hash: '1'}, "+owner+"}, spec: "+spec+"}")
}

func podSpec(image string) string {
	return "{containers: [{name: web, image: '" + image + "', imagePullPolicy: IfNotPresent, resources: {}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}], " +
		"dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}"
}

// Under scope Declared, RBAC may let people write ReplicaSets and pods: not those that run in the name of what Git declares.
func TestWhatFollowsFromGitIsGuardedUnderDeclared(t *testing.T) {
	w := newWorld(t, declaredScope(), deployment, cronJobOfGit)
	live := object(t, deployment)
	live["metadata"].(map[string]any)["uid"] = "d"
	w.live.Observe(live)
	ofGit, ofNobody := ownedBySomebody("Deployment", "web", "d"), ownedBySomebody("Rollout", "web", "r")
	rs := replicaSetOf(t, ofGit, "web:1")
	w.live.Observe(rs)
	ofSet := ownedBySomebody("ReplicaSet", "web-1", "rs")
	pod := podOf(t, ofSet, "web:1", "")
	note := func(m map[string]any, key string) map[string]any {
		m = clone(t, m)
		m["metadata"].(map[string]any)["labels"].(map[string]any)[key] = "x"
		return m
	}
	disowned := clone(t, rs)
	delete(disowned["metadata"].(map[string]any), "ownerReferences")
	scaled := clone(t, rs)
	scaled["spec"].(map[string]any)["replicas"] = 3

	w.want("another image in the ReplicaSet: its pods would run it", request(carol, rs, replicaSetOf(t, ofGit, "evil")), Deny, v1alpha1.ReasonNotFromSyncAgent, "Deployment shop/web", "apps/cart.yaml")
	w.want("a ReplicaSet that is taken from its Deployment", request(carol, rs, disowned), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("a ReplicaSet of Git's Deployment, with another image", request(carol, nil, replicaSetOf(t, ofGit, "evil")), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("a scaled ReplicaSet, which its Deployment scales back", request(carol, rs, scaled), Allow, v1alpha1.ReasonNotGuarded)
	w.want("another image in a ReplicaSet of something that Git does not declare", request(carol, replicaSetOf(t, ofNobody, "web:1"), replicaSetOf(t, ofNobody, "web:2")), Allow, v1alpha1.ReasonNotGuarded)

	w.want("another image in a pod", request(carol, pod, podOf(t, ofSet, "evil", "")), Deny, v1alpha1.ReasonNotFromSyncAgent, "Deployment shop/web")
	debug := request(carol, pod, podOf(t, ofSet, "web:1", ", ephemeralContainers: [{name: debug, image: busybox}]"))
	debug.Subresource = "ephemeralcontainers"
	w.want("a container beside it", debug, Deny, v1alpha1.ReasonNotFromSyncAgent, "Deployment shop/web")
	w.want("a label on a pod, as operators set them", request(carol, pod, note(pod, "role")), Allow, v1alpha1.ReasonNotGuarded)
	w.want("a pod deleted: it is made anew", request(carol, pod, nil), Allow, v1alpha1.ReasonNotGuarded)

	job := func(image string) map[string]any {
		return object(t, "{apiVersion: batch/v1, kind: Job, metadata: {name: now, namespace: shop, uid: j, annotations: {cronjob.kubernetes.io/instantiate: manual}, "+ownedBySomebody("CronJob", "nightly", "c")+"}, "+
			"spec: {backoffLimit: 6, completionMode: NonIndexed, completions: 1, parallelism: 1, manualSelector: false, podReplacementPolicy: TerminatingOrFailed, suspend: false, "+
			"template: {metadata: {}, spec: "+strings.NewReplacer("name: web", "name: job", "Always", "Never").Replace(podSpec(image))+"}}}")
	}
	w.want("kubectl create job --from=cronjob", request(carol, nil, job("job:1")), Allow, v1alpha1.ReasonNotGuarded)
	w.want("a Job in the CronJob's name, with another image", request(carol, nil, job("evil")), Deny, v1alpha1.ReasonNotFromSyncAgent, "CronJob shop/nightly")
}

// Labels that mark what an agent applied are copied to what controllers make from it; a namespace takes along what is in it.
func TestAnAgentPrunesOnlyWhatItApplied(t *testing.T) {
	const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  serviceName: db
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: "db:2"}]}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
`
	w := newWorld(t, testConfig, deployment, set)
	const mark = "labels: {app.kubernetes.io/instance: shop, kustomize.toolkit.fluxcd.io/name: apps}"
	claim := func(name string) map[string]any {
		return object(t, "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: "+name+", namespace: shop, uid: v, "+mark+"}}")
	}
	for who, u := range map[string]User{"flux": flux, "argo": argo} {
		w.want(who+": the data of a declared StatefulSet", request(u, claim("data-db-0"), nil), Deny, v1alpha1.ReasonNotDeclared)
		w.want(who+": a claim that was in Git", request(u, claim("cache"), nil), Allow, v1alpha1.ReasonPruned)
		rs := object(t, "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-1, namespace: shop, uid: r, "+mark+", "+ownedBySomebody("Deployment", "web", "d")+"}}")
		w.want(who+": the ReplicaSet of a declared Deployment", request(u, rs, nil), Deny, v1alpha1.ReasonNotDeclared)
		namespace := func(name string) map[string]any {
			return object(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+name+", uid: n, "+mark+"}}")
		}
		w.want(who+": a Namespace that left Git, with objects that did not", request(u, namespace("shop"), nil), Deny, v1alpha1.ReasonStillDeclared, "shop/", "apps/cart.yaml")
		w.want(who+": an empty Namespace that left Git", request(u, namespace("old"), nil), Allow, v1alpha1.ReasonPruned)
	}
}

func TestControllersBeyondTheRecordings(t *testing.T) {
	const service = "{apiVersion: v1, kind: Service, metadata: {name: legacy, namespace: shop}, spec: {ports: [{port: 80}]}}"
	w := newWorld(t, testConfig, deployment, service)
	live := object(t, deployment)
	live["metadata"].(map[string]any)["uid"] = "d"
	w.live.Observe(live)
	w.live.Observe(replicaSetOf(t, ownedBySomebody("Deployment", "web", "d"), "web:1"))
	w.live.Observe(podOf(t, ownedBySomebody("ReplicaSet", "web-1", "rs"), "web:1", ""))
	system := func(name string) User { return serviceAccount("kube-system", name) }
	apiserver := User{Name: "system:apiserver", UID: "u", Groups: []string{"system:masters"}}
	scheduler := User{Name: "system:kube-scheduler", Extra: map[string][]string{claimCredential: {"X509SHA256=1"}}}
	manager := User{Name: "system:kube-controller-manager", Extra: map[string][]string{claimCredential: {"X509SHA256=2"}}}
	secret := func(labels string) map[string]any {
		return object(t, "{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: old, namespace: shop, uid: s, labels: {"+labels+"}, annotations: {kubernetes.io/service-account.name: bot}}, data: {token: eA==}}")
	}
	used := "kubernetes.io/legacy-token-last-used: '2026-11-21'"
	other := secret(used)
	other["data"] = map[string]any{"token": "eQ=="}
	account := func(secrets string) map[string]any {
		return object(t, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: bot, namespace: shop, uid: a}, secrets: ["+secrets+"]}")
	}
	slice := func(service string) map[string]any {
		return object(t, "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: l-1, namespace: shop, uid: e, labels: {kubernetes.io/service-name: "+service+"}, "+
			"ownerReferences: [{apiVersion: v1, kind: Endpoints, name: "+service+", uid: o, controller: true}]}}")
	}
	claim := object(t, "{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: web-extended-resources-1, namespace: shop, uid: c, ownerReferences: [{apiVersion: v1, kind: Pod, name: web-1-x, uid: p, controller: true}]}}")
	group := func(finalizers, more string) map[string]any {
		return object(t, "{apiVersion: scheduling.k8s.io/v1alpha2, kind: PodGroup, metadata: {name: g, namespace: shop, uid: g, finalizers: ["+finalizers+"]}, spec: {"+more+"}}")
	}
	lease := object(t, "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: commitgate-grants, namespace: commitgate, uid: l}}")
	node := func(more string) map[string]any {
		return object(t, "{apiVersion: v1, kind: Node, metadata: {name: n, uid: n}, spec: {"+more+"}}")
	}
	cases := map[string]struct {
		user     User
		old, new map[string]any
		outcome  Outcome
		reason   v1alpha1.Reason
	}{
		"the gate counts in its own Lease":                            {serviceAccount("commitgate", "commitgate"), nil, lease, Allow, v1alpha1.ReasonOwnWork},
		"somebody else forgets the counts":                            {serviceAccount("default", "thief"), lease, nil, Deny, v1alpha1.ReasonNotFromSyncAgent},
		"a cloud's controllers in one":                                {system("cloud-controller-manager"), node(""), node("providerID: cloud/1"), Allow, v1alpha1.ReasonController},
		"the same, and more":                                          {system("cloud-controller-manager"), node(""), node("unschedulable: true"), Deny, v1alpha1.ReasonNotControllersBusiness},
		"the API server notes that an old token is used":              {apiserver, secret(""), secret(used), Allow, v1alpha1.ReasonController},
		"the same, and another token":                                 {apiserver, secret(""), other, Deny, v1alpha1.ReasonNotControllersBusiness},
		"the token of an account that is gone":                        {manager, secret(""), nil, Allow, v1alpha1.ReasonController},
		"an account whose token is gone":                              {manager, account("{name: old}"), account(""), Allow, v1alpha1.ReasonController},
		"a mirror of hand-written Endpoints of a declared Service":    {system("endpointslicemirroring-controller"), nil, slice("legacy"), Allow, v1alpha1.ReasonDerived},
		"a mirror of Endpoints of no declared Service":                {system("endpointslicemirroring-controller"), nil, slice("evil"), Retry, v1alpha1.ReasonOwnerUnknown},
		"the scheduler claims extended resources of a declared pod":   {scheduler, nil, claim, Allow, v1alpha1.ReasonDerived},
		"and gives them back":                                         {scheduler, claim, nil, Allow, v1alpha1.ReasonController},
		"a group of pods is held until they are gone":                 {system("podgroup-protection-controller"), group("", ""), group("scheduling.k8s.io/protection", ""), Allow, v1alpha1.ReasonController},
		"a group of pods is changed":                                  {system("podgroup-protection-controller"), group("", ""), group("", "minCount: 9"), Deny, v1alpha1.ReasonNotControllersBusiness},
		"a bundle of trust by which clients know the API server":      {system("kube-apiserver-serving-clustertrustbundle-publisher"), nil, bundle(t, "kubernetes.io:kube-apiserver-serving:abc"), Allow, v1alpha1.ReasonController},
		"a bundle of trust for somebody else":                         {system("kube-apiserver-serving-clustertrustbundle-publisher"), nil, bundle(t, "example.com:ca:abc"), Deny, v1alpha1.ReasonNotControllersBusiness},
		"the storage-version-migrator writes what is there":           {system("storage-version-migrator-controller"), slice("legacy"), slice("legacy"), Allow, v1alpha1.ReasonUnchanged},
		"the storage-version-migrator writes something else":          {system("storage-version-migrator-controller"), slice("legacy"), slice("evil"), Deny, v1alpha1.ReasonNotControllersBusiness},
		"the storage-version-migrator creates":                        {system("storage-version-migrator-controller"), nil, slice("legacy"), Deny, v1alpha1.ReasonNotControllersBusiness},
		"the cleaner of old tokens marks one":                         {system("legacy-service-account-token-cleaner"), secret(""), secret("kubernetes.io/legacy-token-invalid-since: '2026-11-21'"), Allow, v1alpha1.ReasonController},
		"the cleaner of old tokens changes one":                       {system("legacy-service-account-token-cleaner"), secret(""), other, Deny, v1alpha1.ReasonNotControllersBusiness},
		"the publisher of the cluster's CA":                           {system("root-ca-cert-publisher"), nil, object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt, namespace: shop, uid: k}}"), Allow, v1alpha1.ReasonController},
		"the publisher of the cluster's CA, with somebody's settings": {system("root-ca-cert-publisher"), nil, object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop, uid: k}}"), Deny, v1alpha1.ReasonNotControllersBusiness},
		"an aggregated role gets its rules":                           {system("clusterrole-aggregation-controller"), role(t, "aggregationRule: {}, rules: []"), role(t, "aggregationRule: {}, rules: [{verbs: [get]}]"), Allow, v1alpha1.ReasonController},
		"a role that aggregates nothing gets rules":                   {system("clusterrole-aggregation-controller"), role(t, "rules: []"), role(t, "rules: [{verbs: ['*']}]"), Deny, v1alpha1.ReasonNotControllersBusiness},
	}
	for name, c := range cases {
		w.want(name, request(c.user, c.old, c.new), c.outcome, c.reason)
	}
}

func bundle(t *testing.T, name string) map[string]any {
	return object(t, "{apiVersion: certificates.k8s.io/v1beta1, kind: ClusterTrustBundle, metadata: {name: '"+name+"', uid: b}}")
}

func role(t *testing.T, rules string) map[string]any {
	return object(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: everything, uid: r}, "+rules+"}")
}

// The write of a Deployment's status may have read it before a rollout and be asked about after it. The ReplicaSet of the new template is right nevertheless,
// from its controller alone, and until a write shows a generation that is not behind.
func TestAStatusOfBeforeTakesNoTemplateBack(t *testing.T) {
	w := newWorld(t, declaredScope(), deployment)
	seen := func(image string, generation int64) {
		live := object(t, strings.Replace(deployment, "web:1", image, 1))
		metadata := live["metadata"].(map[string]any)
		metadata["uid"], metadata["generation"] = "d", generation
		w.live.Observe(live)
	}
	owner, controller := ownedBySomebody("Deployment", "web", "d"), serviceAccount("kube-system", "deployment-controller")
	seen("web:1", 4)
	seen("web:2", 5)
	seen("web:1", 4) // the status
	w.want("of the new template", request(controller, nil, replicaSetOf(t, owner, "web:2")), Allow, v1alpha1.ReasonDerived)
	w.want("of the old one", request(controller, nil, replicaSetOf(t, owner, "web:1")), Allow, v1alpha1.ReasonDerived)
	w.want("of neither", request(controller, nil, replicaSetOf(t, owner, "evil")), Deny, v1alpha1.ReasonNotFromOwner, "image")
	w.want("by a person", request(carol, nil, replicaSetOf(t, owner, "web:2")), Deny, v1alpha1.ReasonNotFromSyncAgent)
	seen("web:1", 4)
	w.want("of the new template, after another status", request(controller, nil, replicaSetOf(t, owner, "web:2")), Allow, v1alpha1.ReasonDerived)
	seen("web:3", 6)
	w.want("of a template that was since replaced", request(controller, nil, replicaSetOf(t, owner, "web:2")), Deny, v1alpha1.ReasonNotFromOwner, "image")
}
