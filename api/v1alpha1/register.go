package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every kind of this package.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "commitgate.dev", Version: "v1alpha1"}
}

// AddToScheme makes the custom resources known to a client.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(), &Gate{}, &GateList{}, &TrustedRepository{}, &TrustedRepositoryList{}, &Grant{}, &GrantList{})
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}

// +kubebuilder:object:root=true

// GateList is what the API server answers to a list.
type GateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gate `json:"items"`
}

// +kubebuilder:object:root=true

// TrustedRepositoryList is what the API server answers to a list.
type TrustedRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TrustedRepository `json:"items"`
}

// +kubebuilder:object:root=true

// GrantList is what the API server answers to a list.
type GrantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Grant `json:"items"`
}
