package syncagent

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// mark sets what the agent knows its objects by.
func (f *Fleet) mark(o *unstructured.Unstructured, b *fleetBundle) {
	id := "default-" + b.name + "-" + fleetAgentNamespace
	hash := sha1.Sum([]byte(id))
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels["objectset.rio.cattle.io/hash"] = hex.EncodeToString(hash[:])
	annotations["objectset.rio.cattle.io/id"] = id
	if !f.Helm3 {
		labels["fleet.cattle.io/managed-by-kind"] = "gitrepo"
		labels["fleet.cattle.io/managed-by-namespace"] = fleetNamespace
		labels["fleet.cattle.io/managed-by-name"] = f.gitRepo
	}
	if o.GetKind() == "CustomResourceDefinition" {
		annotations["helm.sh/resource-policy"] = "keep"
	}
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
}

// fleetObject makes one of Fleet's own kinds, or a Secret.
func fleetObject(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

const fleetVersion = "fleet.cattle.io/v1alpha1"

// announce writes what the Job and the controller write of a bundle: the Bundle with its values, the Content, the BundleDeployment with its values.
func (f *Fleet) announce(ctx context.Context, b *fleetBundle) error {
	resources, err := bundleResources(b.dir)
	if err != nil {
		return err
	}
	values, err := json.Marshal(b.options.Helm.Values)
	if err != nil {
		return err
	}
	options, err := b.spec()
	if err != nil {
		return err
	}
	labels := map[string]string{"fleet.cattle.io/repo-name": f.gitRepo, "fleet.cattle.io/commit": b.commit}
	bundle := fleetObject(fleetVersion, "Bundle", fleetNamespace, b.name)
	if err := put(ctx, f.job, bundle, func() {
		bundle.SetLabels(labels)
		spec := map[string]any{"resources": resources, "targets": []any{map[string]any{"name": "default", "clusterGroup": "default"}}}
		for k, v := range options {
			spec[k] = v
		}
		bundle.Object["spec"] = spec
	}); err != nil {
		return err
	}
	if err := f.keepValues(ctx, f.job, bundle, "fleet.cattle.io/bundle-values/v1alpha1", labels, values); err != nil {
		return err
	}
	if err := put(ctx, f.controller, bundle, func() { controllerutil.AddFinalizer(bundle, "fleet.cattle.io/bundle-finalizer") }); err != nil {
		return err
	}
	content, err := f.storeContent(ctx, resources)
	if err != nil {
		return err
	}
	deployment := fleetObject(fleetVersion, "BundleDeployment", fleetClusterNamespace, b.name)
	if err := f.purge(ctx, deployment, content.GetName()); err != nil {
		return err
	}
	if err := put(ctx, f.controller, deployment, func() {
		deployment.SetLabels(map[string]string{
			"fleet.cattle.io/repo-name": f.gitRepo, "fleet.cattle.io/commit": b.commit, "fleet.cattle.io/managed": "true",
			"fleet.cattle.io/bundle-name": b.name, "fleet.cattle.io/bundle-namespace": fleetNamespace,
			"fleet.cattle.io/cluster": "local", "fleet.cattle.io/cluster-namespace": fleetNamespace,
		})
		controllerutil.AddFinalizer(deployment, "fleet.cattle.io/bundle-deployment-finalizer")
		id := content.GetName() + ":" + hexDigest(values)
		deployment.Object["spec"] = map[string]any{"deploymentID": id, "stagedDeploymentID": id, "options": options, "stagedOptions": options}
	}); err != nil {
		return err
	}
	if err := put(ctx, f.controller, content, func() { controllerutil.AddFinalizer(content, b.name) }); err != nil {
		return err
	}
	if err := f.keepValues(ctx, f.controller, deployment, "fleet.cattle.io/bundle-deployment/v1alpha1", nil, values); err != nil {
		return err
	}
	return patchStatus(ctx, f.controller, bundle, map[string]any{"observedGeneration": bundle.GetGeneration(), "summary": map[string]any{"desiredReady": int64(1)}})
}

// spec are the options of a bundle, as its objects say them: without values, which are in Secrets.
func (b *fleetBundle) spec() (map[string]any, error) {
	options := b.options
	options.Helm.Values = nil
	text, err := json.Marshal(options)
	if err != nil {
		return nil, err
	}
	spec := map[string]any{}
	err = json.Unmarshal(text, &spec)
	return spec, err
}

// bundleResources are the files of a bundle, but its fleet.yaml.
func bundleResources(dir string) ([]any, error) {
	var resources []any
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "fleet.yaml" {
			return err
		}
		text, err := os.ReadFile(file)
		resources = append(resources, map[string]any{"name": strings.TrimPrefix(file, dir+"/"), "content": string(text)})
		return err
	})
	return resources, err
}

