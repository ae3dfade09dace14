package admit

import (
	"slices"
	"strings"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
)

// fleetKeeping is one line of the table of what the parts of Fleet write that stand between a push and its agent.
type fleetKeeping struct {
	parts []agent.FleetPart
	ops   string // C U D
	what  string // as in the table of controllers
	must  func(*judgement) bool
}

func fleetPartsTable() []fleetKeeping {
	gitjob, makers := []agent.FleetPart{agent.FleetGitJob}, []agent.FleetPart{agent.FleetGitJob, agent.FleetHelmOps}
	bundlers := []agent.FleetPart{agent.FleetGitJob, agent.FleetHelmOps, agent.FleetJob}
	return []fleetKeeping{
		{makers, "U", "fleet.cattle.io/*/status", nil},
		{makers, "U", "fleet.cattle.io/*", changing("metadata.finalizers")},
		{bundlers, "CUD", "fleet.cattle.io/bundles", (*judgement).bundleOfGitRepo},
		{makers, "UD", "fleet.cattle.io/bundledeployments", (*judgement).deploymentOfBundle},
		{makers, "UD", "fleet.cattle.io/contents", (*judgement).contentOfBundle},
		{bundlers, "CUD", "secrets", (*judgement).fleetValues},
		// What the Job of a GitRepo runs with: each says no more than Git says of that GitRepo.
		{gitjob, "C", "serviceaccounts", ofGitRepo(jobAccount)},
		{gitjob, "CU", "rbac.authorization.k8s.io/roles", ofGitRepo(jobRole)},
		{gitjob, "CU", "rbac.authorization.k8s.io/rolebindings", ofGitRepo(jobBinding)},
		{gitjob, "CU", "configmaps", ofGitRepo(jobTargets)},
		{gitjob, "CU", "secrets", ofGitRepo(jobAuthorities)},
		{gitjob, "C", "batch/jobs", ofGitRepo(gitJob)},
		{gitjob, "D", "batch/jobs", (*judgement).wasOfGitRepo},
		{[]agent.FleetPart{agent.FleetRegistration}, "U", "fleet.cattle.io/bundledeployments/status", (*judgement).inOwnNamespace},
		{[]agent.FleetPart{agent.FleetRegistration}, "U", "fleet.cattle.io/clusters/status", nil},
	}
}

// fleetParts lets the parts of a Fleet whose controller runs in this cluster do what stands between a push and its agent. They apply nothing: whatever
// else they ask for is a thief's, and judged as anybody's.
func (j *judgement) fleetParts() *Decision {
	namespace, name, ok := j.r.User.serviceAccount()
	if !ok || j.r.User.UID == "" || j.id.agent != nil || j.r.Operation == Connect {
		return nil
	}
	for i := range j.spec.Agents {
		a := &j.spec.Agents[i]
		if a.Preset != v1alpha1.PresetFleet {
			continue
		}
		part := agent.PartOfFleet(a.Users, manifest.FleetCluster(a).Namespace, namespace, name)
		if part == "" {
			continue
		}
		if d := j.ready(); d != nil {
			return d
		}
		j.id = identity{agent: a} // whose bundles are asked for
		d, own := j.fleetPart(part)
		if d == nil && own && j.scope != v1alpha1.ScopeDeclared { // a Job clones what has just been pushed
			d = j.ahead(deny(v1alpha1.ReasonNotDeclared, "%s, a part of agent %s, may not %s: no verified commit has a GitRepo that needs it so%s.\nNext: commit it, signed, and let Fleet find it.",
				j.r.User.Name, a.Name, j.what(), j.heads()))
			d.Role = RoleController
		}
		if d != nil {
			return d
		}
		j.id = identity{}
	}
	return nil
}

// fleetPart looks a request of a part up in the table: own says that it is of a kind which the part writes.
func (j *judgement) fleetPart(part agent.FleetPart) (d *Decision, own bool) {
	resource := j.r.resource()
	if j.r.Resource.Group == "" {
		resource = "/" + resource
	}
	for _, k := range fleetPartsTable() {
		if !slices.Contains(k.parts, part) || !strings.Contains(k.ops, string(j.r.Operation[:1])) || !matchesResource(k.what, resource) {
			continue
		}
		if own = true; k.must == nil || k.must(j) {
			d = allow(v1alpha1.ReasonBookkeeping)
			d.Role, d.Rule = RoleController, "Fleet "+string(part)+" "+k.what
			return d, own
		}
	}
	return nil, own
}

