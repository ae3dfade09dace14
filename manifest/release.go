package manifest

import (
	"fmt"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

// releaseUnit is a Helm release that a pipeline makes of a chart in Git, as the configuration says: helm upgrade --install.
type releaseUnit struct {
	self    about
	release v1alpha1.Release
}

func (r *renderer) releaseRoot(at file, a *v1alpha1.Agent, release *v1alpha1.Release) {
	r.add(&releaseUnit{
		self: about{
			owner: agent.Owner{Agent: a.Name}, part: "release " + release.Namespace + "/" + release.Name, root: at, spec: specText(release),
		},
		release: *release,
	})
}

func (u *releaseUnit) about() *about                { return &u.self }
func (u *releaseUnit) charts(*renderer) bool        { return true }
func (u *releaseUnit) waits(*renderer, bool) string { return "" }
func (u *releaseUnit) taken(r *renderer) string {
	return fmt.Sprintf("%q %q", r.in.Gate.Kubernetes, r.declaredVersions())
}

func (u *releaseUnit) read(r *renderer, b *Build) error {
	at := u.self.root
	b.Repository, b.Path = at.repository, at.path
	b.Release = Release{Namespace: u.release.Namespace, Name: u.release.Name, Rollback: u.release.RollbackOnFailure}
	chart, err := r.usesChart(at)
	if err != nil {
		return err
	}
	if !chart {
		r.problem(Source{Repository: at.repository}, "no chart in folder %s: a root of the configuration makes %s of it", at.path, b.id.part)
		return errReported
	}
	values := map[string]any{}
	for _, name := range u.release.ValuesFiles {
		p, err := git.ParsePath(name)
		if err != nil {
			r.problem(Source{}, "%s: valuesFiles: %v", u.self.name(), err)
			return errReported
		}
		more, found, err := r.valuesFile(b, file{at.repository, p})
		switch {
		case err != nil:
			return err
		case !found:
			r.problem(Source{Repository: at.repository}, "no file %s: %s takes values from it", p, u.self.name())
			return errReported
		}
		values = mergeValues(values, more)
		b.shapedBy = append(b.shapedBy, p)
	}
	if u.release.CreateNamespace {
		b.documents = append(b.documents, namespaceOfRelease(u.release.Namespace, u.self.at))
	}
	return r.helm(b, at, helmOptions{Release: u.release.Name, Namespace: u.release.Namespace, Values: deepCopy(values), CRDs: !u.release.SkipCRDs})
}

// namespaceOfRelease is what Helm makes where it is told to, and the namespace is not there (helm, pkg/action/install.go).
func namespaceOfRelease(name string, at Source) *document {
	return &document{
		content: compact.Of(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name, "labels": map[string]any{"name": name}}}),
		path:    at.Path, line: at.Line, implied: true,
	}
}

// dress: what Helm does to each object of the release.
func (u *releaseUnit) dress(r *renderer, o *Object) bool {
	if o.implied {
		return true
	}
	hooks := helmHooks(o)
	switch {
	case len(hooks) > 0 && u.release.NoHooks,
		onlyTests(hooks) && !u.release.Tests:
		return false
	}
	o.Apply.Hook = len(hooks) > 0
	o.Apply.Recreate = u.release.RollbackOnFailure
	o.Apply.NoPrune = o.annotation("helm.sh/resource-policy") == "keep" || o.crd
	if !o.Apply.Hook && !o.crd {
		o.Adds = agent.HelmMetadata(u.release.Namespace, u.release.Name)
	}
	return r.place(o, u.release.Namespace, "")
}
