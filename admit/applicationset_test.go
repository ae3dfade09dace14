package admit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// Whoever can make an Application as Argo CD does makes Argo CD apply what it names: so Applications come from Git, also those that a controller writes.
func TestApplicationsOfASetAreThoseThatGitGenerates(t *testing.T) {
	w := newWorld(t, testConfig)
	w.loose = true
	const application = `
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: cart-eu, namespace: argocd, finalizers: [resources-finalizer.argocd.argoproj.io]}
spec: {project: default, source: {repoURL: "https://git.example.org/shop.git", path: apps/cart, targetRevision: main}, destination: {name: in-cluster, namespace: shop}}
`
	const configMap = "{apiVersion: v1, kind: ConfigMap, metadata: {name: cart, namespace: shop}, data: {color: blue}}"
	declare := func(kind string, texts ...string) { w.declareOf(kind, agent.Apply{}, texts...) }
	declare("ApplicationSet", application, configMap)
	sets := serviceAccount("argocd", "argocd-applicationset-controller")
	const owner = `ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, name: carts, uid: u-1, controller: true, blockOwnerDeletion: true}], `
	made := func(changes ...string) map[string]any {
		text := strings.Replace(application, "metadata: {", "metadata: {uid: u-2, creationTimestamp: 2026-11-21T11:00:00Z, "+owner, 1)
		return object(t, strings.NewReplacer(changes...).Replace(text))
	}
	asMade := made()
	other := func(text string) string { return strings.ReplaceAll(text, "cart-eu", "mine") }

	d := w.want("an Application that its set generates", request(sets, nil, asMade), Allow, v1alpha1.ReasonFromGit)
	if d.Agent != "argo" || d.Entry == nil {
		t.Errorf("provenance is missing: %+v", d)
	}
	w.want("brought back to it", request(sets, made("apps/cart", "apps/old"), asMade), Allow, v1alpha1.ReasonFromGit)
	w.want("with another path", request(sets, nil, made("apps/cart", "apps/mine")), Deny, v1alpha1.ReasonFieldsDiffer, "spec.source.path")
	w.want("with manifests to apply instead of Git's", request(sets, nil, made("spec: {project", "operation: {sync: {manifests: [\"{}\"]}}\nspec: {project")), Deny, v1alpha1.ReasonFieldsDiffer, "operation")
	w.want("of no set", request(sets, nil, made(owner, "")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("of another set", request(sets, nil, made("name: carts", "name: others")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("with an owner more", request(sets, nil, made("blockOwnerDeletion: true}]", "blockOwnerDeletion: true}, {apiVersion: v1, kind: ConfigMap, name: x, uid: y}]")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("that Git does not generate", request(sets, nil, object(t, other("{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: cart-eu, namespace: argocd, "+owner+"}, spec: {}}"))), Deny, v1alpha1.ReasonNotDeclared)
	w.want("deleted while Git generates it", request(sets, asMade, nil), Deny, v1alpha1.ReasonStillDeclared)
	w.want("anything else that Git declares for Argo CD", request(sets, nil, object(t, configMap)), Deny, v1alpha1.ReasonNotDeclared, "nothing else")
	w.want("the status of the set", request(sets, object(t, "{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, metadata: {name: carts, namespace: argocd}}"),
		object(t, "{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, metadata: {name: carts, namespace: argocd}, status: {conditions: []}}")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a set itself", request(sets, nil, object(t, "{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, metadata: {name: carts, namespace: argocd}}")), Deny, v1alpha1.ReasonNotDeclared)

	noCredential := sets
	noCredential.UID = ""
	w.want("by somebody who impersonates it", request(noCredential, nil, asMade), Deny, v1alpha1.ReasonImpersonated)
	w.want("by a controller of that name elsewhere", request(serviceAccount("mine", "argocd-applicationset-controller"), nil, asMade), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("a token of it", tokenOf(sets, request(carol, nil, object(t, "{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {name: argocd-applicationset-controller, namespace: argocd}}"))),
		Deny, v1alpha1.ReasonAgentIdentityGuarded)

	declare("Application", application)
	w.want("what an Application declares, not a set", request(sets, nil, asMade), Deny, v1alpha1.ReasonNotDeclared)
	declare("ApplicationSet")
	w.want("deleted when Git generates it no more", request(sets, asMade, nil), Allow, v1alpha1.ReasonPruned)
	w.want("deleted, though no set made it", request(sets, made(owner, ""), nil), Deny, v1alpha1.ReasonNotDeclared)
}

// tokenOf makes a request one for a token of a service account.
func tokenOf(u User, r *Request) *Request {
	namespace, name, _ := u.serviceAccount()
	r.Resource = GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	r.Subresource, r.Namespace, r.Name = "token", namespace, name
	return r
}

// declareOf makes objects the ones that Argo CD's object carts of a kind declares.
func (w *world) declareOf(kind string, apply agent.Apply, texts ...string) {
	w.t.Helper()
	w.declareWith(kind, apply, agent.Metadata{}, texts...)
}

// declareWith is declareOf with what the agent adds.
func (w *world) declareWith(kind string, apply agent.Apply, adds agent.Metadata, texts ...string) {
	w.t.Helper()
	revision := w.snapshot("c1", testTime).Revisions["shop"]
	var entries []*snapshot.Entry
	for _, text := range texts {
		content := object(w.t, text)
		key := live.KeyOf(content)
		acc, err := w.types.Declare(account.Declaration{Content: compact.Of(content), Labels: adds.Labels, Annotations: adds.Annotations, Finalizers: adds.Finalizers,
			LastApplied: apply.LastApplied, Ignored: apply.Ignored, Normal: agent.Normal(key.Group, key.Kind)})
		if err != nil && !errors.Is(err, account.ErrNoSchema) {
			w.t.Fatal(err)
		}
		m := manifest.Object{
			Key: key, Content: compact.Of(content), Source: manifest.Source{Repository: "shop", Path: "apps/set.yaml", Line: 1}, Apply: apply,
			Owner: agent.Owner{Agent: "argo", Group: "argoproj.io", Kind: kind, Namespace: "argocd", Name: "carts"},
		}
		entries = append(entries, &snapshot.Entry{Object: m, Account: acc, Revision: revision, Changed: revision.Commit})
	}
	w.Truth.Current = snapshot.New(snapshot.Parts{Revisions: map[string]*snapshot.Revision{"shop": revision}, Types: w.types, Published: testTime.Add(-time.Minute)}, entries)
}

// Argo CD's controllers write the whole of what they have read into Go types: what says nothing goes and comes.
func TestArgoCDWritesItsKindsAsItReadsThem(t *testing.T) {
	w := newWorld(t, testConfig)
	w.loose = true
	sets := serviceAccount("argocd", "argocd-applicationset-controller")
	const (
		meta  = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: cart-eu, namespace: argocd, finalizers: [resources-finalizer.argocd.argoproj.io]%}\n"
		owner = ", uid: u-2, ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: ApplicationSet, name: carts, uid: u-1, controller: true, blockOwnerDeletion: true}]"
		spec  = "spec: {project: default, source: {repoURL: r, path: p, directory: {recurse: true}}, destination: {name: in-cluster}, syncPolicy: {automated: {prune: true, selfHeal: false}, syncOptions: [A=true], retry: {limit: 5}}}"
		typed = "spec: {project: default, source: {repoURL: r, path: p, directory: {recurse: true, jsonnet: {}}}, destination: {name: in-cluster}, syncPolicy: {automated: {prune: true}, syncOptions: [A=true], retry: {limit: 5}}}"
		fresh = "\nstatus: {health: {}, summary: {}, sourceHydrator: {}, sync: {status: '', comparedTo: {destination: {}, source: {repoURL: ''}}}}"
	)
	app := func(ownerText, text string, changes ...string) map[string]any {
		return object(t, strings.NewReplacer(changes...).Replace(strings.Replace(meta, "%", ownerText, 1)+text))
	}
	w.declareOf("ApplicationSet", agent.Apply{}, strings.Replace(meta, "%", "", 1)+spec)
	made := app(owner, typed)
	w.want("made", request(sets, nil, app(owner, typed+fresh)), Allow, v1alpha1.ReasonFromGit)
	w.want("made with a status that says something", request(sets, nil, app(owner, typed+"\nstatus: {sync: {status: Synced}}")), Deny, v1alpha1.ReasonFieldsDiffer, "status.sync.status")
	w.want("switched off, without a rolling sync", request(sets, made, app(owner, typed, "automated: {prune: true}, ", "")), Deny, v1alpha1.ReasonFieldsDiffer, "automated")
	w.want("synced by it, without a rolling sync", request(sets, made, app(owner, typed+"\noperation: {sync: {prune: true}}")), Deny, v1alpha1.ReasonFieldsDiffer, "operation")
	w.want("let go while it is generated", request(sets, made, app(", uid: u-2", typed)), Deny, v1alpha1.ReasonNotDeclared)
	drifted := app(owner, typed, "path: p", "path: old")
	w.want("with a drifted path that stays", request(sets, drifted, app(owner, typed, "path: p", "path: old", "limit: 5", "limit: 6")), Deny, v1alpha1.ReasonFieldsDiffer, "path")

	w.declareOf("ApplicationSet", agent.Apply{Ignored: []string{"spec.source.path**"}}, strings.Replace(meta, "%", "", 1)+spec)
	w.want("with a path that ignoreApplicationDifferences leaves", request(sets, app(owner, typed, "path: p", "path: old", "limit: 5", "limit: 6"), drifted), Allow, v1alpha1.ReasonFromGit)
	w.want("with another path than the one that it leaves", request(sets, drifted, app(owner, typed, "path: p", "path: mine")), Deny, v1alpha1.ReasonFieldsDiffer, "path")

	w.declareOf("ApplicationSet", agent.Apply{Rolling: true}, strings.Replace(meta, "%", "", 1)+spec)
	off := app(owner, typed, "automated: {prune: true}, ", "")
	sync := func(what string) map[string]any {
		return app(owner, typed+"\noperation: {initiatedBy: {username: applicationset-controller, automated: true}, info: [{name: Reason, value: x}], retry: {limit: 5}, sync: "+what+"}", "automated: {prune: true}, ", "")
	}
	w.want("rolling: made without automation", request(sets, nil, off), Allow, v1alpha1.ReasonFromGit)
	w.want("rolling: made with automation switched off", request(sets, nil, app(owner, typed, "{prune: true}", "{prune: true, enabled: false}")), Allow, v1alpha1.ReasonFromGit)
	w.want("rolling: with another automation", request(sets, nil, app(owner, typed, "{prune: true}", "{prune: true, allowEmpty: true, enabled: false}")), Deny, v1alpha1.ReasonFieldsDiffer, "allowEmpty")
	w.want("rolling: with another path", request(sets, nil, app(owner, typed, "path: p", "path: q", "automated: {prune: true}, ", "")), Deny, v1alpha1.ReasonFieldsDiffer, "path")
	w.want("rolling: a step", request(sets, off, sync("{prune: true, syncOptions: [A=true]}")), Allow, v1alpha1.ReasonFromGit)
	for _, other := range []string{"{manifests: ['{}']}", "{revision: other}", "{source: {repoURL: x}}", "{syncOptions: [B=true]}", "{resources: [{kind: Pod, name: x}]}", "x"} {
		w.want("rolling: a sync of "+other, request(sets, off, sync(other)), Deny, v1alpha1.ReasonFieldsDiffer, "operation")
	}

	w.declareOf("ApplicationSet", agent.Apply{})
	w.want("a dropped one without its finalizer", request(sets, made, app(owner, typed, "finalizers: [resources-finalizer.argocd.argoproj.io]", "finalizers: []")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a dropped one that its set leaves behind", request(sets, made, app(", uid: u-2", typed)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("a dropped one with another owner", request(sets, made, app(owner, typed, "name: carts", "name: mine")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("a dropped one with another path", request(sets, made, app(owner, typed, "path: p", "path: q")), Deny, v1alpha1.ReasonNotDeclared)

	set := func(annotations, text string) map[string]any {
		return object(t, "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: carts, namespace: argocd"+annotations+"}\n"+text)
	}
	const (
		given = "spec: {generators: [{list: {elements: [{a: b}]}}], template: {metadata: {name: x}, spec: {project: default}}}"
		read  = "spec: {generators: [{list: {elements: [{a: b}], template: {metadata: {}, spec: {destination: {}, project: ''}}}}], template: {metadata: {name: x}, spec: {project: default, destination: {}}}}"
		asked = ", annotations: {argocd.argoproj.io/application-set-refresh: 'true'}"
	)
	w.want("a set that a push refreshes", request(sets, set("", given), set(asked, read)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("and that is done", request(sets, set(asked, given), set("", read)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("with other elements", request(sets, set(asked, given), set("", strings.Replace(read, "a: b", "a: c", 1))), Deny, v1alpha1.ReasonNotDeclared)

	w.declareOf("Application", agent.Apply{}, strings.Replace(meta, "%", "", 1)+spec)
	raw := app("", spec)
	w.want("application-controller starts a sync", request(argo, raw, app("", typed+"\noperation: {sync: {revision: abc}}")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("application-controller starts a sync of something else", request(argo, raw, app("", typed+"\noperation: {sync: {}}", "path: p", "path: q")), Deny, v1alpha1.ReasonFieldsDiffer, "path")
	w.want("somebody else does", request(carol, raw, app("", typed+"\noperation: {sync: {revision: abc}}")), Deny, v1alpha1.ReasonNotFromSyncAgent)
}
