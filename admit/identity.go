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
	if pod := u.claim(claimPod); pod != "" && len(id.agent.Pods) > 0 {
		ns, name, _ := u.serviceAccount()
		if id.sets && strings.HasPrefix(pod, name+"-") {
			return id, nil // the Deployment is named as its account
		}
		if !slices.ContainsFunc(id.agent.Pods, func(p string) bool { return matches(p, ns+"/"+pod) }) {
			return id, deny(v1alpha1.ReasonWrongPod, "the token of %s belongs to pod %s/%s, which is not one of the agent's.\n"+
				"Next: find out who runs that pod; if it is right, list it under pods of agent %s.", u.Name, ns, pod, id.agent.Name)
		}
	}
	return id, nil
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
