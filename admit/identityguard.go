package admit

import (
	"slices"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
)

// guardIdentity refuses the ways to the agent's identity, in every scope: whoever is the agent can ask for anything that the gate
// must then judge by content alone. What the agent itself applies from Git passes by content, further down.
func (j *judgement) guardIdentity() *Decision {
	if j.id.agent != nil && j.r.Subresource == "" {
		return nil
	}
	path := ""
	switch r := j.r.resource(); {
	case r == "serviceaccounts/token" && j.isAgentAccount(j.r.Namespace, j.key.Name):
		path = "a token of that account is the agent"
	case r == "secrets" && j.r.Operation != Delete && j.isAgentAccount(j.r.Namespace, tokenSecretOf(j.r.Object)):
		path = "the token controller would put the agent's token into it"
	case r == "pods/ephemeralcontainers" && j.isAgentAccount(j.r.Namespace, serviceAccountOf(spec(j.r.Object))):
		path = "the pod runs as the agent"
	case j.r.Subresource == "" && j.r.Operation != Delete && !j.isController() && j.runsAsAgent():
		path = "its pods would run as the agent"
	case (r == "rbac.authorization.k8s.io/roles" || r == "rbac.authorization.k8s.io/clusterroles") && j.r.Operation != Delete && !j.isController() && j.newlyGrantsImpersonation():
		path = "it grants impersonation"
	case r == "rbac.authorization.k8s.io/clusterrolebindings" && j.r.Operation != Delete && !j.isController() && bindsAdmin(j.r.Object) && (j.r.Old == nil || len(j.changed) > 0):
		path = "who is cluster-admin can impersonate the agent"
	default:
		return nil
	}
	if d := j.equalToGit(); d != nil && j.Truth.Current != nil {
		return d
	}
	return deny(v1alpha1.ReasonAgentIdentityGuarded, "%s may not %s: %s.\nNext: declare it in Git, signed; or exempt it, with a reason and an end.", j.r.User.Name, j.what(), path)
}

// isAgentAccount tells whether a service account is one of an agent's users.
func (j *judgement) isAgentAccount(namespace, name string) bool {
	if name == "" {
		return false
	}
	_, ok := j.users["system:serviceaccount:"+namespace+":"+name]
	return ok
}

// runsAsAgent tells whether an object is a pod, or makes pods, that run as an agent, and did not before.
func (j *judgement) runsAsAgent() bool {
	account := podAccount(j.r.Object)
	if !j.isAgentAccount(j.r.Namespace, account) {
		return false
	}
	return j.r.Old == nil || len(j.changed) > 0
}

// podAccount is the service account of a pod, or of the pods that a workload makes; "" for other objects.
func podAccount(object map[string]any) string {
	if object["kind"] == "Pod" {
		return serviceAccountOf(spec(object))
	}
	template := live.TemplateOf(object)
	if object["kind"] == "CronJob" {
		inner, _ := spec(template)["template"].(map[string]any)
		template = inner
	}
	return serviceAccountOf(spec(template))
}

func serviceAccountOf(podSpec map[string]any) string {
	if s, _ := podSpec["serviceAccountName"].(string); s != "" {
		return s
	}
	s, _ := podSpec["serviceAccount"].(string)
	return s
}

func spec(object map[string]any) map[string]any {
	s, _ := object["spec"].(map[string]any)
	return s
}

// tokenSecretOf is the service account for which the token controller fills this Secret, "" if it is no such Secret.
func tokenSecretOf(secret map[string]any) string {
	if secret["type"] != "kubernetes.io/service-account-token" {
		return ""
	}
	meta, _ := secret["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	s, _ := annotations["kubernetes.io/service-account.name"].(string)
	return s
}

// bindsAdmin tells whether a binding gives somebody every right, cluster-wide.
func bindsAdmin(binding map[string]any) bool {
	ref, _ := binding["roleRef"].(map[string]any)
	return ref["kind"] == "ClusterRole" && ref["name"] == "cluster-admin"
}

// newlyGrantsImpersonation tells whether a role lets somebody act as the agent who could not by its old rules.
func (j *judgement) newlyGrantsImpersonation() bool {
	// A Role reaches the service accounts of its own namespace; by the verb * it does so in passing, which matters where an agent lives.
	wildcard := j.key.Kind == "ClusterRole" || j.agentNamespace(j.key.Namespace)
	return grantsImpersonation(j.r.Object, wildcard) && !grantsImpersonation(j.r.Old, wildcard)
}

// grantsImpersonation tells whether a role has a rule with the verb impersonate; or, if wildcard is set, with every verb on what can be
// impersonated.
func grantsImpersonation(role map[string]any, wildcard bool) bool {
	return slices.ContainsFunc(asList(role["rules"]), func(r any) bool {
		rule, _ := r.(map[string]any)
		verbs, resources := asList(rule["verbs"]), asList(rule["resources"])
		if slices.Contains(verbs, any("impersonate")) {
			return true
		}
		return wildcard && slices.Contains(verbs, any("*")) && slices.ContainsFunc(asList(rule["apiGroups"]), func(g any) bool { return g == "" || g == "*" }) &&
			slices.ContainsFunc(resources, func(r any) bool { return r == "*" || r == "users" || r == "groups" || r == "serviceaccounts" })
	})
}
