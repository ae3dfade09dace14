package manifest

// kustomize builds a folder with a kustomization.
func (r *renderer) kustomize(b *Build, at file) error {
	r.problem(Source{Repository: at.repository, Path: at.path}, "a kustomization, which is not built yet")
	return errReported
}

// kustomizeFlux builds a folder as kustomize-controller does.
func (r *renderer) kustomizeFlux(b *Build, at file, _ *fluxKustomizationSpec) error {
	return r.kustomize(b, at)
}
