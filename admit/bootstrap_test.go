package admit

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// leftOut are rights that Kubernetes gives its components and that no row answers to, with why. A right that is neither here nor in the table is one that
// a new version of Kubernetes brought.
var leftOut = map[string]string{
	"replicaset-controller U apps/replicasets":        "it writes their status alone",
	"replication-controller U replicationcontrollers": "it writes their status alone",
	"cronjob-controller D pods":                       "kept for old versions: jobs delete their pods",
	"daemon-set-controller C pods/binding":            "the scheduler binds its pods",
	"persistent-volume-binder C pods":                 "pods of the recycle policy, which is deprecated and runs as root on the volume",
	"persistent-volume-binder D pods":                 "pods of the recycle policy",
	"namespace-controller D namespaces":               "it finalizes them; the API server removes them then",
	"storage-version-migrator-controller C */*":       "a migration creates nothing: such a request always ends in a conflict",
	"storage-version-migrator-controller U */*":       "what a migration writes changes nothing, and passes as that",
	"system:kube-scheduler C bindings":                "it binds by pods/binding",
	"system:kube-controller-manager C secrets":        "tokens are requested, or put into Secrets that are there",
}

// TestEveryRightOfAControllerHasItsRow compares the table with the rights that Kubernetes itself gives to its controllers, all alpha features included: a
// controller that has a right uses it some day.
func TestEveryRightOfAControllerHasItsRow(t *testing.T) {
	if err := utilfeature.DefaultMutableFeatureGate.Set("AllAlpha=true,AllBeta=true"); err != nil {
		t.Fatal(err)
	}
	rows := controllerRows()
	checked := map[string]bool{}
	check := func(who, user string, rules []rbacv1.PolicyRule) {
		for _, right := range rightsOf(rules) {
			checked[who+" "+right] = true
			op, resource, _ := strings.Cut(right, " ")
			has := slices.ContainsFunc(rows[user], func(r row) bool {
				return strings.Contains(r.ops, op) && (r.what == resource || matchesResource(r.what, resource))
			})
			_, left := leftOut[who+" "+right]
			switch {
			case !has && !left:
				t.Errorf("%s may %s, and no row says when", who, right)
			case has && left:
				t.Errorf("%s %s has a row: it is not left out", who, right)
			}
		}
	}
	for _, role := range bootstrappolicy.ControllerRoles() {
		who := strings.TrimPrefix(role.Name, "system:controller:")
		check(who, "system:serviceaccount:kube-system:"+who, role.Rules)
	}
	for _, role := range bootstrappolicy.ClusterRoles() {
		if role.Name == "system:kube-scheduler" || role.Name == "system:kube-controller-manager" {
			check(role.Name, role.Name, role.Rules)
		}
		if role.Name == "system:volume-scheduler" { // bound to the scheduler
			check(role.Name, "system:kube-scheduler", role.Rules)
		}
	}
	check(nodes, nodes, bootstrappolicy.NodeRules())
	for left := range leftOut {
		if !checked[left] {
			t.Errorf("%s is left out, and is no right of it", left)
		}
	}
}

// rightsOf are the changes that rules allow, as "C group/resource/subresource", without those that are no change of an object.
func rightsOf(rules []rbacv1.PolicyRule) []string {
	ops := map[string]string{"create": "C", "update": "U", "patch": "U", "delete": "D", "deletecollection": "D"}
	var out []string
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			if slices.Contains([]string{"authentication.k8s.io", "authorization.k8s.io", "events.k8s.io", "coordination.k8s.io", "extensions"}, group) {
				continue // a question, an Event, a lease; or a group that is gone
			}
			for _, resource := range rule.Resources {
				_, sub, _ := strings.Cut(resource, "/")
				if resource == "events" || sub == "finalizers" || sub == "restricted" || resource == "resourceclaims/binding" {
					continue // rights that are asked for beside a request, and are no request
				}
				for _, verb := range rule.Verbs {
					right := ops[verb] + " " + strings.TrimPrefix(group+"/"+resource, "/")
					if ops[verb] != "" && !slices.Contains(out, right) {
						out = append(out, right)
					}
				}
			}
		}
	}
	return out
}
