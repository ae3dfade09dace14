package admit

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
)

// Argo CD lets `kubectl auth reconcile` go before its apply: the union of what was there and what is declared passes, and nothing that is neither.
func TestArgoCDReconcilesRBACFirst(t *testing.T) {
	w := newWorld(t, testConfig)
	const role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reader, namespace: shop}\nrules: [{apiGroups: [''], resources: [pods, services], verbs: [get, list]}%]"
	const binding = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: reader, namespace: shop}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}\n" +
		"subjects: [{kind: Group, name: devs, apiGroup: rbac.authorization.k8s.io}, {kind: ServiceAccount, name: cart, namespace: shop}]"
	declare := func(apply agent.Apply) { w.declareOf("Application", apply, strings.Replace(role, "%", "", 1), binding) }
	declare(agent.Apply{LastApplied: true, Reconciled: true})
	rules := func(list string) map[string]any {
		return object(t, strings.Split(role, "rules:")[0]+"rules: ["+list+"]")
	}
	subjectsOf := func(list string) map[string]any {
		return object(t, strings.Split(binding, "subjects:")[0]+"subjects: ["+list+"]")
	}
	const (
		before = "{apiGroups: [''], resources: [pods, services], verbs: [get]}, {apiGroups: [''], resources: [secrets], verbs: [get]}"
		list   = ", {apiGroups: [''], resources: [pods], verbs: [list]}, {apiGroups: [''], resources: [services], verbs: [list]}"
	)
	w.want("the missing permissions come", request(argo, rules(before), rules(before+list)), Allow, v1alpha1.ReasonFromGit)
	w.want("one of them is missing", request(argo, rules(before), rules(before+", {apiGroups: [''], resources: [pods], verbs: [list]}")), Deny, v1alpha1.ReasonFieldsDiffer, "rules")
	w.want("one that is not declared comes with them", request(argo, rules(before), rules(before+list+", {apiGroups: [''], resources: [pods], verbs: [delete]}")), Deny, v1alpha1.ReasonFieldsDiffer, "rules")
	w.want("one that is wider", request(argo, rules(before), rules(before+list+", {apiGroups: ['*'], resources: [pods], verbs: [list]}")), Deny, v1alpha1.ReasonFieldsDiffer, "rules")
	w.want("an old one is changed on the way", request(argo, rules(before), rules(strings.Replace(before, "secrets], verbs: [get]", "secrets], verbs: [list]", 1)+list)), Deny, v1alpha1.ReasonFieldsDiffer, "rules")
	w.want("nothing comes, but for a label", request(argo, rules(before), object(t, strings.Replace(strings.Split(role, "rules:")[0], "{name", "{labels: {a: b}, name", 1)+"rules: ["+before+"]")), Deny, v1alpha1.ReasonFieldsDiffer, "rules")
	all := "{apiGroups: ['*'], resources: ['*'], verbs: ['*']}"
	w.want("all was allowed, and a permission comes twice", request(argo, rules(all), rules(all+list)), Allow, v1alpha1.ReasonFromGit)
	w.want("then the apply", request(argo, rules(before+list), rules("{apiGroups: [''], resources: [pods, services], verbs: [get, list]}")), Allow, v1alpha1.ReasonFromGit)

	const devs, cartAccount, ops = "{kind: Group, name: devs, apiGroup: rbac.authorization.k8s.io}", "{kind: ServiceAccount, name: cart, namespace: shop}", "{kind: Group, name: ops, apiGroup: rbac.authorization.k8s.io}"
	w.want("the missing subject comes", request(argo, subjectsOf(ops+", "+devs), subjectsOf(ops+", "+devs+", "+cartAccount)), Allow, v1alpha1.ReasonFromGit)
	w.want("with another one", request(argo, subjectsOf(devs), subjectsOf(devs+", "+cartAccount+", "+ops)), Deny, v1alpha1.ReasonFieldsDiffer, "subjects")
	w.want("that of another namespace", request(argo, subjectsOf(devs), subjectsOf(devs+", {kind: ServiceAccount, name: cart, namespace: mine}")), Deny, v1alpha1.ReasonFieldsDiffer, "subjects")
	other := object(t, strings.Replace(binding, "name: reader}\nsub", "name: writer}\nsub", 1))
	w.want("a binding of another role is deleted", request(argo, other, nil), Allow, v1alpha1.ReasonRecreated)
	w.want("and made again", request(argo, nil, object(t, binding)), Allow, v1alpha1.ReasonFromGit)
	w.want("one of the declared role is not", request(argo, object(t, binding), nil), Deny, v1alpha1.ReasonStillDeclared)
	w.want("by somebody else", request(carol, rules(before), rules(before+list)), Deny, v1alpha1.ReasonNotFromSyncAgent)

	declare(agent.Apply{})
	w.want("where it applies on the server's side", request(argo, rules(before), rules(before+list)), Deny, v1alpha1.ReasonFieldsDiffer, "rules")
	w.want("nor deletes", request(argo, other, nil), Deny, v1alpha1.ReasonStillDeclared)
}

