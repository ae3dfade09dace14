package admit

import (
	"slices"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
)

// connect judges exec, attach, port-forward and proxy: no object changes, but what runs does. Who may is configured; by default nobody.
func (j *judgement) connect() *Decision {
	if j.r.Operation != Connect {
		return nil
	}
	for _, c := range j.spec.Connect {
		if (slices.Contains(c.Users, j.r.User.Name) || slices.ContainsFunc(c.Groups, j.r.User.inGroup)) &&
			matchesAny(c.Namespaces, j.r.Namespace) && (len(c.Subresources) == 0 || slices.Contains(c.Subresources, j.r.Subresource)) {
			return allow(v1alpha1.ReasonConnectAllowed)
		}
	}
	if j.scope == v1alpha1.ScopeDeclared && !j.guardedTarget() {
		return allow(v1alpha1.ReasonNotGuarded)
	}
	return deny(v1alpha1.ReasonConnectRefused, "%s may not %s: no connect rule lets anybody do that here.\nNext: look at logs and events; add a connect rule if people must get in.", j.r.User.Name, j.what())
}

// guardedTarget tells whether what is connected to follows from Git, or runs beside the agent.
func (j *judgement) guardedTarget() bool {
	if j.declared(j.key) != nil || j.agentNamespace(j.r.Namespace) {
		return true
	}
	var owners []live.Owner
	if pod := j.Live.Object(j.key); pod != nil {
		owners = pod.Owners
	}
	_, end := j.chain(owners)
	return end == chainDeclared
}

// agentNamespace tells whether an agent's own service account lives in a namespace: who gets into a pod there may take its token.
func (j *judgement) agentNamespace(namespace string) bool {
	for name, id := range j.users {
		if ns, _, ok := (User{Name: name}).serviceAccount(); ok && ns == namespace && !id.impersonated {
			return true
		}
	}
	return false
}