func (j *judgement) inOwnNamespace() bool {
	namespace, _, _ := j.r.User.serviceAccount()
	return namespace == j.key.Namespace
}

// wasOfGitRepo holds for what a GitRepo owns, or owned.
func (j *judgement) wasOfGitRepo() bool {
	owner, ok := live.ControllerOf(j.r.Old)
	return ok && owner.Group == agent.FleetGroup && owner.Kind == "GitRepo"
}

// ofGitRepo holds for what a GitRepo owns that Git declares, and no other, if a further condition does.
func ofGitRepo(must func(j *judgement, repo string) bool) func(*judgement) bool {
	return func(j *judgement) bool {
		owner, ok := live.ControllerOf(j.r.Object)
		return ok && len(metadataList(j.r.Object, "ownerReferences")) == 1 && owner.Group == agent.FleetGroup && owner.Kind == "GitRepo" &&
			owner.Namespace == j.key.Namespace && j.declared(owner.Key) != nil && must(j, owner.Name)
	}
}

// onlyFields tells whether an object has no fields but these beside what every object has.
func onlyFields(object map[string]any, fields ...string) bool {
	for k := range object {
		if k != "apiVersion" && k != "kind" && k != "metadata" && !slices.Contains(fields, k) {
			return false
		}
	}
	return true
}

func jobAccount(j *judgement, repo string) bool {
	return j.key.Name == agent.FleetJobAccount(repo) && onlyFields(j.r.Object)
}

// jobRole holds for rights on bundles and the Secrets beside them.
func jobRole(j *judgement, repo string) bool {
	allowed := map[string][]any{
		agent.FleetGroup: {"bundles", "imagescans", "gitrepos"},
		"":               {"secrets"},
	}
	verbs := []any{"get", "list", "watch", "create", "update", "delete"}
	within := func(list any, of []any) bool {
		return !slices.ContainsFunc(asList(list), func(v any) bool { return !slices.Contains(of, v) })
	}
	return j.key.Name == agent.FleetJobAccount(repo) && !slices.ContainsFunc(asList(j.r.Object["rules"]), func(r any) bool {
		rule, _ := r.(map[string]any)
		groups := asList(rule["apiGroups"])
		if len(groups) != 1 || rule["nonResourceURLs"] != nil {
			return true
		}
		group, _ := groups[0].(string)
		return !within(rule["resources"], allowed[group]) || !within(rule["verbs"], verbs)
	})
}

func jobBinding(j *judgement, repo string) bool {
	account := agent.FleetJobAccount(repo)
	role, _ := j.r.Object["roleRef"].(map[string]any)
	subjects := asList(j.r.Object["subjects"])
	if j.key.Name != account || role["kind"] != "Role" || role["name"] != account || len(subjects) != 1 {
		return false
	}
	subject, _ := subjects[0].(map[string]any)
	return subject["kind"] == "ServiceAccount" && subject["name"] == account && subject["namespace"] == j.key.Namespace
}

// jobTargets holds for the ConfigMap that tells a Job for which clusters its bundles are. What is for this one is judged when it is applied.
func jobTargets(j *judgement, repo string) bool {
	data, _ := j.r.Object["binaryData"].(map[string]any)
	prefix := repo + "-config-" // and a digest; a long name is cut, with another digest
	return strings.HasPrefix(j.key.Name, prefix[:min(len(prefix), 56)]) && onlyFields(j.r.Object, "binaryData") && len(data) == 1 && data["targets.yaml"] != nil
}

// jobAuthorities holds for the Secret with the authorities that a Job trusts: what it clones from whom is judged by its commits.
func jobAuthorities(j *judgement, repo string) bool {
	if j.key.Name != repo+"-cabundle" && j.key.Name != repo+"-rancher-cabundle" {
		return false
	}
	data, _ := j.r.Object["data"].(map[string]any)
	for k := range data {
		if k != "cacerts" && k != "additional-ca.crt" {
			return false
		}
	}
	return onlyFields(j.r.Object, "data", "type") && j.r.Object["type"] == "Opaque"
}

