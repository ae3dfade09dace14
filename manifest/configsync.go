package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

const configSyncGroup = "configsync.gke.io"

// rootSync is what matters of a RootSync or RepoSync (configsync.gke.io/v1beta1).
type rootSync struct {
	Spec rootSyncSpec `json:"spec"`
}

type rootSyncSpec struct {
	SourceFormat string `json:"sourceFormat,omitempty"`
	SourceType   string `json:"sourceType,omitempty"`
	Git          *struct {
		Repo     string `json:"repo"`
		Branch   string `json:"branch,omitempty"`
		Revision string `json:"revision,omitempty"`
		Dir      string `json:"dir,omitempty"`
	} `json:"git,omitempty"`
	Override struct {
		NamespaceStrategy string `json:"namespaceStrategy,omitempty"`
	} `json:"override"`
}

// syncUnit is a RootSync or RepoSync.
type syncUnit struct {
	self about
	spec rootSyncSpec
}

func (r *renderer) meetSync(o *Object, above *about) bool {
	a := r.agentWith(v1alpha1.PresetConfigSync, o.Owner.Agent)
	if a == nil || o.Kind != "RootSync" && o.Kind != "RepoSync" {
		return false
	}
	var s rootSync
	if !r.decodeSpec(o, &s) {
		return true
	}
	r.add(&syncUnit{
		self: about{
			owner: agent.Owner{Agent: a.Name, Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name},
			at:    o.Source, depth: above.depth + 1, spec: specText(s.Spec),
		},
		spec: s.Spec,
	})
	return true
}

func (u *syncUnit) about() *about                { return &u.self }
func (u *syncUnit) waits(*renderer, bool) string { return "" }

// taken: the commit stands on each object.
func (u *syncUnit) taken(r *renderer) string { return u.commit(r) }

func (u *syncUnit) commit(r *renderer) string {
	if u.spec.Git != nil {
		if id, err := git.ParseID(u.spec.Git.Revision); err == nil {
			return string(id)
		}
		if t := r.repositoryOf(u.spec.Git.Repo); t != nil {
			return string(r.revisions[t.Name].commit)
		}
	}
	return ""
}

func (u *syncUnit) read(r *renderer, b *Build) error {
	why := ""
	var t *v1alpha1.TrustedRepository
	switch s := u.spec; {
	case s.Git == nil || s.SourceType != "" && s.SourceType != "git":
		why = "its source is not Git"
	case s.SourceFormat != "unstructured" && u.self.owner.Kind == "RootSync":
		why = "a hierarchical repository is not: set sourceFormat to unstructured"
	default:
		if t = r.repositoryOf(s.Git.Repo); t == nil {
			why = s.Git.Repo + " is not the URL or an alias of a trusted repository"
		} else {
			revision := s.Git.Revision
			if revision == "" || revision == "HEAD" {
				revision = cmp.Or(s.Git.Branch, "master")
			}
			t, why = r.follow(t, revision)
		}
	}
	if why != "" {
		return r.unfollow(&u.self, b, "%s", why)
	}
	p, err := git.ParsePath(u.spec.Git.Dir)
	if err != nil {
		r.problem(u.self.at, "%s: spec.git.dir: %v", u.self.name(), err)
		return errReported
	}
	at := file{t.Name, p}
	b.Repository, b.Path = at.repository, at.path
	id, err := r.input(b, at)
	if err != nil {
		return err
	}
	if id == "" {
		r.problem(u.self.at, "%s: spec.git.dir: no folder %s in repository %s", u.self.name(), p, t.Name)
		return errReported
	}
	kustomization, err := r.hasKustomization(at)
	switch {
	case err != nil:
		return err
	case kustomization:
		err = r.kustomize(b, at)
	default:
		err = r.readFolder(b, at, folderRules{recurse: true, extensions: []string{".yaml", ".yml", ".json"}})
	}
	b.documents = slices.DeleteFunc(b.documents, func(doc *document) bool { return b.chosen(doc) })
	u.namespaces(r, b)
	return err
}

// chosen tells whether an object is for some clusters or namespaces only, which is noted and not followed.
func (b *Build) chosen(doc *document) bool {
	annotations := doc.content.Child("metadata", "annotations")
	for _, selector := range []string{"configmanagement.gke.io/cluster-selector", "configsync.gke.io/cluster-name-selector", "configmanagement.gke.io/namespace-selector"} {
		if text(annotations, selector) != "" {
			b.unfollows = append(b.unfollows, Problem{b.Repository, doc.path, doc.line, fmt.Sprintf("%s %s is not followed: the annotation %s chooses clusters or namespaces",
				doc.content.Text("kind"), doc.content.Text("metadata", "name"), selector)})
			return true
		}
	}
	return false
}

// namespaces declares those that a RootSync makes because objects live in them (namespaceStrategy implicit).
func (u *syncUnit) namespaces(r *renderer, b *Build) {
	if u.self.owner.Kind != "RootSync" || u.spec.Override.NamespaceStrategy == "explicit" {
		return
	}
	var names []string
	for _, doc := range b.documents {
		gk, _ := kindOf(doc.content)
		if r.scopeOf(gk) != scopeCluster {
			names = append(names, cmp.Or(doc.content.Text("metadata", "namespace"), "default"))
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name == "default" || name == "kube-system" || name == "config-management-system" {
			continue // there already
		}
		b.documents = append(b.documents, &document{
			content: compact.Of(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
				"name": name, "annotations": map[string]any{"client.lifecycle.config.k8s.io/deletion": "detach"},
			}}),
			path: u.self.at.Path, line: u.self.at.Line, implied: true,
		})
	}
}

// dress: what a reconciler does to each object before it applies it on the server's side.
func (u *syncUnit) dress(r *renderer, o *Object) bool {
	if v := o.annotation("config.kubernetes.io/local-config"); v != "" && v != "false" {
		return false
	}
	fallback := "default"
	if u.self.owner.Kind == "RepoSync" {
		fallback = u.self.owner.Namespace
	}
	if !r.place(o, fallback, "") {
		return false
	}
	if o.annotation("configmanagement.gke.io/managed") == "disabled" {
		return false // Config Sync lets go of it
	}
	o.Apply.NoPrune = o.annotation("client.lifecycle.config.k8s.io/deletion") == "detach"
	if o.annotation("client.lifecycle.config.k8s.io/mutation") == "ignore" {
		o.Apply.Ignored = mutable(o.Content.Map()) // once it is there, the reconciler applies what it finds, with new marks
	}
	sync := agent.ConfigSync{
		Name: u.self.owner.Name, Namespace: u.self.owner.Namespace, Kind: u.self.owner.Kind, Commit: u.commit(r),
		Repository: u.spec.Git.Repo, Branch: cmp.Or(u.spec.Git.Branch, "master"), Revision: cmp.Or(u.spec.Git.Revision, "HEAD"),
		Cluster: r.in.Gate.Cluster,
	}
	path := string(o.Source.Path)
	if o.implied {
		path = ""
	}
	o.Adds = sync.Marks(o.Group, o.Version, o.Kind, o.Namespace, o.Name, path)
	return true
}

// mutable are the fields of an object but for what says which it is.
func mutable(content map[string]any) []string {
	fields := []string{"metadata.labels**", "metadata.annotations**"}
	for _, field := range slices.Sorted(maps.Keys(content)) {
		if field != "apiVersion" && field != "kind" && field != "metadata" {
			fields = append(fields, fieldPath([]string{field})+"**")
		}
	}
	return fields
}