// Hooks have a finalizer where the version of Argo CD and the kind of hook say so, in the annotation of the apply too; and they are marked before they are named.
func TestArgoCDsHooksWithAndWithoutTheirFinalizer(t *testing.T) {
	w := newWorld(t, testConfig)
	const hook = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: announce, namespace: shop, annotations: {argocd.argoproj.io/hook: PostDelete%}&}\ndata: {a: b}\n"
	const mark = ", argocd.argoproj.io/tracking-id: 'carts:/ConfigMap:shop/announce'"
	w.declareWith("Application", agent.Apply{Hook: true, LastApplied: true}, agent.Metadata{
		Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "carts:/ConfigMap:shop/announce"}, Finalizers: []string{"argocd.argoproj.io/hook-finalizer"},
	}, strings.NewReplacer("%", "", "&", "").Replace(hook))
	made := func(annotations, more string) map[string]any {
		return object(t, strings.NewReplacer("%", mark+annotations, "&", more).Replace(hook))
	}
	const finalizer = ", finalizers: [argocd.argoproj.io/hook-finalizer]"
	last := func(more string) string {
		return `, kubectl.kubernetes.io/last-applied-configuration: '{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap","metadata":{"annotations":{"argocd.argoproj.io/hook":"PostDelete",` +
			`"argocd.argoproj.io/tracking-id":"carts:/ConfigMap:shop/announce"},` + more + `"name":"announce","namespace":"shop"}}'`
	}
	w.want("made by a request of its own", request(argo, nil, made("", "")), Allow, v1alpha1.ReasonFromGit)
	w.want("applied by an older one", request(argo, nil, made(last(""), "")), Allow, v1alpha1.ReasonFromGit)
	w.want("applied by a newer one", request(argo, nil, made(last(`"finalizers":["argocd.argoproj.io/hook-finalizer"],`), finalizer)), Allow, v1alpha1.ReasonFromGit)
	w.want("with another finalizer", request(argo, nil, made("", ", finalizers: [x.example/never]")), Deny, v1alpha1.ReasonFieldsDiffer, "metadata.finalizers")
	w.want("that says it was applied with another", request(argo, nil, made(last(`"finalizers":["x.example/never"],`), finalizer)), Deny, v1alpha1.ReasonFieldsDiffer, "last-applied")
	w.want("let go", request(argo, made("", finalizer), made("", "")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("deleted", request(argo, made("", ""), nil), Allow, v1alpha1.ReasonRecreated)
	w.want("by somebody who wants it to run now", request(carol, nil, made("", "")), Deny, v1alpha1.ReasonNotFromSyncAgent)
}

// What Argo CD prunes long after Git dropped it bears its mark; a copy of a mark is not one.
func TestArgoCDPrunesWhatBearsItsMark(t *testing.T) {
	w := newWorld(t, testConfig)
	marked := func(kind, name, namespace, id string) map[string]any {
		return object(t, "{apiVersion: v1, kind: "+kind+", metadata: {name: '"+name+"', "+namespace+"annotations: {argocd.argoproj.io/tracking-id: '"+id+"'}}}")
	}
	const shop = "namespace: shop, "
	w.want("of a namespace", request(argo, marked("ConfigMap", "old", shop, "app:/ConfigMap:shop/old"), nil), Allow, v1alpha1.ReasonPruned)
	w.want("of the cluster", request(argo, marked("PersistentVolume", "old", "", "app:/PersistentVolume:shop/old"), nil), Allow, v1alpha1.ReasonPruned)
	role := object(t, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: 'sys:old', annotations: {argocd.argoproj.io/tracking-id: 'ns_app:rbac.authorization.k8s.io/ClusterRole:shop/sys:old'}}}")
	w.want("with a colon in its name", request(argo, role, nil), Allow, v1alpha1.ReasonPruned)
	w.want("of another object", request(argo, marked("ConfigMap", "old", shop, "app:/ConfigMap:shop/new"), nil), Deny, v1alpha1.ReasonNotDeclared)
	w.want("of another namespace", request(argo, marked("ConfigMap", "old", shop, "app:/ConfigMap:pay/old"), nil), Deny, v1alpha1.ReasonNotDeclared)
	w.want("of another kind", request(argo, marked("ConfigMap", "old", shop, "app:/Secret:shop/old"), nil), Deny, v1alpha1.ReasonNotDeclared)
	w.want("of nothing", request(argo, marked("ConfigMap", "old", shop, "old"), nil), Deny, v1alpha1.ReasonNotDeclared)
}

