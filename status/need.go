package status

import "strings"

// The features that take rights in the cluster.
const (
	FeatureAuthority     = "the own authority"
	FeatureConfiguration = "the configuration in the cluster"
	FeatureDryRuns       = "dry-runs"
	FeatureGrants        = "grants"
	FeaturePolicies      = "the inventory of policies"
	FeatureRegistration  = "watching the registration"
	FeatureRepair        = "repair"
	FeatureScan          = "the scan"
	FeatureStatus        = "status and Events"
)

// Need is a right that a configured feature of the gate takes, for its own service account.
type Need struct {
	Feature string   `json:"feature"`
	Verbs   []string `json:"verbs"`
	Group   string   `json:"group,omitempty"`
	// Resource is the plural, or * for all; Kind stands for it where only that is known.
	Resource    string `json:"resource,omitempty"`
	Kind        string `json:"kind,omitempty"`
	Subresource string `json:"subresource,omitempty"`
	// Namespace is empty for all of them, and for what is in none. Name is empty for every object.
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// What names what the right is about, as RBAC does: resource.group, with subresource and name.
func (n Need) What() string {
	what := n.Resource
	if what == "" {
		what = n.Kind
	}
	what = strings.TrimSuffix(what+"."+n.Group, ".")
	if n.Subresource != "" {
		what += "/" + n.Subresource
	}
	if n.Name != "" {
		what += " " + n.Name
	}
	if n.Namespace != "" {
		what += " in " + n.Namespace
	}
	return what
}
