// Package v1alpha1 holds the words that users write: the kinds Gate and TrustedRepository, the reasons, the modes
// and scopes. The same YAML is read from files and, as custom resources, from the cluster.
//
// +kubebuilder:object:generate=true
// +groupName=commitgate.dev
package v1alpha1
