package syncagent

import (
	"context"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Flux applies as kustomize-controller does: for each object a server-side dry-run, then, if that would change something, a server-side apply
// with force; it labels what it applies and deletes in the background what its branch has dropped.
type Flux struct {
	source          Source
	namespace, name string // of the Kustomization
	manager         *ssa.ResourceManager
	inventory       []id
	// Force is spec.force of the Kustomization: what cannot be changed is deleted and created again.
	Force bool
}

// fluxGroup prefixes the labels by which a Kustomization knows its objects.
const fluxGroup = "kustomize.toolkit.fluxcd.io"

// NewFlux is the reconciler of the Kustomization namespace/name, with the identity of config.
func NewFlux(config *rest.Config, namespace, name string, source Source) (*Flux, error) {
	c, err := newClient(config, client.Options{})
	if err != nil {
		return nil, err
	}
	poller := polling.NewStatusPoller(c, c.RESTMapper(), polling.Options{})
	manager := ssa.NewResourceManager(c, poller, ssa.Owner{Field: "kustomize-controller", Group: fluxGroup})
	return &Flux{source: source, namespace: namespace, name: name, manager: manager}, nil
}

// Sync reconciles once and returns what it did, an action a line ("Deployment/shop/cart created"). After an error it may have
// done a part: like Flux it applies stage by stage, and nothing of a stage if a dry-run of that stage is refused.
func (f *Flux) Sync(ctx context.Context) ([]string, error) {
	objects, err := f.source.read(ctx)
	if err != nil {
		return nil, err
	}
	done, err := f.Apply(ctx, objects)
	if err != nil {
		return done, err
	}
	prune, inventory := gone(f.inventory, objects)
	changes, err := f.manager.DeleteAll(ctx, prune, ssa.DeleteOptions{
		PropagationPolicy: metav1.DeletePropagationBackground,
		Inclusions:        f.manager.GetOwnerLabels(f.name, f.namespace),
		Exclusions:        map[string]string{fluxGroup + "/prune": "disabled", fluxGroup + "/reconcile": "disabled", fluxGroup + "/ssa": "Ignore"},
	})
	done = append(done, changed(changes)...)
	if err == nil {
		f.inventory = inventory
	}
	return done, err
}

// Apply applies objects, whatever Git says, and prunes nothing.
func (f *Flux) Apply(ctx context.Context, objects []*unstructured.Unstructured) ([]string, error) {
	f.manager.SetOwnerLabels(objects, f.name, f.namespace)
	changes, err := f.manager.ApplyAllStaged(ctx, objects, f.options())
	return changed(changes), err
}

// options are kustomize-controller's own (v1.10): besides applying, it takes over what kubectl has applied.
func (f *Flux) options() ssa.ApplyOptions {
	kubectl := func(name string, operation metav1.ManagedFieldsOperationType) ssa.FieldManager {
		return ssa.FieldManager{Name: name, OperationType: operation}
	}
	options := ssa.DefaultApplyOptions()
	options.WaitInterval = 200 * time.Millisecond // for namespaces and CRDs to become ready; the default is 2 s
	options.Force = f.Force
	options.ExclusionSelector = map[string]string{fluxGroup + "/reconcile": "disabled", fluxGroup + "/ssa": "Ignore"}
	options.IfNotPresentSelector = map[string]string{fluxGroup + "/ssa": "IfNotPresent"}
	options.ForceSelector = map[string]string{fluxGroup + "/force": "enabled"}
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation, fluxGroup + "/checksum", "fluxcd.io/sync-checksum"},
		Labels:      []string{"fluxcd.io/sync-gc-mark"},
		FieldManagers: []ssa.FieldManager{
			kubectl("kubectl", metav1.ManagedFieldsOperationApply),
			kubectl("kubectl", metav1.ManagedFieldsOperationUpdate),
			kubectl("before-first-apply", metav1.ManagedFieldsOperationUpdate),
			kubectl("kustomize-controller", metav1.ManagedFieldsOperationUpdate),
		},
		Exclusions: map[string]string{fluxGroup + "/ssa": "Merge"},
	}
	return options
}

// changed lists what was not left as it was.
func changed(changes *ssa.ChangeSet) []string {
	if changes == nil {
		return nil
	}
	var lines []string
	for _, entry := range changes.Entries {
		if entry.Action != ssa.UnchangedAction {
			lines = append(lines, entry.String())
		}
	}
	return lines
}