// storeContent makes the Content of some resources, if it is not there.
func (f *Fleet) storeContent(ctx context.Context, resources []any) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(map[string]any{"resources": resources})
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	digest := hexDigest(text)
	content := fleetObject(fleetVersion, "Content", "", "s-"+digest[:61])
	err = f.controller.Get(ctx, client.ObjectKeyFromObject(content), content)
	if !apierrors.IsNotFound(err) {
		return content, err
	}
	content.Object["content"], content.Object["sha256sum"] = base64.StdEncoding.EncodeToString(packed.Bytes()), digest
	return content, f.controller.Create(ctx, content)
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// keepValues writes the Secret with the values of a bundle or deployment, which owns it.
func (f *Fleet) keepValues(ctx context.Context, c client.Client, owner *unstructured.Unstructured, kind string, labels map[string]string, values []byte) error {
	secret := fleetObject("v1", "Secret", owner.GetNamespace(), owner.GetName())
	return put(ctx, c, secret, func() {
		secret.Object["type"] = kind
		secret.Object["data"] = map[string]any{"values.yaml": base64.StdEncoding.EncodeToString(values)}
		secret.SetLabels(labels)
		yes := true
		secret.SetOwnerReferences([]metav1.OwnerReference{{
			APIVersion: fleetVersion, Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes,
		}})
	})
}

// put creates an object or updates the one that is there.
func put(ctx context.Context, c client.Client, o *unstructured.Unstructured, change func()) error {
	_, err := controllerutil.CreateOrUpdate(ctx, c, o, func() error { change(); return nil })
	return err
}

func patchStatus(ctx context.Context, c client.Client, o *unstructured.Unstructured, status map[string]any) error {
	before := o.DeepCopy()
	o.Object["status"] = status
	return c.Status().Patch(ctx, o, client.MergeFrom(before))
}

// report is the agent's word on a deployment.
func (f *Fleet) report(ctx context.Context, b *fleetBundle) error {
	namespace, name := b.release()
	deployment := fleetObject(fleetVersion, "BundleDeployment", fleetClusterNamespace, b.name)
	if err := f.agent.Get(ctx, client.ObjectKeyFromObject(deployment), deployment); err != nil {
		return err
	}
	id, _, err := unstructured.NestedString(deployment.Object, "spec", "deploymentID")
	if err != nil {
		return err
	}
	return patchStatus(ctx, f.agent, deployment, map[string]any{"appliedDeploymentID": id, "release": namespace + "/" + name, "ready": true, "nonModified": true})
}

// labelNamespace sets on the namespace of a release what the bundle says of it.
func (f *Fleet) labelNamespace(ctx context.Context, b *fleetBundle) error {
	if b.options.NamespaceLabels == nil && b.options.NamespaceAnnotations == nil {
		return nil
	}
	name, _ := b.release()
	namespace := fleetObject("v1", "Namespace", "", name)
	if f.Helm3 {
		if err := f.agent.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
			return err
		}
		labels := map[string]string{"kubernetes.io/metadata.name": name}
		for k, v := range b.options.NamespaceLabels {
			labels[k] = v
		}
		namespace.SetLabels(labels)
		namespace.SetAnnotations(b.options.NamespaceAnnotations)
		return f.agent.Update(ctx, namespace)
	}
	namespace.SetLabels(b.options.NamespaceLabels)
	namespace.SetAnnotations(b.options.NamespaceAnnotations)
	text, err := json.Marshal(namespace)
	if err != nil {
		return err
	}
	return f.agent.Patch(ctx, namespace, client.RawPatch(types.ApplyPatchType, text), client.FieldOwner("fleet-agent-namespace-metadata"), client.ForceOwnership)
}

// withdraw deletes what the Job and the controller wrote of a bundle.
func (f *Fleet) withdraw(ctx context.Context, b *fleetBundle) error {
	bundle := fleetObject(fleetVersion, "Bundle", fleetNamespace, b.name)
	if err := f.job.Delete(ctx, bundle); err != nil {
		return err
	}
	deployment := fleetObject(fleetVersion, "BundleDeployment", fleetClusterNamespace, b.name)
	if err := f.controller.Delete(ctx, deployment); err != nil {
		return err
	}
	if err := f.purge(ctx, deployment, ""); err != nil {
		return err
	}
	if err := f.letGo(ctx, deployment, "fleet.cattle.io/bundle-deployment-finalizer"); err != nil {
		return err
	}
	return f.letGo(ctx, bundle, "fleet.cattle.io/bundle-finalizer")
}

// purge deletes the Content that a deployment was made of, unless it is still the one of this name.
func (f *Fleet) purge(ctx context.Context, deployment *unstructured.Unstructured, now string) error {
	err := f.controller.Get(ctx, client.ObjectKeyFromObject(deployment), deployment)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	id, _, err := unstructured.NestedString(deployment.Object, "spec", "deploymentID")
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(id, ":")
	if name == now {
		return nil
	}
	content := fleetObject(fleetVersion, "Content", "", name)
	if err := f.letGo(ctx, content, deployment.GetName()); err != nil {
		return err
	}
	return f.controller.Delete(ctx, content)
}

// letGo has the controller take its finalizer away.
func (f *Fleet) letGo(ctx context.Context, o *unstructured.Unstructured, finalizer string) error {
	if err := f.controller.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return err
	}
	controllerutil.RemoveFinalizer(o, finalizer)
	return f.controller.Update(ctx, o)
}
