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
	w.want("by an account of that name elsewhere", status(serviceAccount("mine", "source-controller"), ""), Deny, v1alpha1.ReasonNotFromSyncAgent)
}
