package admit

import (
	"path"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Role is in what quality a user asks. The zero value has no rights.
type Role string

// The roles.
const (
	RoleOther      Role = "other"
	RoleAgent      Role = "agent"
	RoleController Role = "controller"
	RoleExempt     Role = "exempt"
	RoleGrant      Role = "grant"
	RoleGate       Role = "gate"
)

// identity is what a user name means here.
type identity struct {
	agent        *v1alpha1.Agent
	impersonated bool // the agent is configured to act as this user
	sets         bool // it is Argo CD's applicationset-controller, and no more
}

// identify finds the sync agent behind a user, or refuses one that only bears its name.
func (g *Gate) identify(u User) (identity, *Decision) {
	id, ok := g.users[u.Name]
	if !ok {
		return identity{}, nil
	}
	if id.impersonated {
		// The token of such an account may also be used directly; both are judged by content.
		return id, nil
	}
	if _, _, isServiceAccount := u.serviceAccount(); isServiceAccount && u.UID == "" {
		return id, deny(v1alpha1.ReasonImpersonated, "%s carries no credential of that service account: somebody impersonates it.\n"+
			"Next: let the agent apply the change, or list the user under impersonates if the agent acts as it.", u.Name)
	}
	return id, wrongPod(u, id.agent, id.sets)
}

// wrongPod refuses a token that is bound to a pod which is none of the agent's; nil where it is one, or where configuration or token does not say.
// companion: the agent's pods are configured by patterns that need not cover the user's, whose Deployment is named as its account, maybe after a release.
func wrongPod(u User, a *v1alpha1.Agent, companion bool) *Decision {
	pod := u.claim(claimPod)
	if pod == "" || len(a.Pods) == 0 {
		return nil
	}
	ns, name, _ := u.serviceAccount()
	if companion && strings.Contains("-"+pod, "-"+name+"-") || slices.ContainsFunc(a.Pods, func(p string) bool { return matches(p, ns+"/"+pod) }) {
		return nil
	}
	return deny(v1alpha1.ReasonWrongPod, "the token of %s belongs to pod %s/%s, which is not one of the agent's.\n"+
		"Next: find out who runs that pod; if it is right, list it under pods of agent %s.", u.Name, ns, pod, a.Name)
}

// matches tells whether a name fits a pattern with * and ?. A pattern that cannot be read (validated at load) fits nothing.
func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// matchesAny tells whether a name fits one of some patterns; no patterns fit everything.
func matchesAny(patterns []string, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

// matchesKind tells whether Kind or Kind.group is listed; no kinds are all kinds.
func matchesKind(kinds []string, group, kind string) bool {
	if len(kinds) == 0 {
		return true
	}
	return slices.ContainsFunc(kinds, func(k string) bool {
		name, g, qualified := strings.Cut(k, ".")
		return name == kind && (!qualified || g == group)
	})
}
