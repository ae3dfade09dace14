package manifest

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/tools/txtar"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// A build in a verified tree must make what kustomize makes of the same files on a disk.
func TestKustomizationsBuildAsOnADisk(t *testing.T) {
	const base = `
-- base/kustomization.yaml --
resources: [deployment.yaml, service.yaml, crd.yaml]
labels: [{pairs: {app.kubernetes.io/name: web}, includeSelectors: true}]
configMapGenerator: [{name: conf, files: [app.properties, nested=sub/x.txt], envs: [vars.env]}]
secretGenerator: [{name: keys, literals: [token=abc], type: Opaque}]
-- base/app.properties --
a=1
-- base/sub/x.txt --
text
-- base/vars.env --
ONE=1
-- base/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {note: "yes"}}
spec:
  replicas: 1
  template:
    spec:
      serviceAccountName: web
      containers:
      - {name: web, image: nginx, envFrom: [{configMapRef: {name: conf}}, {secretRef: {name: keys}}], ports: [{containerPort: 80}]}
-- base/service.yaml --
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}], on: 2026-11-21}
-- base/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec: {group: example.com, names: {kind: Thing}}
`
	tests := map[string]string{
		"an overlay with patches, images, replicas, prefix and namespace": base + `
-- top/kustomization.yaml --
namespace: shop
namePrefix: eu-
nameSuffix: -v2
resources: [../base]
images: [{name: nginx, newName: registry.test/nginx, digest: "sha256:24a0c4b4a4c0eb97a1aabb8e29f18e917d05abfe1b7a7c07857230879ce7d3d3"}]
replicas: [{name: web, count: 3}]
commonAnnotations: {owner: team}
patches:
- path: patch.yaml
- {target: {kind: Service}, patch: '[{"op": "replace", "path": "/spec/ports/0/port", "value": 8080}]'}
-- top/patch.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {template: {spec: {containers: [{name: web, resources: {limits: {memory: 64Mi}}}, {name: side, image: busybox}]}}}
`,
		"components, replacements and generated names": base + `
-- top/kustomization.yaml --
resources: [../base]
components: [../component]
configMapGenerator: [{name: conf, behavior: merge, literals: [b=2]}]
replacements:
- source: {kind: Deployment, fieldPath: metadata.name}
  targets: [{select: {kind: Service}, fieldPaths: [metadata.labels.of], options: {create: true}}]
-- component/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches: [{target: {kind: Deployment}, patch: '[{"op": "add", "path": "/metadata/annotations/of", "value": "component"}]'}]
`,
		"several layers, transformers and an order of their own": base + `
-- top/kustomization.yaml --
resources: [../middle, extra.yaml]
transformers: [labels.yaml]
sortOptions: {order: fifo}
-- top/labels.yaml --
apiVersion: builtin
kind: LabelTransformer
metadata: {name: l}
labels: {layer: top}
fieldSpecs: [{path: metadata/labels, create: true}]
-- top/extra.yaml --
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: example.com/v1, kind: Thing, metadata: {name: t}, spec: {size: 1.0, ratio: 0.5, big: 12345678901}}
-- middle/kustomization.yml --
resources: [../base]
namePrefix: m-
`,
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range txtar.Parse([]byte(files)).Files {
				p := filepath.Join(dir, f.Name)
				check(t, os.MkdirAll(filepath.Dir(p), 0o755))
				check(t, os.WriteFile(p, f.Data, 0o644))
			}
			options := krusty.MakeDefaultOptions()
			made, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), filepath.Join(dir, "top"))
			check(t, err)
			docs, _, err := kustomizeBuild(t.Context(), newRepo(t).commit(files).tree, "top", Limits{}.withDefaults())
			check(t, err)
			if len(docs) != len(made.Resources()) {
				t.Fatalf("%d documents, kustomize makes %d", len(docs), len(made.Resources()))
			}
			for _, res := range made.Resources() {
				text, err := res.MarshalJSON()
				check(t, err)
				var want map[string]any
				check(t, kjson.UnmarshalCaseSensitivePreserveInts(text, &want))
				found := false
				for _, doc := range docs {
					found = found || reflect.DeepEqual(doc.content.Map(), want)
				}
				if !found {
					t.Errorf("not made as kustomize makes it:\n%s", text)
				}
			}
		})
	}
}
