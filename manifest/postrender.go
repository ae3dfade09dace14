package manifest

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/compact"
)

// helmHooks are the events at which Helm makes an object, nil if it is no hook. crd-install is Helm 2's way to say CRD.
func helmHooks(o *Object) []string { return hookEvents(o.Content) }

func hookEvents(content compact.Object) []string {
	var hooks []string
	for h := range strings.SplitSeq(content.Text("metadata", "annotations", "helm.sh/hook"), ",") {
		if h = strings.ToLower(strings.TrimSpace(h)); h != "" && h != "crd-install" {
			hooks = append(hooks, h)
		}
	}
	return hooks
}

// onlyTests tells whether hooks are those of `helm test` and no others.
func onlyTests(hooks []string) bool {
	return len(hooks) > 0 && !slices.ContainsFunc(hooks, func(h string) bool { return h != "test" && h != "test-success" })
}

// postRenderNoHooks is the spec.postRenderStrategy that leaves hooks alone. Without a strategy, Flux before 2.8 and 2.8.6 do that, and others do not.
const postRenderNoHooks = "nohooks"

// postRender lets kustomize patch what the chart has made, as helm-controller does (internal/postrender); not what stands in crds/. Hooks are patched
// too, or left as they are written: which of both, only spec.postRenderStrategy says.
func (u *helmUnit) postRender(r *renderer, b *Build) error {
	written := b.documents
	err := u.patch(r, b, u.spec.PostRenderStrategy != postRenderNoHooks)
	if u.spec.PostRenderStrategy == "" && isRefused(err) { // patches that fit no hook: then only what leaves hooks alone works
		b.documents = written
		err = u.patch(r, b, false)
	}
	if err != nil {
		return r.refuseFor(&u.self, "postRenderers", err)
	}
	return nil
}

// patch runs the post-renderers, over hooks too or not. The documents before are left as they were.
func (u *helmUnit) patch(r *renderer, b *Build, hooks bool) error {
	seen := func(doc *document) bool {
		return !doc.crd && !doc.implied && (hooks || len(hookEvents(doc.content)) == 0)
	}
	if hooks {
		b.documents = slices.Clone(b.documents)
		for i, doc := range b.documents {
			if seen(doc) && len(hookEvents(doc.content)) > 0 {
				patched := *doc
				patched.written = doc
				b.documents[i] = &patched
			}
		}
	}
	for _, p := range u.spec.PostRenderers {
		if p.Kustomize == nil {
			continue
		}
		k := map[string]any{"resources": []string{"helm-output.yaml"}, "patches": p.Kustomize.Patches, "images": p.Kustomize.Images}
		kustomization, err := json.Marshal(k)
		if err != nil {
			return err
		}
		var output bytes.Buffer
		var kept, before []*document
		for _, doc := range b.documents {
			if !seen(doc) {
				kept = append(kept, doc)
				continue
			}
			text, err := json.Marshal(doc.content)
			if err != nil {
				return err
			}
			output.WriteString("---\n" + string(text) + "\n")
			before = append(before, doc)
		}
		tree := overlay{emptyFolder{}, map[string][]byte{"kustomization.yaml": kustomization, "helm-output.yaml": output.Bytes()}}
		a, err := r.do(tree, u.self.at.Path, job{Kustomize: &kustomizeJob{".", r.limits}})
		if err != nil {
			return err
		}
		docs := a.documents(nil)
		for _, doc := range docs {
			doc.path, doc.line, doc.inputs = b.Path, 0, nil
			for _, was := range before {
				if identity(was.content) == identity(doc.content) {
					doc.path, doc.line, doc.inputs, doc.opaque, doc.sealed, doc.written = was.path, was.line, was.inputs, opaqueAfter(was, doc), was.sealed, was.written
				}
			}
		}
		b.documents = append(kept, docs...)
	}
	return nil
}

// opaqueAfter are the opaque paths of a document after it was patched: where its marks stand now, and for what has none any item of the lists.
func opaqueAfter(was, doc *document) []string {
	marks, marked := map[string]bool{}, map[string]bool{}
	walkTexts(was.content.Map(), nil, func(at []string, s string) {
		if p := fieldPath(at); strings.HasPrefix(s, "ENC[git,") && slices.Contains(was.opaque, p) {
			marks[s], marked[p] = true, true
		}
	})
	now := ofAnyItem(slices.DeleteFunc(slices.Clone(was.opaque), func(p string) bool { return marked[p] }))
	walkTexts(doc.content.Map(), nil, func(at []string, s string) {
		if marks[s] {
			now = append(now, fieldPath(at))
		}
	})
	slices.Sort(now)
	return slices.Compact(now)
}

// identity tells the documents of one rendering apart.
func identity(content compact.Object) Key {
	gk, _ := kindOf(content)
	return Key{gk.group, gk.kind, content.Text("metadata", "namespace"), content.Text("metadata", "name")}
}

// emptyFolder is a tree without files.
type emptyFolder struct{}

func (emptyFolder) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (emptyFolder) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "." {
		return nil, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (emptyFolder) Stat(name string) (fs.FileInfo, error) {
	if name == "." {
		return folderInfo{overlaidInfo{name: "."}}, nil
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

type folderInfo struct{ overlaidInfo }

func (folderInfo) Mode() fs.FileMode { return fs.ModeDir | 0o755 }
func (folderInfo) IsDir() bool       { return true }
