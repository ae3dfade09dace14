package admit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
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
	declare := func(kind string, texts ...string) {
		revision := w.snapshot("c1", testTime).Revisions["shop"]
		var entries []*snapshot.Entry
		for _, text := range texts {
			content := object(t, text)
			acc, err := w.types.Declare(account.Declaration{Content: content})
			if err != nil && !errors.Is(err, account.ErrNoSchema) {
				t.Fatal(err)
			}
			m := manifest.Object{
				Key: live.KeyOf(content), Content: content, Source: manifest.Source{Repository: "shop", Path: "apps/set.yaml", Line: 1},
				Owner: agent.Owner{Agent: "argo", Group: "argoproj.io", Kind: kind, Namespace: "argocd", Name: "carts"},
			}
			entries = append(entries, &snapshot.Entry{Object: m, Account: acc, Revision: revision, Changed: revision.Commit})
		}
		w.Truth.Current = snapshot.New(snapshot.Parts{Revisions: map[string]*snapshot.Revision{"shop": revision}, Types: w.types, Published: testTime.Add(-time.Minute)}, entries)
	}
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
