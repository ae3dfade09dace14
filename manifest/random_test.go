package manifest

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
)

// randomRoots are followed beside each other: Flux's objects, a folder with kustomizations in it that a pipeline applies, and values that stand nowhere in Git.
const randomRoots = `
  - {repository: infra, path: pipeline, agent: ci}
  - {repository: infra, path: argocd, agent: argocd}` + fluxRoot

// life is a repository that people work in at random.
type life struct {
	*rand.Rand
	files map[string]string
	past  []map[string]string
}

func (l *life) one(of ...string) string { return of[l.IntN(len(of))] }

// object is one of a name that few others have.
func (l *life) object(namespace, name string) string {
	switch l.IntN(8) {
	case 0:
		return fmt.Sprintf("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: %s%s%s}\nspec: {size: %d}\n", namespace, name, l.one("", ", namespace: "+namespace), l.IntN(3))
	case 1:
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: %s}\nstringData: {color: \"%d\"}\n", name, namespace, l.IntN(3))
	case 2:
		return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s-%s, labels: {team: \"%d\"}}\n", namespace, l.one(name, name, name, "x"), l.IntN(3))
	case 3:
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: %s}\nspec: {replicas: %d, selector: {matchLabels: {app: a}}, "+
			"template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: \"a:${color:=red}\"}]}}}\n", name, namespace, l.IntN(3))
	}
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {color: \"${color:=red}\", n: \"%d\"}\n", name, namespace, l.IntN(3))
}

func (l *life) objects(namespace, names string) string {
	var list []string
	for i := range 1 + l.IntN(3) {
		list = append(list, l.object(namespace, names+fmt.Sprint(i)+l.one("", "", "a")))
	}
	return strings.Join(list, "---\n")
}

// folder writes an app's folder: files, and perhaps a kustomization.
func (l *life) folder(dir, namespace string) {
	file := l.one("x.yaml", "y.yaml")
	l.files[dir+file] = l.objects(namespace, file[:1])
	switch l.IntN(4) {
	case 0:
		delete(l.files, dir+"kustomization.yaml")
	case 1:
		l.files[dir+"kustomization.yaml"] = fmt.Sprintf("resources: [%s]\nnamespace: %s\nconfigMapGenerator: [{name: made, literals: [n=%d]}]\n", file, namespace, l.IntN(3))
	case 2:
		l.files[dir+"kustomization.yaml"] = fmt.Sprintf("resources: [../../base]\nnamePrefix: %s-\nnamespace: %s\n", namespace, namespace)
	}
}

// fluxObject writes a Flux object of an app.
func (l *life) fluxObject(app string) {
	name, kind := "cluster/"+app+".yaml", "kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization"
	spec := fmt.Sprintf("path: ./apps/%s, prune: true, sourceRef: {kind: GitRepository, name: infra}", l.one(app, app, app, app, app, app, app, app, app, "a", "nowhere"))
	switch l.IntN(6) {
	case 0:
		spec += ", targetNamespace: " + l.one("one", "two")
	case 1:
		spec += ", postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}]}"
	case 2:
		spec += ", postBuild: {substitute: {color: blue}, substituteFrom: [{kind: Secret, name: more, optional: true}]}"
	case 3:
		kind = "helm.toolkit.fluxcd.io/v2\nkind: HelmRelease"
		spec = "targetNamespace: " + app + ", install: {createNamespace: true}, chart: {spec: {chart: ./charts/web, sourceRef: {kind: GitRepository, name: infra}}}, values: {n: " + fmt.Sprint(l.IntN(3)) +
			"}, valuesFrom: [{kind: ConfigMap, name: vars, valuesKey: color, targetPath: color}]"
	}
	l.files[name] = "apiVersion: " + kind + "\nmetadata: {name: " + app + ", namespace: flux-system}\nspec: {" + spec + "}\n"
}

