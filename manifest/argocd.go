package manifest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
)

const argoGroup = "argoproj.io"

// application is what matters of an Argo CD Application (argoproj.io/v1alpha1).
type application struct {
	Spec applicationSpec `json:"spec"`
}

type applicationSpec struct {
	Source      *argoSource  `json:"source,omitempty"`
	Sources     []argoSource `json:"sources,omitempty"`
	Destination struct {
		Server    string `json:"server,omitempty"`
		Name      string `json:"name,omitempty"`
		Namespace string `json:"namespace,omitempty"`
	} `json:"destination"`
	SyncPolicy struct {
		SyncOptions              []string       `json:"syncOptions,omitempty"`
		ManagedNamespaceMetadata commonMetadata `json:"managedNamespaceMetadata"`
	} `json:"syncPolicy"`
	IgnoreDifferences []argoIgnore `json:"ignoreDifferences,omitempty"`
}

type argoSource struct {
	RepoURL        string         `json:"repoURL"`
	Path           string         `json:"path,omitempty"`
	TargetRevision string         `json:"targetRevision,omitempty"`
	Chart          string         `json:"chart,omitempty"`
	Ref            string         `json:"ref,omitempty"`
	Directory      *argoDirectory `json:"directory,omitempty"`
	Kustomize      map[string]any `json:"kustomize,omitempty"`
	Helm           map[string]any `json:"helm,omitempty"`
	Plugin         map[string]any `json:"plugin,omitempty"`
}

type argoDirectory struct {
	Recurse bool   `json:"recurse,omitempty"`
	Include string `json:"include,omitempty"`
	Exclude string `json:"exclude,omitempty"`
}

type argoIgnore struct {
	Group                 string   `json:"group,omitempty"`
	Kind                  string   `json:"kind"`
	Name                  string   `json:"name,omitempty"`
	Namespace             string   `json:"namespace,omitempty"`
	JSONPointers          []string `json:"jsonPointers,omitempty"`
	JQPathExpressions     []string `json:"jqPathExpressions,omitempty"`
	ManagedFieldsManagers []string `json:"managedFieldsManagers,omitempty"`
}

// applicationUnit is an Argo CD Application.
type applicationUnit struct {
	self     about
	spec     applicationSpec
	instance string // the name under which it tracks objects
}

func (r *renderer) meetApplication(o *Object, above *about) bool {
	a := r.agentWith(v1alpha1.PresetArgoCD, o.Owner.Agent)
	if a == nil {
		return false
	}
	var app application
	if !r.decodeSpec(o, &app) {
		return true
	}
	if o.Source.Repository != "" && !r.ours(app.Spec.Destination.Server, app.Spec.Destination.Name) {
		return true // found in Git, and for another cluster
	}
	u := &applicationUnit{
		self:     about{owner: agent.Owner{Agent: a.Name, Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}, at: o.Source, depth: above.depth + 1},
		spec:     app.Spec,
		instance: o.Name,
	}
	if home := argoNamespace(a); o.Namespace != "" && o.Namespace != home {
		u.instance = o.Namespace + "_" + o.Name
	}
	u.self.spec = specText(app.Spec)
	r.add(u)
	return true
}

// ours tells whether a destination is the cluster that the gate guards.
func (r *renderer) ours(server, name string) bool {
	return server == "https://kubernetes.default.svc" || name == "in-cluster" || name != "" && name == r.in.Gate.Cluster || server == "" && name == ""
}

// argoNamespace is where Argo CD itself runs: that of its service account.
func argoNamespace(a *v1alpha1.Agent) string {
	for _, user := range a.Users {
		if rest, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
			namespace, _, _ := strings.Cut(rest, ":")
			return namespace
		}
	}
	return "argocd"
}

func (u *applicationUnit) about() *about                { return &u.self }
func (u *applicationUnit) waits(*renderer, bool) string { return "" }
func (u *applicationUnit) taken(*renderer) string       { return "" }

func (u *applicationUnit) read(r *renderer, b *Build) error {
	sources := u.spec.Sources
	if len(sources) == 0 && u.spec.Source != nil {
		sources = []argoSource{*u.spec.Source}
	}
	if len(sources) == 0 {
		r.problem(u.self.at, "%s has neither spec.source nor spec.sources", u.self.name())
		return errReported
	}
	for _, s := range sources {
		if err := u.readSource(r, b, s); err != nil {
			return err
		}
	}
	return nil
}

// unfollow notes a source that is not followed: from Git it is told, in the configuration it is a mistake.
func (r *renderer) unfollow(a *about, b *Build, format string, args ...any) error {
	what := fmt.Sprintf("%s is not followed: %s", a.name(), fmt.Sprintf(format, args...))
	if a.at.Repository == "" {
		r.problem(a.at, "%s", what)
		return errReported
	}
	b.unfollows = append(b.unfollows, Problem{a.at.Repository, a.at.Path, a.at.Line, what})
	return nil
}

