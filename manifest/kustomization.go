package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/git"
)

// kustomize builds a folder with a kustomization, and adds what it makes to the build.
func (r *renderer) kustomize(b *Build, at file) error { return r.kustomizeWith(b, at, nil, nil) }

// kustomizeWith builds a folder as it would be with some files in the place of those in the tree (nil: taken away). vars are what Flux substitutes
// afterwards, which in decrypted patches is done here.
func (r *renderer) kustomizeWith(b *Build, at file, files map[string][]byte, vars *variables) error {
	f := folderJob{at: at, with: digestFiles(files), files: files}
	if b.decrypts {
		f.with += " decrypted"
	}
	for _, name := range kustomizationNames {
		f.looked = append(f.looked, join(at.path, name))
	}
	f.render = func(tree fs.FS, made *rendered) ([]git.Path, *answer, error) {
		remote, err := r.remotesOf(at, files)
		if err != nil {
			return nil, nil, err
		}
		sources, err := r.encryptedSources(b, at, files)
		if err != nil {
			return nil, nil, err
		}
		if remote != nil {
			inputs, err := r.kustomizeRemote(b, tree, at, remote, sources, made, vars)
			return inputs, nil, err // its commits are looked at again after a restart
		}
		if sources != nil {
			var inputs []git.Path
			made.docs, inputs, err = r.kustomizeSealed(b, tree, at, sources, made, vars)
			return inputs, nil, err // nothing of what was decrypted is kept
		}
		a, err := r.kustomizeTree(r.doAhead, tree, at)
		if err != nil {
			return nil, nil, err
		}
		made.docs = a.documents(a.Inputs)
		return a.Inputs, a, nil
	}
	return r.renderFolder(b, f)
}

// kustomizeTree builds a folder of a tree, with do or doAhead.
func (r *renderer) kustomizeTree(do func(fs.FS, git.Path, job) (*answer, error), tree fs.FS, at file) (*answer, error) {
	a, err := do(tree, at.path, job{Kustomize: &kustomizeJob{at.path, r.limits}})
	if err != nil {
		return nil, r.refuse(Source{Repository: at.repository, Path: r.kustomizationFile(at)}, err)
	}
	return a, nil
}

// take adds what was rendered to the build.
func (b *Build) take(at file, made *rendered) {
	b.rendered[at] = made
	if made.folder != "" {
		b.inputs[at] = made.folder
	} else {
		maps.Copy(b.inputs, made.inputs)
	}
	b.unfollows = append(b.unfollows, made.unfollows...)
	for _, doc := range made.docs {
		if doc.nameless {
			kind, _ := kindOf(doc.content)
			b.unfollows = append(b.unfollows, Problem{at.repository, doc.path, 0, "the chart makes up the name of a " + kind.kind + " anew each time: it is not declared"})
			continue
		}
		b.documents = append(b.documents, doc)
	}
}

func digestFiles(files map[string][]byte) string {
	if len(files) == 0 {
		return ""
	}
	digest := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		digest.Write([]byte(name + "\x00"))
		digest.Write(files[name])
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// kustomizationFile is the path of a folder's kustomization, that of the folder if it has none.
func (r *renderer) kustomizationFile(at file) git.Path {
	for _, name := range kustomizationNames {
		if id, err := r.fileID(file{at.repository, join(at.path, name)}); err == nil && id != "" {
			return join(at.path, name)
		}
	}
	return at.path
}

// kustomizeFlux builds a folder as kustomize-controller does: with the kustomization that is there, or one that names every file, into which
// it writes what the Flux Kustomization says (fluxcd/pkg kustomize, Generator).
func (r *renderer) kustomizeFlux(b *Build, at file, s *fluxKustomizationSpec, ignore string, vars *variables) error {
	if !s.transforms() {
		return r.kustomizeWith(b, at, nil, vars)
	}
	name := r.kustomizationFile(at)
	k := map[string]any{"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
	if name == at.path {
		name = join(at.path, kustomizationNames[0])
		resources, err := r.fluxResources(at, r.fluxRules(b, at.repository, ignore))
		if err != nil {
			return err
		}
		k["resources"] = resources
		b.inputs[at], err = r.fileID(at) // a file more is a resource more
		if err != nil {
			return err
		}
	} else {
		docs, err := r.readFile(b, file{at.repository, name}, folderRules{})
		if err != nil {
			return err
		}
		if len(docs) != 1 {
			r.problem(Source{Repository: at.repository, Path: name}, "a kustomization is one document, not %d", len(docs))
			return errReported
		}
		k = docs[0].content.Map()
	}
	if err := r.transform(k, at, s); err != nil {
		return err
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return r.kustomizeWith(b, at, map[string][]byte{string(name): text}, vars)
}

// transform writes a Flux Kustomization's fields into a kustomization, in kustomize-controller's order.
func (r *renderer) transform(k map[string]any, at file, s *fluxKustomizationSpec) error {
	for field, value := range map[string]string{"namespace": s.TargetNamespace, "namePrefix": s.NamePrefix, "nameSuffix": s.NameSuffix} {
		if value != "" {
			k[field] = value
		}
	}
	for _, p := range s.Patches {
		k["patches"] = append(listOf(k["patches"]), p)
	}
	for _, image := range s.Images {
		k["images"] = replaceNamed(listOf(k["images"]), image)
	}
	for _, c := range s.Components {
		p := join(at.path, c)
		id, err := r.fileID(file{at.repository, p})
		if err != nil {
			return err
		}
		if id == "" && s.IgnoreMissingComponents {
			continue
		}
		k["components"] = append(listOf(k["components"]), c)
	}
	for _, m := range s.BuildMetadata {
		k["buildMetadata"] = append(listOf(k["buildMetadata"]), m)
	}
	return nil
}

func listOf(v any) []any {
	list, _ := v.([]any)
	return slices.Clone(list)
}

// fluxResources are the files and folders that kustomize-controller names in the kustomization that it generates.
func (r *renderer) fluxResources(at file, rules folderRules) ([]any, error) {
	tree, err := r.tree(at.repository)
	if err != nil {
		return nil, err
	}
	var resources []any
	err = fs.WalkDir(tree, string(at.path), func(name string, entry fs.DirEntry, err error) error {
		p := git.Path(name)
		if err != nil {
			return fmt.Errorf("%s: %w", at.repository, err)
		}
		if p == at.path {
			return nil
		}
		if skip, err := rules.skip(p, entry.IsDir()); err != nil || skip {
			if skip && entry.IsDir() {
				err = fs.SkipDir
			}
			return err
		}
		resource := "./" + strings.TrimPrefix(strings.TrimPrefix(name, string(at.path)), "/")
		if entry.IsDir() {
			has, err := r.hasKustomization(file{at.repository, p})
			if err == nil && has {
				resources = append(resources, resource)
				err = fs.SkipDir
			}
			return err
		}
		if entry.Type().IsRegular() && slices.Contains(rules.extensions, path.Ext(name)) {
			resources = append(resources, resource)
		}
		return nil
	})
	return resources, err
}
