package admit

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// The parts of Fleet between a push and its agent make what a GitRepo of Git needs, and with their tokens nobody gets more: no other image, no other
// repository, no other right.
func TestThePartsOfFleetMakeWhatAGitRepoNeeds(t *testing.T) {
	w := newWorld(t, strings.NewReplacer("{name: argo, preset: ArgoCD", "{name: fleet, preset: Fleet", "argocd:argocd-application-controller", "cattle-fleet-system:fleet-controller").Replace(testConfig))
	repo := object(t, `{apiVersion: fleet.cattle.io/v1alpha1, kind: GitRepo, metadata: {name: shop, namespace: fleet-local}, spec: {repo: "https://git.example.org/shop.git"}}`)
	owner := agent.Owner{Agent: "fleet", Group: agent.FleetGroup, Kind: "GitRepo", Namespace: "fleet-local", Name: "shop"}
	revision := w.Truth.Current.Revisions["shop"]
	w.Truth.Current = snapshot.New(snapshot.Parts{
		Revisions: w.Truth.Current.Revisions, Types: w.types, Published: w.Truth.Current.Published,
		Rendered: &manifest.Set{Builds: []*manifest.Build{{Owner: owner, Bundles: []string{"shop-apps"}}}},
	}, []*snapshot.Entry{{Object: manifest.Object{Key: live.KeyOf(repo), Content: compact.Of(repo)}, Revision: revision, Changed: revision.Commit}})
	w.live.Observe(object(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: gitjob, namespace: cattle-fleet-system, uid: d1},
		spec: {template: {spec: {containers: [{name: gitjob, image: "rancher/fleet:v0.12.0"}]}}}}`))
	gitjob, job, reporter := serviceAccount("cattle-fleet-system", "gitjob"), serviceAccount("fleet-local", "git-shop"), serviceAccount("cluster-fleet-local-local-1a3d67d0a899", "request-x-1")
	reporter.Extra = nil // a token of a Secret has no id

	const owned = `ownerReferences: [{apiVersion: fleet.cattle.io/v1alpha1, kind: GitRepo, name: shop, uid: u, controller: true}]`
	made := map[string]string{
		"account":     `{apiVersion: v1, kind: ServiceAccount, metadata: {name: git-shop, namespace: fleet-local, OWNED}}`,
		"role":        `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: git-shop, namespace: fleet-local, OWNED}, rules: [{apiGroups: [fleet.cattle.io], resources: [bundles], verbs: [get, create]}, {apiGroups: [""], resources: [secrets], verbs: [get]}]}`,
		"binding":     `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: git-shop, namespace: fleet-local, OWNED}, roleRef: {kind: Role, name: git-shop}, subjects: [{kind: ServiceAccount, name: git-shop, namespace: fleet-local}]}`,
		"targets":     `{apiVersion: v1, kind: ConfigMap, metadata: {name: shop-config-1, namespace: fleet-local, OWNED}, binaryData: {targets.yaml: e30=}}`,
		"authorities": `{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: shop-cabundle, namespace: fleet-local, OWNED}, data: {additional-ca.crt: YQ==}}`,
		"job": `{apiVersion: batch/v1, kind: Job, metadata: {name: shop-1, namespace: fleet-local, OWNED}, spec: {template: {spec: {serviceAccountName: git-shop, restartPolicy: Never,
			volumes: [{name: a, emptyDir: {}}], initContainers: [{name: a, image: "rancher/fleet:v0.12.0", command: [log.sh], args: [fleet, gitcloner, "https://git.example.org/shop.git", /workspace]}],
			containers: [{name: b, image: "rancher/fleet:v0.12.0", command: [log.sh], args: [fleet, apply, shop, apps], env: [{name: COMMIT, value: "1"}, {name: HOME, value: /fleet-home}],
				volumeMounts: [{name: a, mountPath: /workspace/source}, {name: a, mountPath: /run/config}]}]}}}}`,
	}
	text := func(what string, changes ...string) map[string]any {
		return object(t, strings.NewReplacer(append(changes, "OWNED", owned)...).Replace(made[what]))
	}
	for what := range made {
		w.want("its "+what, request(gitjob, nil, text(what)), Allow, v1alpha1.ReasonBookkeeping)
		byJob := v1alpha1.ReasonNotFromSyncAgent
		if what == "authorities" {
			byJob = v1alpha1.ReasonNotDeclared // it keeps Secrets, but others
		}
		w.want("its "+what+" by a Job", request(job, nil, text(what)), Deny, byJob)
		w.want("the "+what+" of nobody", request(gitjob, nil, text(what, "OWNED", "labels: {a: b}")), Deny, v1alpha1.ReasonNotDeclared)
		w.want("the "+what+" of a GitRepo that Git lacks", request(gitjob, nil, text(what, "OWNED", strings.Replace(owned, "name: shop", "name: mine", 1))), Deny, v1alpha1.ReasonNotDeclared)
	}
	for attack, change := range map[string][]string{
		"another account":              {"account", "git-shop", "fleet-default"},
		"an account with a Secret":     {"account", "OWNED}}", owned + "}, secrets: [{name: a}]}"},
		"a role for more kinds":        {"role", "[bundles]", "[bundles, clusters]"},
		"a role for another group":     {"role", "[fleet.cattle.io]", "[apps]"},
		"a role for every group":       {"role", "[fleet.cattle.io]", `["*"]`},
		"a role for more verbs":        {"role", "[get, create]", "[get, escalate]"},
		"a binding to another role":    {"binding", "kind: Role, name: git-shop", "kind: ClusterRole, name: cluster-admin"},
		"a binding for somebody else":  {"binding", "kind: ServiceAccount, name: git-shop", "kind: User, name: carol"},
		"settings":                     {"targets", "shop-config-1", "settings"},
		"more beside the targets":      {"targets", "binaryData: {", "binaryData: {more: YQ==, "},
		"a token of the agent":         {"authorities", "additional-ca.crt", "token"},
		"a Secret that says another":   {"authorities", "type: Opaque", "type: kubernetes.io/service-account-token"},
		"another image":                {"job", `image: "rancher/fleet:v0.12.0", command: [log.sh], args: [fleet, apply`, `image: miner, command: [log.sh], args: [fleet, apply`},
		"another image, to begin with": {"job", `image: "rancher/fleet:v0.12.0", command: [log.sh], args: [fleet, gitcloner`, `image: miner, command: [log.sh], args: [fleet, gitcloner`},
		"another repository":           {"job", "https://git.example.org/shop.git", "https://evil.example.org/shop.git"},
		"another program":              {"job", "[log.sh], args: [fleet, apply, shop", "[sh], args: [fleet, apply, shop"},
		"another command":              {"job", "fleet, apply", "fleet, deploy"},
		"another account for the Job":  {"job", "git-shop", "default"},
		"the node's network":           {"job", "restartPolicy: Never", "hostNetwork: true, restartPolicy: Never"},
		"the node's files":             {"job", "emptyDir: {}", "hostPath: {path: /}"},
		"the node's rights":            {"job", "name: b,", "name: b, securityContext: {privileged: true},"},
		"what runs at its end":         {"job", "name: b,", "name: b, lifecycle: {preStop: {}},"},
		"another container":            {"job", "containers: [{name: b,", "containers: [{name: c}, {name: b,"},
		"a library in its environment": {"job", "name: COMMIT", "name: LD_PRELOAD"},
		"a home with more in it":       {"job", "name: COMMIT, value: \"1\"", "name: HOME, value: /run/config"},
		"an environment from a Secret": {"job", "name: b,", "name: b, envFrom: [{secretRef: {name: mine}}],"},
		"a program over the image's":   {"job", "mountPath: /run/config", "mountPath: /usr/bin"},
		"a file over the image's":      {"job", "mountPath: /run/config", "mountPath: /tmp, subPath: log.sh"},
		"a shell for git":              {"job", "name: COMMIT, value: \"1\"", "name: GIT_SSH_COMMAND, value: sh"},
	} {
		w.want(attack, request(gitjob, nil, text(change[0], change[1], change[2])), Deny, v1alpha1.ReasonNotDeclared)
	}
	w.want("the end of a Job", request(gitjob, text("job"), nil), Allow, v1alpha1.ReasonBookkeeping)
	w.want("the end of somebody's Job", request(gitjob, text("job", "OWNED", "labels: {a: b}"), nil), Deny, v1alpha1.ReasonNotDeclared)
	stolen := gitjob
	stolen.UID = ""
	w.want("by somebody who impersonates it", request(stolen, nil, text("job")), Deny, v1alpha1.ReasonNotFromSyncAgent)

	bundle := `{apiVersion: fleet.cattle.io/v1alpha1, kind: Bundle, metadata: {name: shop-apps, namespace: fleet-local, labels: {fleet.cattle.io/repo-name: shop}}}`
	w.want("a bundle by the Job", request(job, nil, object(t, bundle)), Allow, v1alpha1.ReasonBookkeeping)
	if d := w.decide(request(job, nil, object(t, strings.Replace(bundle, "name: shop-apps", "name: shop-new", 1)))); !d.Ahead {
		t.Error("nobody looks whether the Job is ahead of the mirror")
	}
	w.want("a bundle that the GitRepo does not make", request(job, nil, object(t, strings.Replace(bundle, "name: shop-apps", "name: mine", 1))), Deny, v1alpha1.ReasonNotDeclared)
	w.want("its values by the Job", request(job, nil, object(t, `{apiVersion: v1, kind: Secret, type: fleet.cattle.io/bundle-values/v1alpha1, metadata: {name: shop-apps, namespace: fleet-local}}`)), Allow, v1alpha1.ReasonBookkeeping)

	report := func(who User, namespace, subresource string) *Request {
		deployment := `{apiVersion: fleet.cattle.io/v1alpha1, kind: BundleDeployment, metadata: {name: shop-apps, namespace: ` + namespace + `}, status: {ready: `
		r := request(who, object(t, deployment+"false}}"), object(t, deployment+"true}}"))
		r.Subresource = subresource
		return r
	}
	w.want("the agent's report", report(reporter, "cluster-fleet-local-local-1a3d67d0a899", "status"), Allow, v1alpha1.ReasonBookkeeping)
	w.want("its report on another cluster", report(reporter, "cluster-fleet-local-other-1", "status"), Deny, v1alpha1.ReasonNotDeclared)
	w.want("more than a report", report(reporter, "cluster-fleet-local-local-1a3d67d0a899", ""), Deny, v1alpha1.ReasonNotFromSyncAgent)
	w.want("a report by a person", report(carol, "cluster-fleet-local-local-1a3d67d0a899", "status"), Deny, v1alpha1.ReasonNotFromSyncAgent)
}
