package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gobwas/glob"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/git"
)

const (
	argoGroup       = "argoproj.io"
	argoSyncOptions = "argocd.argoproj.io/sync-options"
)

// application is what matters of an Argo CD Application (argoproj.io/v1alpha1).
type application struct {
	Spec applicationSpec `json:"spec"`
}

type applicationSpec struct {
	Project     string       `json:"project,omitempty"`
	Source      *argoSource  `json:"source,omitempty"`
	Sources     []argoSource `json:"sources,omitempty"`
	Destination struct {
		Server    string `json:"server,omitempty"`
		Name      string `json:"name,omitempty"`
		Namespace string `json:"namespace,omitempty"`
	} `json:"destination"`
	SyncPolicy struct {
		SyncOptions              []string        `json:"syncOptions,omitempty"`
		ManagedNamespaceMetadata *commonMetadata `json:"managedNamespaceMetadata,omitempty"`
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
	Kustomize      *argoKustomize `json:"kustomize,omitempty"`
	Helm           *argoHelm      `json:"helm,omitempty"`
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
	if r.addAgain(o, above) {
		return true
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
	r.addOf(o, u)
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

// taken: the commit itself may stand in what is rendered.
func (u *applicationUnit) taken(r *renderer) string {
	taken := ""
	for _, s := range u.spec.allSources() {
		if s.Kustomize != nil && s.Kustomize.CommonAnnotationsEnvsubst || s.Helm != nil && strings.Contains(specText(s.Helm), "ARGOCD_APP_REVISION") {
			if t := r.repositoryOf(s.RepoURL); t != nil {
				taken += string(r.revisions[t.Name].commit) + "\n"
			}
		}
	}
	if u.charts(r) {
		taken += fmt.Sprintf("%q %q", r.in.Gate.Kubernetes, r.declaredVersions())
	}
	return taken
}

// charts tells whether Helm is asked for one of the sources.
func (u *applicationUnit) charts(r *renderer) bool {
	return slices.ContainsFunc(u.spec.allSources(), func(s argoSource) bool {
		if s.Chart != "" {
			return true
		}
		t, _ := r.argoRepository(s)
		p, err := git.ParsePath(s.Path)
		if t == nil || err != nil || s.Directory != nil || s.Kustomize != nil {
			return false
		}
		chart, err := r.usesChart(file{t.Name, p})
		return err == nil && (chart || s.Helm != nil)
	})
}

func (s *applicationSpec) allSources() []argoSource {
	if len(s.Sources) == 0 && s.Source != nil {
		return []argoSource{*s.Source}
	}
	return s.Sources
}

func (u *applicationUnit) read(r *renderer, b *Build) error {
	sources := u.spec.allSources()
	if len(sources) == 0 {
		r.problem(u.self.at, "%s has neither spec.source nor spec.sources", u.self.name())
		return errReported
	}
	for _, s := range sources {
		if s.Ref != "" && s.Path == "" && s.Chart == "" {
			continue // only named by the values files of others
		}
		if err := u.readSource(r, b, s); err != nil {
			return err
		}
	}
	u.namespace(b)
	return nil
}

// namespace declares the destination's namespace where the application asks Argo CD to make it (controller/sync_namespace.go). It yields
// to one that is declared.
func (u *applicationUnit) namespace(b *Build) {
	name := u.spec.Destination.Namespace
	if name == "" || !slices.Contains(u.spec.SyncPolicy.SyncOptions, "CreateNamespace=true") {
		return
	}
	metadata := map[string]any{"name": name}
	if m := u.spec.SyncPolicy.ManagedNamespaceMetadata; m != nil {
		mergeStrings(metadata, "labels", m.Labels)
		mergeStrings(metadata, "annotations", m.Annotations)
		mergeStrings(metadata, "annotations", map[string]string{argoSyncOptions: "ServerSideApply=true"})
	}
	b.documents = append(b.documents, &document{
		content: compact.Of(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}),
		path:    u.self.at.Path, line: u.self.at.Line, implied: true,
	})
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
	switch {
	case s.Chart != "":
		return u.readPacked(r, b, s)
	case s.Plugin != nil:
		return r.unfollow(&u.self, b, "a config management plugin would run programs")
	}
	t, why := r.argoRepository(s)
	if t == nil {
		return r.unfollow(&u.self, b, "%s", why)
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

// argoRepository is the repository of a source, nil and why if it is not followed.
func (r *renderer) argoRepository(s argoSource) (*v1alpha1.TrustedRepository, string) {
	t := r.repositoryOf(s.RepoURL)
	if t == nil {
		return nil, s.RepoURL + " is not the URL or an alias of a trusted repository"
	}
	if revision := s.TargetRevision; revision != "" && revision != "HEAD" {
		return r.follow(t, revision)
	}
	return t, ""
}

func (u *applicationUnit) readFolder(r *renderer, b *Build, at file, s argoSource) error {
	overridden, err := u.override(r, b, at, &s)
	if err != nil {
		return err
	}
	b.shaped = b.shaped || overridden || s.Kustomize != nil || s.Helm != nil
	kustomization, err := r.hasKustomization(at)
	if err != nil {
		return err
	}
	chart, err := r.usesChart(at)
	switch {
	case err != nil:
		return err
	case s.Directory == nil && s.Kustomize == nil && (s.Helm != nil || chart): // Argo CD looks for a chart first
		return u.helm(r, b, at, s.Helm)
	case s.Directory == nil && (s.Kustomize != nil || kustomization):
		return u.kustomize(r, b, at, s.Kustomize)
	}
	rules := folderRules{extensions: []string{".yaml", ".yml", ".json"}, lenient: true, followsLinks: true, refused: ".jsonnet"}
	if d := s.Directory; d != nil {
		rules.recurse = d.Recurse
		rules.skip = func(p git.Path, folder bool) (bool, error) {
			below := strings.TrimPrefix(string(p), string(at.path)+"/")
			return !folder && (d.Exclude != "" && matchesGlob(d.Exclude, below) || d.Include != "" && !matchesGlob(d.Include, below)), nil
		}
	}
	return r.readFolder(b, at, rules)
}

// override lays what the folder's .argocd-source.yaml and .argocd-source-APPLICATION.yaml say over the source (parameter overrides that Argo CD
// or its image updater keeps in Git).
func (u *applicationUnit) override(r *renderer, b *Build, at file, s *argoSource) (bool, error) {
	found := false
	for _, name := range []string{".argocd-source.yaml", ".argocd-source-" + u.self.owner.Name + ".yaml"} {
		f := file{at.repository, join(at.path, name)}
		id, err := r.fileID(f)
		if err != nil {
			return false, err
		}
		if id == "" {
			continue
		}
		docs, err := r.readFile(b, f, folderRules{})
		if err != nil {
			return false, err
		}
		for _, doc := range docs {
			if err := mergeInto(s, doc.content.Map()); err != nil {
				r.problem(Source{Repository: f.repository, Path: f.path, Line: doc.line}, "%v", err)
				return false, errReported
			}
			found = true
		}
	}
	return found, nil
}

// matchesGlob is Argo CD's glob, in which a star stands for slashes too (util/glob). A pattern that is none matches nothing.
func matchesGlob(pattern, name string) bool {
	g, err := glob.Compile(pattern)
	return err == nil && g.Match(name)
}

// dress: what application-controller does to each object before it applies it.
func (u *applicationUnit) dress(r *renderer, o *Object) bool {
	if !r.place(o, u.spec.Destination.Namespace, fmt.Sprintf(", and %s has no destination.namespace", u.self.name())) {
		return false
	}
	hook := o.annotation("argocd.argoproj.io/hook")
	if ofHelm := helmHooks(o); hook == "" && len(ofHelm) > 0 {
		// Argo CD makes some of Helm's hooks its own, and leaves the others (tests, rollbacks) out.
		if !slices.ContainsFunc(ofHelm, func(h string) bool { return argoHooksOfHelm(h) }) {
			return false
		}
		hook = ofHelm[0]
	}
	if hook == "Skip" {
		return false
	}
	o.Apply.Hook = hook != ""
	options := u.options(o)
	o.Apply.LastApplied = !options["Replace=true"]
	o.Apply.Reconciled = !options["Replace=true"] && !options["ServerSideApply=true"] && o.Group == "rbac.authorization.k8s.io"
	o.Apply.Recreate = options["Force=true"]
	o.Apply.NoPrune = options["Prune=false"]
	if options["RespectIgnoreDifferences=true"] {
		o.Apply.Ignored = u.ignored(o)
	}
	if !o.implied && !(o.Group == "apiextensions.k8s.io" && o.Kind == "CustomResourceDefinition") { // those are never tracked
		o.Adds = u.marks(r, o)
	}
	if o.Apply.Hook {
		o.Adds.Finalizers = []string{argoHookFinalizer} // newer ones set it, but for hooks of a deletion
	}
	return true
}

const argoHookFinalizer = "argocd.argoproj.io/hook-finalizer"

// marks are those by which Argo CD knows an object. It marks what it has rendered, before a name is generated.
func (u *applicationUnit) marks(r *renderer, o *Object) agent.Metadata {
	namespace, name := o.Namespace, o.Name
	if namespace == "" {
		namespace = u.spec.Destination.Namespace
	}
	if o.Apply.GenerateName {
		name = ""
	}
	t := r.tracking(u.self.owner.Agent)
	return agent.ArgoCDMarks(t.method, t.labelKey, t.installation, u.instance, o.Group, o.Kind, namespace, name)
}

// ignored are the fields whose live values Argo CD keeps for an object.
func (u *applicationUnit) ignored(o *Object) []string {
	var fields []string
	for _, d := range u.spec.IgnoreDifferences {
		if d.Kind != "*" && d.Kind != o.Kind || d.Group != "*" && d.Group != o.Group || d.Name != "" && d.Name != o.Name || d.Namespace != "" && d.Namespace != o.Namespace {
			continue
		}
		fields = append(fields, d.fields()...)
	}
	return fields
}

// fields are the field paths that a rule names.
func (d argoIgnore) fields() []string {
	var fields []string
	for _, p := range d.JSONPointers {
		fields = append(fields, fieldOfPointer(p))
	}
	for _, p := range d.JQPathExpressions {
		if f, ok := fieldOfJQ(p); ok {
			fields = append(fields, f)
		}
	}
	return fields
}

func argoHooksOfHelm(hook string) bool {
	switch hook {
	case "pre-install", "pre-upgrade", "post-install", "post-upgrade", "pre-delete", "post-delete":
		return true
	}
	return false
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
	for option := range strings.SplitSeq(o.annotation(argoSyncOptions), ",") {
		if option = strings.TrimSpace(option); option != "" {
			set(option)
		}
	}
	return options
}