// Components of Argo CD beside its controllers leave notes on Applications. Everything else that they ask for is somebody's at the UI.
func TestArgoCDsOtherComponentsOnlyLeaveNotes(t *testing.T) {
	w := newWorld(t, testConfig)
	const app = "{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: cart, namespace: argocd, annotations: {%}}, spec: {project: default}}"
	is := func(annotations string) map[string]any { return object(t, strings.Replace(app, "%", annotations, 1)) }
	server, notifications := serviceAccount("argocd", "argocd-server"), serviceAccount("argocd", "argocd-notifications-controller")
	const refresh, notified = "argocd.argoproj.io/refresh: hard", "notified.notifications.argoproj.io: '{}'"
	w.want("a refresh", request(server, is(""), is(refresh)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("what was notified", request(notifications, is(refresh), is(refresh+", "+notified)), Allow, v1alpha1.ReasonBookkeeping)
	w.want("the other's note", request(notifications, is(""), is(refresh)), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("a note and more", request(server, is(""), object(t, strings.NewReplacer("%", refresh, "default", "admin").Replace(app))), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("a sync from the UI", request(server, is(""), object(t, strings.NewReplacer("%", "", "spec: {", "operation: {sync: {}}, spec: {").Replace(app))), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("a restart from the UI", request(server, object(t, cart), object(t, strings.Replace(cart, "metadata: {", "metadata: {labels: {a: b}, ", 1))), Deny, v1alpha1.ReasonNotFromSyncAgent)
	noCredential := server
	noCredential.UID = ""
	w.want("by somebody who impersonates it", request(noCredential, is(""), is(refresh)), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("by an account of that name elsewhere", request(serviceAccount("mine", "argocd-server"), is(""), is(refresh)), Deny, v1alpha1.ReasonNotFromSyncAgent)
	updater := serviceAccount("argocd", "argocd-image-updater")
	w.want("an image updater that does not write to Git", request(updater, is(""), object(t, strings.NewReplacer("%", "", "spec: {", "spec: {source: {kustomize: {images: [a=b]}}, ").Replace(app))), Deny, v1alpha1.ReasonNotFromSyncAgent)

	shards := func(name, data string) map[string]any {
		return object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: "+name+", namespace: argocd}, data: {"+data+"}}")
	}
	w.want("which controller looks after which cluster", request(argo, nil, shards("argocd-app-controller-shard-cm", "shardControllerMapping: '[]'")), Allow, v1alpha1.ReasonBookkeeping)
	w.want("with something else beside it", request(argo, nil, shards("argocd-app-controller-shard-cm", "shardControllerMapping: '[]', x: y")), Deny, v1alpha1.ReasonNotDeclared)
	w.want("another ConfigMap", request(argo, nil, shards("argocd-cm", "shardControllerMapping: '[]'")), Deny, v1alpha1.ReasonNotDeclared)
}
