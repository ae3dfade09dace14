package v1alpha1

import (
	"bytes"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// KindGrant is the kind of a break-glass grant.
const KindGrant = "Grant"

// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=commitgate
// +kubebuilder:printcolumn:name=State,type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name=Uses,type=integer,JSONPath=`.status.uses`
// +kubebuilder:printcolumn:name=Until,type=string,JSONPath=`.spec.until`
// +kubebuilder:printcolumn:name=Ticket,type=string,JSONPath=`.spec.ticket`
// +kubebuilder:printcolumn:name=Message,type=string,JSONPath=`.status.message`,priority=1

// Grant is a signed, scoped, expiring permission to change one cluster without Git: break-glass. The object itself proves
// nothing, so anybody may create or delete it; its signatures count, over the statement that package breakglass makes of name and spec.
type Grant struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// Spec is what is signed, together with the name.
	Spec GrantSpec `json:"spec"`
	// Signatures are armoured, detached, one or more of each authorised person: SSH (namespace commitgate-grant) or OpenPGP.
	Signatures []string `json:"signatures,omitempty"`
	// Revocation ends the grant before its time. It is signed too.
	Revocation *Revocation `json:"revocation,omitempty"`
	// Status is written by the gate, and never read by it.
	Status GrantStatus `json:"status,omitempty,omitzero"`
}

// GrantSpec is who may change what, until when, and why. A list that is left empty covers nothing, unless it says otherwise.
type GrantSpec struct {
	// Cluster is the name of the cluster (spec.cluster of its Gate). The grant is good nowhere else.
	Cluster string `json:"cluster"`
	// Users are exact user names.
	Users []string `json:"users,omitempty"`
	// Groups are exact group names. Groups that hold every user or service account are refused.
	Groups []string `json:"groups,omitempty"`
	// Namespaces are patterns with *. Cluster-scoped objects are covered only where an empty string is listed.
	Namespaces []string `json:"namespaces"`
	// Kinds are Kind or Kind.group; * is every kind.
	Kinds []string `json:"kinds"`
	// Names are patterns with *; empty is every name.
	Names []string `json:"names,omitempty"`
	// Operations are CREATE, UPDATE, DELETE, CONNECT; * is all.
	Operations []string `json:"operations"`
	// Subresources that are covered too, * is any; an empty list is the object itself only. CONNECT needs its subresource named: exec.
	Subresources []string `json:"subresources,omitempty"`
	// AgentIdentity also covers the ways to the sync agent's identity: its tokens, its pods, roles that let somebody impersonate.
	AgentIdentity bool `json:"agentIdentity,omitempty"`
	// From is when the grant begins.
	From metav1.Time `json:"from"`
	// Until is when it ends.
	Until metav1.Time `json:"until"`
	// Uses is how many requests it lets pass; 0 is no limit but time.
	Uses int `json:"uses,omitempty"`
	// Reason says why, to people.
	Reason string `json:"reason"`
	// Ticket of the incident.
	Ticket string `json:"ticket,omitempty"`
	// RequestedBy is who asked for the grant, for the record; it proves nothing.
	RequestedBy string `json:"requestedBy"`
}

// Revocation ends a grant.
type Revocation struct {
	// Reason says why, to people.
	Reason string `json:"reason"`
	// Signatures of authorised people over the statement of the revocation. One suffices.
	Signatures []string `json:"signatures,omitempty"`
}

// GrantStatus is what became of a grant.
type GrantStatus struct {
	// ObservedGeneration is the generation of the spec that this status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// State in one word: Active, Pending, Expired, Exhausted, Revoked, Refused.
	State string `json:"state,omitempty"`
	// Message says more, in a sentence.
	Message string `json:"message,omitempty"`
	// Uses is how many requests have passed.
	Uses int `json:"uses,omitempty"`
	// SignedBy are the people whose signatures count.
	SignedBy []string `json:"signedBy,omitempty"`
}

// maxGrantSize bounds a grant: larger is no grant.
const maxGrantSize = 256 << 10

// ParseGrant reads a grant, YAML or JSON, strictly: a field that this program does not know may be one that narrows the grant.
func ParseGrant(data []byte) (*Grant, error) {
	if len(data) > maxGrantSize {
		return nil, fmt.Errorf("larger than %d bytes", maxGrantSize)
	}
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, err
	}
	g := &Grant{}
	strict, err := kjson.UnmarshalStrict(text, g)
	if err != nil {
		return nil, err
	}
	if len(strict) > 0 {
		return nil, strict[0]
	}
	if g.APIVersion != APIVersion || g.Kind != KindGrant {
		return nil, fmt.Errorf("%s %s: want %s %s", g.APIVersion, g.Kind, APIVersion, KindGrant)
	}
	return g, nil
}

// FormatGrant writes a grant as YAML, without what the API server adds to an object.
func FormatGrant(g *Grant) ([]byte, error) {
	bare := Grant{TypeMeta: metav1.TypeMeta{APIVersion: APIVersion, Kind: KindGrant}, Spec: g.Spec, Signatures: g.Signatures, Revocation: g.Revocation}
	bare.Name = g.Name
	data, err := yaml.Marshal(&bare)
	if err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(data, []byte("  creationTimestamp: null\n"), nil), nil
}
