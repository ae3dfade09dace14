package admit

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
)

// Operation is what a request does, as admission.k8s.io/v1 spells it.
type Operation string

// The operations.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// User is who asks, as the API server authenticated it. An impersonated request shows only the impersonated user.
type User struct {
	Name   string              `json:"username"`
	UID    string              `json:"uid"`
	Groups []string            `json:"groups"`
	Extra  map[string][]string `json:"extra"`
}

// Claims of bound tokens and credentials (KEP-4193), as keys of User.Extra.
const (
	claimCredential = "authentication.kubernetes.io/credential-id"
	claimPod        = "authentication.kubernetes.io/pod-name"
	claimNode       = "authentication.kubernetes.io/node-name"
)

func (u User) claim(key string) string {
	if v := u.Extra[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// serviceAccount splits the user name of a service account.
func (u User) serviceAccount() (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(u.Name, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok
}

func (u User) inGroup(g string) bool { return slices.Contains(u.Groups, g) }

// GroupVersionKind and GroupVersionResource as admission.k8s.io/v1 spells them.
type GroupVersionKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// GroupVersionResource names a resource in one version.
type GroupVersionResource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

// Request is one AdmissionRequest (admission.k8s.io/v1), decoded.
type Request struct {
	UID         string               `json:"uid"`
	Kind        GroupVersionKind     `json:"kind"`
	Resource    GroupVersionResource `json:"resource"`
	Subresource string               `json:"subResource"`
	// RequestResource is the resource the client addressed; it differs from Resource where matchPolicy Equivalent converted.
	RequestResource *GroupVersionResource `json:"requestResource"`
	Name            string                `json:"name"`
	Namespace       string                `json:"namespace"`
	Operation       Operation             `json:"operation"`
	User            User                  `json:"userInfo"`
	Object          map[string]any        `json:"object"`
	Old             map[string]any        `json:"oldObject"`
	DryRun          bool                  `json:"dryRun"`
	Options         map[string]any        `json:"options"`
}

// Key is the identity of the object that the request is about. For a subresource it is the parent's, as far as the request tells. The
// request's own name is not enough: every item of a deletecollection comes without one, and a CREATE may carry a generated one.
func (r *Request) Key() manifest.Key {
	k := manifest.Key{Group: r.Kind.Group, Kind: r.Kind.Kind, Namespace: r.Namespace, Name: r.Name}
	if r.Subresource != "" {
		k.Group = r.Resource.Group
		if r.ownKind() {
			k.Kind = kindOfResource(r.Resource)
		}
		if k.Group == "" && k.Kind == "Namespace" {
			k.Namespace = ""
		}
		return k
	}
	object := r.Object
	if object == nil {
		object = r.Old
	}
	if name := live.KeyOf(object).Name; name != "" {
		k.Name = name
	}
	if r.Kind.Kind == "Namespace" && r.Kind.Group == "" {
		k.Namespace = "" // the API server repeats the name there
	}
	return k
}

// ownKind tells whether the object of a subresource is of a kind of its own, rather than the whole parent.
func (r *Request) ownKind() bool {
	switch r.Kind.Kind {
	case "Scale", "Eviction", "Binding", "TokenRequest":
		return true
	}
	return r.Operation == Connect
}

// kindOfResource names the parent of a subresource. Where the kind of the review is the subresource's own (Scale, Eviction, Binding), the
// parent's kind is only in the resource's name.
func kindOfResource(r GroupVersionResource) string {
	switch r.Resource {
	case "deployments":
		return "Deployment"
	case "replicasets":
		return "ReplicaSet"
	case "statefulsets":
		return "StatefulSet"
	case "replicationcontrollers":
		return "ReplicationController"
	case "pods":
		return "Pod"
	case "serviceaccounts":
		return "ServiceAccount"
	case "nodes":
		return "Node"
	case "namespaces":
		return "Namespace"
	case "services":
		return "Service"
	}
	return r.Resource
}

// resource is "group/resource" or "group/resource/subresource", with "" for the core group: the form of the tables.
func (r *Request) resource() string {
	s := r.Resource.Resource
	if r.Resource.Group != "" {
		s = r.Resource.Group + "/" + s
	}
	if r.Subresource != "" {
		s += "/" + r.Subresource
	}
	return s
}

// generateName is the prefix that the client asked a name for, "" if it gave the whole name.
func (r *Request) generateName() string {
	meta, _ := r.Object["metadata"].(map[string]any)
	s, _ := meta["generateName"].(string)
	return s
}