func (u *applicationUnit) readSource(r *renderer, b *Build, s argoSource) error {
	t := r.repositoryOf(s.RepoURL)
	switch {
	case s.Chart != "":
		return r.unfollow(&u.self, b, "chart %s comes from the network, not from a verified commit", s.Chart)
	case t == nil:
		return r.unfollow(&u.self, b, "%s is not the URL or an alias of a trusted repository", s.RepoURL)
	case s.Plugin != nil:
		return r.unfollow(&u.self, b, "a config management plugin would run programs")
	}
	if revision := s.TargetRevision; revision != "" && revision != "HEAD" {
		if why := r.follows(t, revision); why != "" {
			return r.unfollow(&u.self, b, "%s", why)
		}
	}
	p, err := git.ParsePath(s.Path)
	if err != nil {
		r.problem(u.self.at, "%s: path: %v", u.self.name(), err)
		return errReported
	}
	at := file{t.Name, p}
	b.Repository, b.Path = at.repository, at.path
	id, err := r.input(b, at)
	if err != nil {
		return err
	}
	if id == "" {
		r.problem(u.self.at, "%s: no folder %s in repository %s", u.self.name(), p, t.Name)
		return errReported
	}
	return u.readFolder(r, b, at, s)
}

func (u *applicationUnit) readFolder(r *renderer, b *Build, at file, s argoSource) error {
	kustomization, err := r.hasKustomization(at)
	if err != nil {
		return err
	}
	switch {
	case s.Directory == nil && (s.Kustomize != nil || kustomization):
		return r.kustomize(b, at)
	case s.Directory == nil && s.Helm != nil:
		return r.unfollow(&u.self, b, "Helm")
	}
	rules := folderRules{extensions: []string{".yaml", ".yml", ".json"}, lenient: true, followsLinks: true}
	if d := s.Directory; d != nil {
		rules.recurse = d.Recurse
		rules.skip = func(p git.Path, folder bool) bool {
			below := strings.TrimPrefix(string(p), string(at.path)+"/")
			return !folder && (d.Exclude != "" && matchesGlob(d.Exclude, below) || d.Include != "" && !matchesGlob(d.Include, below))
		}
	}
	return r.readFolder(b, at, rules)
}

// matchesGlob is Argo CD's glob: * stands for any text but slashes, {a,b} for either.
func matchesGlob(glob, name string) bool {
	open := strings.IndexByte(glob, '{')
	end := strings.IndexByte(glob, '}')
	if open >= 0 && end > open {
		return slices.ContainsFunc(strings.Split(glob[open+1:end], ","), func(alternative string) bool {
			return matchesGlob(glob[:open]+alternative+glob[end+1:], name)
		})
	}
	ok, err := path.Match(glob, name)
	return ok && err == nil
}

// dress: what application-controller does to each object before it applies it.
func (u *applicationUnit) dress(r *renderer, o *Object) bool {
	if !r.place(o, u.spec.Destination.Namespace, fmt.Sprintf(", and %s has no destination.namespace", u.self.name())) {
		return false
	}
	hooks := o.annotation("argocd.argoproj.io/hook")
	if hooks == "" {
		hooks = o.annotation("helm.sh/hook")
	}
	if hooks == "Skip" {
		return false
	}
	o.Apply.Hook = hooks != "" && hooks != "crd-install"
	options := u.options(o)
	o.Apply.LastApplied = !options["ServerSideApply=true"] && !options["Replace=true"]
	o.Apply.Recreate = options["Force=true"]
	o.Apply.NoPrune = options["Prune=false"]
	if o.Key.Group == "apiextensions.k8s.io" && o.Kind == "CustomResourceDefinition" {
		return true // never tracked
	}
	namespace := o.Namespace
	if namespace == "" {
		namespace = u.spec.Destination.Namespace
	}
	o.Adds = agent.ArgoCDMarks(agent.TrackByAnnotation, "app.kubernetes.io/instance", "", u.instance, o.Group, o.Kind, namespace, o.Name)
	return true
}

// options are the sync options that hold for an object: its own over the application's.
func (u *applicationUnit) options(o *Object) map[string]bool {
	options := map[string]bool{}
	set := func(option string) {
		name, _, _ := strings.Cut(option, "=")
		delete(options, name+"=true")
		delete(options, name+"=false")
		options[option] = true
	}
	for _, option := range u.spec.SyncPolicy.SyncOptions {
		set(option)
	}
	for option := range strings.SplitSeq(o.annotation("argocd.argoproj.io/sync-options"), ",") {
		if option = strings.TrimSpace(option); option != "" {
			set(option)
		}
	}
	return options
}
