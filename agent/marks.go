package agent

import "strings"

// Flux's groups, and the labels by which its controllers know what they applied.
const (
	FluxKustomizeGroup = "kustomize.toolkit.fluxcd.io"
	FluxHelmGroup      = "helm.toolkit.fluxcd.io"
	FluxSourceGroup    = "source.toolkit.fluxcd.io"
)

// FluxLabels are what kustomize-controller (group FluxKustomizeGroup) or helm-controller (FluxHelmGroup) sets on each object that a
// Kustomization or HelmRelease applies (fluxcd/pkg ssa, SetOwnerLabels).
func FluxLabels(group, namespace, name string) Metadata {
	return Metadata{Labels: map[string]string{group + "/name": name, group + "/namespace": namespace}}
}

// HelmMetadata is what Helm 3 and 4 set on each object of a release, but not on hooks and CRDs (helm.sh/helm, pkg/action/validate.go).
func HelmMetadata(namespace, release string) Metadata {
	return Metadata{
		Labels:      map[string]string{"app.kubernetes.io/managed-by": "Helm"},
		Annotations: map[string]string{"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace},
	}
}

// ArgoCDTracking is how Argo CD knows the objects of an Application (argocd-cm, application.resourceTrackingMethod).
type ArgoCDTracking string

// The tracking methods.
const (
	TrackByAnnotation         ArgoCDTracking = "annotation" // the default since 3.0
	TrackByLabel              ArgoCDTracking = "label"
	TrackByAnnotationAndLabel ArgoCDTracking = "annotation+label"
)

// ArgoCDMarks are what application-controller sets on an object of an application instance: the application's name, with NAMESPACE_ before
// it where it lives outside Argo CD's own. namespace is the object's, or that of the destination if it is cluster-scoped.
func ArgoCDMarks(method ArgoCDTracking, labelKey, installation, instance, group, kind, namespace, name string) Metadata {
	var m Metadata
	if method != TrackByLabel {
		m.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": instance + ":" + group + "/" + kind + ":" + namespace + "/" + name}
		if installation != "" {
			m.Annotations["argocd.argoproj.io/installation-id"] = installation
		}
	}
	if method != TrackByAnnotation {
		if len(instance) > 63 {
			instance = strings.TrimRight(instance[:63], "-_.")
		}
		m.Labels = map[string]string{labelKey: instance}
	}
	return m
}
