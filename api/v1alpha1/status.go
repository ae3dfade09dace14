package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// The types of condition, in the order in which one depends on the other.
const (
	ConditionFetched  = "Fetched"  // the Git host answered the last fetch
	ConditionVerified = "Verified" // what was fetched is signed as the rules ask
	ConditionReady    = "Ready"    // the last commit of the branch is the truth
	ConditionServed   = "Served"   // what the object says is what the gate goes by
	ConditionListed   = "Listed"   // the users that Git has the agents act as are listed in the gate's configuration
)

// The reasons of conditions.
const (
	ConditionReasonCurrent = "Current" // nothing is missing
	ConditionReasonFailed  = "Failed"  // the fetch failed; the message says how
	ConditionReasonRefused = "Refused" // the last commit is not accepted; the message says why
	ConditionReasonWaiting = "Waiting" // nothing has been verified yet
	ConditionReasonInvalid = "Invalid" // the configuration is wrong; the gate goes on with the one before
	ConditionReasonStale   = "Stale"   // the Git host has not answered for longer than staleAfter
	ConditionReasonDiffers = "Differs" // the gate goes by its own configuration, which says otherwise; the message names the fields
	ConditionReasonUnknown = "Unknown" // the gate's own configuration has no such object

	ConditionReasonUnlisted = "Unlisted" // an object in Git has an agent act as somebody whom the configuration does not list; the message names object, place and user
)

// TrustedRepositoryStatus is how a trusted repository stands, as the replica sees it that writes status.
type TrustedRepositoryStatus struct {
	// ObservedGeneration is the generation of the spec that this status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Commit is the verified commit that is the truth, abbreviated.
	Commit string `json:"commit,omitempty"`
	// Revision is that commit in full.
	Revision string `json:"revision,omitempty"`
	// Signer is who signed it.
	Signer string `json:"signer,omitempty"`
	// Heard is when the Git host last answered.
	Heard *metav1.Time `json:"heard,omitempty"`
	// Conditions are Fetched, Verified, Ready and Served.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// GateStatus is how a gate stands, as the replica sees it that writes status.
type GateStatus struct {
	// ObservedGeneration is the generation of the spec that this status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Objects is how many objects Git declares.
	Objects int `json:"objects,omitempty"`
	// Exemptions says how many there are and when the next one ends: "3, next ends 2026-12-01".
	Exemptions string `json:"exemptions,omitempty"`
	// Conditions are Ready, Listed and Served.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
