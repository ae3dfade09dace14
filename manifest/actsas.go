package manifest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Unlisted is an agent's object that has its agent act as a user whom the agent's entry in the configuration does not list. The gate takes that user for
// somebody else: what is word for word Git's may come from anybody, deletions and hooks may not.
type Unlisted struct {
	// Agent is the name of the entry, and List the list of it that lacks User: impersonates, or users.
	Agent, List, User string
	// Object is the agent's object. Problem says where it stands (nowhere, if the configuration holds it word for word), what is wrong and what to do.
	Object Key
	Problem
}

// UnlistedUsers names each user that is not listed once, by the first object that acts as it. No set has none.
func (s *Set) UnlistedUsers() []string {
	if s == nil {
		return nil
	}
	var out []string
	more := map[string]int{} // by agent and user, how many objects
	for _, u := range s.Unlisted {
		more[u.Agent+" "+u.User]++
	}
	for _, u := range s.Unlisted {
		key := u.Agent + " " + u.User
		if n := more[key]; n > 1 {
			out = append(out, fmt.Sprintf("%s (and %d more)", u, n-1))
		} else if n == 1 {
			out = append(out, u.String())
		}
		delete(more, key)
	}
	return out
}

// acting is a unit whose agent may act as another user than its own. users are those whom it may act as: the agent's entry is to list one of them.
type acting interface {
	actsAs(r *renderer, set *Set, a *v1alpha1.Agent) (users []string, why string)
}

// unlisted finds the agents' objects that act as a user whom their agent's entry does not list, sorted by place.
func (r *renderer) unlisted(set *Set) []Unlisted {
	var out []Unlisted
	for _, b := range r.builds {
		u, ok := r.known[b.id].(acting)
		if !ok {
			continue
		}
		about := r.known[b.id].about()
		i := slices.IndexFunc(r.in.Gate.Agents, func(a v1alpha1.Agent) bool { return a.Name == about.owner.Agent })
		if i < 0 {
			continue
		}
		a := &r.in.Gate.Agents[i]
		users, why := u.actsAs(r, set, a)
		list, listed := "impersonates", a.Impersonates
		if a.Preset == v1alpha1.PresetConfigSync { // a reconciler of its own, with a token
			list, listed = "users", slices.Concat(a.Users, a.Impersonates)
		}
		if len(users) == 0 || slices.ContainsFunc(users, func(user string) bool { return slices.Contains(listed, user) }) {
			continue
		}
		found := Unlisted{Agent: a.Name, List: list, User: users[0], Object: ownerKey(about.owner)}
		found.Problem = Problem{about.at.Repository, about.at.Path, about.at.Line, fmt.Sprintf(
			"%s acts as %s (%s), whom agent %s does not list: the gate takes it for anybody, who may bring what Git says, but prune nothing and run no hooks. Next: add the user to %s of agent %s, or take the account out of Git",
			found.Object, found.User, why, a.Name, list, a.Name)}
		if !slices.Contains(out, found) { // a GitRepo makes several bundles
			out = append(out, found)
		}
	}
	slices.SortStableFunc(out, func(x, y Unlisted) int {
		return cmp.Or(cmp.Compare(x.Repository, y.Repository), cmp.Compare(x.Path, y.Path), cmp.Compare(x.Line, y.Line))
	})
	return out
}

func serviceAccount(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

// actsAs: kustomize-controller impersonates an account of the Kustomization's namespace.
func (u *kustomizationUnit) actsAs(*renderer, *Set, *v1alpha1.Agent) ([]string, string) {
	return fluxAccount(u.self.owner, u.spec.ServiceAccountName)
}

// actsAs: helm-controller does so, too.
func (u *helmUnit) actsAs(*renderer, *Set, *v1alpha1.Agent) ([]string, string) {
	return fluxAccount(u.self.owner, u.spec.ServiceAccount)
}

func fluxAccount(o agent.Owner, name string) ([]string, string) {
	if name == "" {
		return nil, ""
	}
	return []string{serviceAccount(o.Namespace, name)}, "spec.serviceAccountName"
}

// actsAs: each RootSync and RepoSync has a reconciler with an account that is named after it (kpt-config-sync, pkg/core/reconciler_name.go).
func (u *syncUnit) actsAs(*renderer, *Set, *v1alpha1.Agent) ([]string, string) {
	o := u.self.owner
	name := "root-reconciler"
	switch {
	case o.Kind == "RepoSync" && o.Name == "repo-sync":
		name = "ns-reconciler-" + o.Namespace
	case o.Kind == "RepoSync":
		name = fmt.Sprintf("ns-reconciler-%s-%s-%d", o.Namespace, o.Name, len(o.Name))
	case o.Name != "root-sync":
		name += "-" + o.Name
	}
	return []string{serviceAccount("config-management-system", name)}, "its reconciler"
}

// actsAs: fleet-agent impersonates an account of its own namespace.
func (u *bundleUnit) actsAs(_ *renderer, _ *Set, a *v1alpha1.Agent) ([]string, string) {
	if u.bundle.Options.ServiceAccount == "" {
		return nil, ""
	}
	var users []string
	for _, user := range a.Users {
		if rest, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
			namespace, _, _ := strings.Cut(rest, ":")
			users = append(users, serviceAccount(namespace, u.bundle.Options.ServiceAccount))
		}
	}
	return users, "serviceAccount"
}

// appProject is what matters here of an Argo CD AppProject (argoproj.io/v1alpha1).
type appProject struct {
	Spec struct {
		DestinationServiceAccounts []struct {
			Server                string `json:"server"`
			Namespace             string `json:"namespace"`
			DefaultServiceAccount string `json:"defaultServiceAccount"`
		} `json:"destinationServiceAccounts"`
	} `json:"spec"`
}

// actsAs: the first destination of the project that fits names the account (argo-cd, controller/sync.go, deriveServiceAccountToImpersonate). Where
// argocd-cm is not in Git, whether Argo CD impersonates at all is not known: who lists accounts will have meant them.
func (u *applicationUnit) actsAs(r *renderer, set *Set, a *v1alpha1.Agent) ([]string, string) {
	home := argoNamespace(a)
	if o := r.value(Key{Kind: "ConfigMap", Namespace: home, Name: "argocd-cm"}); o != nil && text(o.Content.Child("data"), "application.sync.impersonation.enabled") != "true" {
		return nil, ""
	}
	key := Key{Group: argoGroup, Kind: "AppProject", Namespace: home, Name: cmp.Or(u.spec.Project, "default")}
	i, ok := slices.BinarySearchFunc(set.Objects, key, func(o *Object, k Key) int { return o.Key.Compare(k) })
	if !ok {
		return nil, ""
	}
	var project appProject
	if json.Unmarshal([]byte(set.Objects[i].Content.JSON()), &project) != nil {
		return nil, "" // its CRD judges that
	}
	d := u.spec.Destination
	server := d.Server
	if server == "" && (d.Name == "" || d.Name == "in-cluster") {
		server = "https://kubernetes.default.svc"
	}
	for _, to := range project.Spec.DestinationServiceAccounts {
		if !matchesGlob(to.Server, server) || !matchesGlob(to.Namespace, d.Namespace) {
			continue
		}
		namespace, name, qualified := strings.Cut(to.DefaultServiceAccount, ":")
		if !qualified {
			namespace, name = cmp.Or(d.Namespace, u.self.owner.Namespace), to.DefaultServiceAccount
		}
		return []string{serviceAccount(namespace, name)}, "spec.destinationServiceAccounts of " + key.String()
	}
	return nil, ""
}