// gitJob holds for the Job that clones a GitRepo: it runs the two programs of Fleet's own image, the one that its gitjob runs itself, as the account of
// that GitRepo, clones what the GitRepo names, and has nothing of the node.
func gitJob(j *judgement, repo string) bool {
	template, _ := spec(j.r.Object)["template"].(map[string]any)
	pod := spec(template)
	for k := range pod {
		if !slices.Contains([]string{"volumes", "initContainers", "containers", "restartPolicy", "terminationGracePeriodSeconds", "dnsPolicy", "nodeSelector", "serviceAccountName",
			"serviceAccount", "securityContext", "schedulerName", "tolerations"}, k) {
			return false
		}
	}
	for _, v := range asList(pod["volumes"]) {
		volume, _ := v.(map[string]any)
		for k := range volume {
			if !slices.Contains([]string{"name", "configMap", "secret", "emptyDir"}, k) {
				return false
			}
		}
	}
	url := ""
	if e := j.declared(manifest.Key{Group: agent.FleetGroup, Kind: "GitRepo", Namespace: j.key.Namespace, Name: repo}); e != nil {
		s, _ := e.Content.At("spec").(map[string]any)
		url, _ = s["repo"].(string)
	}
	return serviceAccountOf(pod) == agent.FleetJobAccount(repo) && j.runsFleet(pod["initContainers"], "gitcloner", url) && j.runsFleet(pod["containers"], "apply", "")
}

// runsFleet tells whether the only container runs a command of Fleet's, with this first argument if there is one, and whether nothing that it is given
// stands where a program looks for more programs.
func (j *judgement) runsFleet(containers any, command, argument string) bool {
	list := asList(containers)
	if len(list) != 1 {
		return false
	}
	c, _ := list[0].(map[string]any)
	for k := range c {
		if !slices.Contains([]string{"name", "image", "imagePullPolicy", "command", "args", "workingDir", "env", "volumeMounts", "resources", "securityContext",
			"terminationMessagePath", "terminationMessagePolicy"}, k) {
			return false
		}
	}
	security, _ := c["securityContext"].(map[string]any)
	args := asList(c["args"])
	if len(args) < 3 || args[0] != "fleet" || args[1] != command || argument != "" && args[2] != argument || security["privileged"] == true ||
		len(asList(c["command"])) != 1 || asList(c["command"])[0] != "log.sh" {
		return false
	}
	image, _ := c["image"].(string)
	return !slices.ContainsFunc(asList(c["env"]), strangeToFleet) && !slices.ContainsFunc(asList(c["volumeMounts"]), mountedElsewhere) && image != "" && j.imageOfCaller(image)
}

const fleetHome = "/fleet-home"

// strangeToFleet tells whether Fleet sets no such environment variable for its Jobs.
func strangeToFleet(env any) bool {
	variable, _ := env.(map[string]any)
	switch name, _ := variable["name"].(string); name {
	case "HOME":
		return variable["value"] != fleetHome
	case "GIT_SSH_COMMAND":
		return variable["value"] != "ssh -o stricthostkeychecking=accept-new"
	case "COMMIT", "FLEET_APPLY_CONFLICT_RETRIES", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HELM_USERNAME", "OCI_USERNAME":
		return false
	}
	return true
}

// mountedElsewhere tells whether Fleet mounts nothing there: a file in place of one of the image's would run instead of it.
func mountedElsewhere(mount any) bool {
	m, _ := mount.(map[string]any)
	for k := range m {
		if k != "name" && k != "mountPath" && k != "readOnly" {
			return true
		}
	}
	path, _ := m["mountPath"].(string)
	return !slices.Contains([]string{"/workspace", "/workspace/source", "/tmp", fleetHome, "/run/config", "/etc/fleet/helm", "/etc/fleet/oci", "/etc/rancher/certs", "/etc/ssl/certs",
		"/gitjob/credentials", "/gitjob/ssh", "/gitjob/cabundle"}, path)
}

// imageOfCaller tells whether the Deployment of the service account that asks runs an image, as it is live: nobody changes that without Git.
func (j *judgement) imageOfCaller(image string) bool {
	namespace, name, _ := j.r.User.serviceAccount()
	l := j.Live.Object(manifest.Key{Group: "apps", Kind: "Deployment", Namespace: namespace, Name: name})
	if l == nil {
		return false
	}
	return slices.ContainsFunc(asList(spec(l.Template)["containers"]), func(c any) bool {
		container, _ := c.(map[string]any)
		return container["image"] == image
	})
}