// step does what one commit does.
func (l *life) step() {
	app := l.one("a", "b", "c", "d")
	switch l.IntN(14) {
	case 0, 1, 2:
		l.folder("apps/"+app+"/", app)
	case 3, 4:
		l.fluxObject(app)
	case 5:
		l.files["cluster/vars.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: flux-system}\ndata: {color: \"c%d\"}\n", l.one("vars", "vars", "vars", "others"), l.IntN(4))
	case 6:
		l.files["pipeline/vars.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: more, namespace: flux-system}\nstringData: {color: \"s%d\"}\n", l.IntN(4))
	case 7:
		l.files["pipeline/crd.yaml"] = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.com}\n" +
			"spec: {group: example.com, names: {kind: Widget}, scope: " + l.one("Cluster", "Namespaced") + "}\n"
	case 8:
		l.files["base/all.yaml"] = l.object("one", "base")
		l.files["base/kustomization.yaml"] = "resources: [all.yaml]\n"
	case 9:
		l.files["charts/web/Chart.yaml"] = "apiVersion: v2\nname: web\nversion: 1.0.0\n"
		l.files["charts/web/templates/a.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web%d, namespace: {{ .Release.Namespace }}}\ndata: {n: \"{{ .Values.n }}\", color: \"{{ .Values.color }}\"}\n", l.IntN(2))
	case 10, 11:
		l.folder("pipeline/"+app+"/", "pipeline-"+app)
	case 12:
		l.files["argocd/"+app+".yaml"] = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: " + app + ", namespace: argocd}\nspec: {destination: {name: in-cluster, namespace: argo-" + app +
			"}, source: {repoURL: \"https://git.example.com/org/infra\", targetRevision: main, path: pages/" + app + "}, syncPolicy: {syncOptions: [" + l.one("CreateNamespace=true", "Validate=false") + "]}}\n"
		l.files["pages/"+app+"/x.yaml"] = l.objects("argo-"+app, "x")
		if l.IntN(3) == 0 {
			l.files["argocd/settings.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: argocd-cm, namespace: argocd}\ndata: {application.resourceTrackingMethod: " + l.one("label", "annotation") + "}\n"
		}
	case 13:
		l.disturb()
		if l.IntN(2) == 0 {
			delete(l.files, "pipeline/crd.yaml")
		}
	}
}

// disturb takes a file away, moves one, writes what is none of the agents' business, or goes back to how it was.
func (l *life) disturb() {
	names := slices.Sorted(maps.Keys(l.files))
	name := names[l.IntN(len(names))]
	switch l.IntN(4) {
	case 0:
		delete(l.files, name)
	case 1:
		l.files[strings.Replace(name, ".yaml", "-moved.yaml", 1)] = l.files[name]
		delete(l.files, name)
	case 2:
		l.files["apps/README.md"] = fmt.Sprint(l.IntN(1000))
	case 3:
		l.files = maps.Clone(l.past[l.IntN(len(l.past))])
	}
}

// live is what the repository holds after each of n commits.
func live(seed uint64, n int) []map[string]string {
	l := &life{Rand: rand.New(rand.NewPCG(seed, 1)), files: map[string]string{
		"README.md": "read me\n", "pipeline/x.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: pipeline}\n", "argocd/README.md": "read me\n", "cluster/README.md": "read me\n",
	}}
	l.files["base/all.yaml"], l.files["base/kustomization.yaml"] = l.object("one", "base"), "resources: [all.yaml]\n"
	for _, app := range []string{"a", "b", "c", "d"} {
		l.files["apps/"+app+"/z.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z, namespace: " + app + "}\ndata: {color: \"${color:=red}\"}\n"
	}
	l.past = append(l.past, maps.Clone(l.files))
	for len(l.past) < n {
		for range 1 + l.IntN(2) {
			l.step()
		}
		l.past = append(l.past, maps.Clone(l.files))
	}
	return l.past
}

// line commits one state after the other, and returns the revisions.
func (r *repo) line(states []map[string]string) []revision {
	r.t.Helper()
	var stream strings.Builder
	for _, files := range states {
		stream.WriteString("commit refs/heads/main\ncommitter Alice <alice@example.com> 1700000000 +0000\ndata 6\nchange\ndeleteall\n")
		for _, name := range slices.Sorted(maps.Keys(files)) {
			fmt.Fprintf(&stream, "M 100644 inline %s\ndata %d\n%s\n", name, len(files[name]), files[name])
		}
	}
	cmd := exec.CommandContext(r.t.Context(), "git", "fast-import", "--quiet")
	cmd.Dir, cmd.Stdin, cmd.Env = r.dir, strings.NewReader(stream.String()), append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("git fast-import: %v: %s", err, out)
	}
	var err error
	r.open, err = mirror.OpenRepository(r.t.Context(), r.dir)
	check(r.t, err)
	r.t.Cleanup(func() { _ = r.open.Close() })
	var line []revision
	for entry := range strings.Lines(r.git("log", "--reverse", "--format=%H %T", "main")) {
		commit, tree, _ := strings.Cut(strings.TrimSpace(entry), " ")
		opened, err := r.open.Tree(r.t.Context(), git.ID(tree))
		check(r.t, err)
		line = append(line, revision{git.ID(commit), opened})
	}
	return line
}

// memory keeps what was rendered.
type memory map[[sha256.Size]byte][]byte

func (m memory) Get(name [sha256.Size]byte) []byte       { return m[name] }
func (m memory) Put(name [sha256.Size]byte, text []byte) { m[name] = text }

// sameSet says what two sets do not have in common; "" if nothing.
func sameSet(a, b *Set) string {
	if have, want := lines(a), lines(b); have != want {
		return fmt.Sprintf("with the set before:\n%s\nfrom nothing:\n%s", have, want)
	}
	for i, o := range a.Objects {
		if !reflect.DeepEqual(o, b.Objects[i]) {
			return fmt.Sprintf("with the set before:\n%+v\n%s\nfrom nothing:\n%+v\n%s", o, o.Content.JSON(), b.Objects[i], b.Objects[i].Content.JSON())
		}
	}
	builds := func(s *Set) []string {
		var list []string
		for _, b := range s.Builds {
			list = append(list, fmt.Sprintf("%+v %s:%s %+v %d", b.id, b.Repository, b.Path, b.Release, len(b.Objects)))
		}
		slices.Sort(list)
		return list
	}
	if have, want := builds(a), builds(b); !slices.Equal(have, want) {
		return fmt.Sprintf("with the set before:\n%q\nfrom nothing:\n%q", have, want)
	}
	return ""
}

// Whatever people commit one after the other, what is made of each commit out of the set before is what a rendering from nothing makes: or a restart would
// change the truth. What cannot be rendered is told alike.
func TestRandomCommitsRenderAsFromNothing(t *testing.T) {
	const commits = 150
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			in := gate(t, randomRoots)
			incremental, keeping := in, in
			keeping.Keep = memory{}
			good := 0
			for i, at := range newRepo(t).line(live(seed, commits)) {
				revisions := map[string]revision{"infra": at}
				want, wrong := render(t.Context(), in, revisions)
				for name, in := range map[string]*Input{"without a cache": &incremental, "with a cache": &keeping} {
					have, err := render(t.Context(), *in, revisions)
					if fmt.Sprint(err) != fmt.Sprint(wrong) {
						t.Fatalf("commit %d, %s: with the set before: %v\nfrom nothing: %v", i, name, err, wrong)
					}
					if err != nil {
						continue
					}
					if what := sameSet(have, want); what != "" {
						t.Fatalf("commit %d, %s: %s", i, name, what)
					}
					if in.Previous = have; in.Keep != nil && i%10 == 0 {
						in.Previous = nil // as after a restart
					}
				}
				if wrong == nil {
					good++
				}
			}
			if good < commits/3 {
				t.Errorf("of %d commits %d are rendered", commits, good)
			}
		})
	}
}
