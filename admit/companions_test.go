package admit

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Where kustomize-controller is all that a configuration lists, Flux's other controllers still keep the status of its kinds: without that nothing is ever
// applied. They are no agent for that: what they would apply or take is refused.
func TestFluxsOtherControllersKeepStatusAndApplyNothing(t *testing.T) {
	w := newWorld(t, testConfig)
	const repository = "{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: infra, namespace: flux-system, finalizers: [%]}, spec: {url: x}, status: {a: b}}"
	was, now := object(t, strings.Replace(repository, "%", "", 1)), object(t, strings.NewReplacer("%", "", "a: b", "a: c").Replace(repository))
	status := func(who User, kind string) *Request {
		r := request(who, was, now)
		r.Subresource = "status"
		if kind != "" {
			r.Resource.Group, r.Resource.Resource = "apps", kind
		}
		return r
	}
	source, notification := serviceAccount("flux-system", "source-controller"), serviceAccount("flux-system", "notification-controller")
	w.want("the status of a source", status(source, ""), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its finalizer", request(source, was, object(t, strings.Replace(repository, "%", "finalizers.fluxcd.io", 1))), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a push that was announced", request(notification, was, object(t, strings.Replace(repository, "finalizers: [%]", "finalizers: [], annotations: {reconcile.fluxcd.io/requestedAt: now}", 1))), Allow, v1alpha1.ReasonBookkeeping)
	w.want("another source", request(source, was, object(t, strings.NewReplacer("%", "", "url: x", "url: y").Replace(repository))), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("the status of something else", status(source, "deployments"), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("what Git declares, by who never applies", request(source, nil, object(t, cart)), Deny, v1alpha1.ReasonNotFromSyncAgent)
	stolen := source
	stolen.UID = ""
	w.want("by somebody who impersonates it", status(stolen, ""), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("by its pod", status(in("source-controller-7c9d5f6b8-x2x4k", source), ""), Allow, v1alpha1.ReasonBookkeeping)
	w.want("by an account of that name elsewhere", status(serviceAccount("mine", "source-controller"), ""), Deny, v1alpha1.ReasonNotFromSyncAgent)
}

// Where a configuration says which pods are the agent's, a token of another program of the installation counts only in that program's own pods, too: one
// minted for a pod that somebody made to run as source-controller could have kustomize-controller fetch from anywhere.
func TestACompanionsTokenCountsInItsOwnPods(t *testing.T) {
	const pods = `"system:serviceaccount:flux-system:kustomize-controller"], pods: ["flux-system/kustomize-controller-*", "flux-system/our-*"]`
	config := strings.Replace(testConfig, `"system:serviceaccount:flux-system:kustomize-controller"]`, pods, 1)
	if config == testConfig {
		t.Fatal("the configuration names no such agent")
	}
	w := newWorld(t, config)
	source := serviceAccount("flux-system", "source-controller")
	const repository = "{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: infra, namespace: flux-system}, spec: {url: x}, status: {artifact: {url: %}}}"
	from := func(pod string) *Request {
		r := request(in(pod, source), object(t, strings.Replace(repository, "%", "a", 1)), object(t, strings.Replace(repository, "%", "evil", 1)))
		r.Subresource = "status"
		return r
	}
	w.want("its own pod", from("source-controller-7c9d5f6b8-x2x4k"), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its own pod, of a release", from("prod-source-controller-7c9d5f6b8-x2x4k"), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a pod that is listed", from("our-sources-0"), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a token without a pod", from(""), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a pod that somebody made run as it", from("debug"), Deny, v1alpha1.ReasonWrongPod)
	w.want("a pod of nearly that name", from("mysource-controller-1"), Deny, v1alpha1.ReasonWrongPod)
	w.want("what anybody may not, from its own pod", request(in("source-controller-7c9d5f6b8-x2x4k", source), nil, object(t, cart)), Deny, v1alpha1.ReasonNotFromSyncAgent)
}

// in is a user whose token is bound to a pod.
func in(pod string, u User) User {
	if pod != "" {
		u.Extra = map[string][]string{claimCredential: {"JTI=1"}, claimPod: {pod}}
	}
	return u
}
