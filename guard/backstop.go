package guard

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/manifest"
)

// backstopName is that of the policy and of its binding.
const backstopName = "commitgate-backstop"

// BackstopConfig is what a backstop is made from.
type BackstopConfig struct {
	Gate v1alpha1.GateSpec
	// Namespace of the gate, and the group whose members may change the gate: they pass, for somebody must be able to put it back.
	Namespace, AdminGroup string
}

// Backstop is the identity rule in the API server itself: whoever is neither a sync agent, nor a built-in controller, nor named by an exemption, changes
// nothing, with every pod of the gate down and its webhook deleted. It is coarser than the gate: it knows names, not Git, so a grant of break-glass
// takes a member of the admin group. It holds where the gate enforces: namespaces with a milder override are left out. An error says that the
// configuration enforces nothing, or not everything, so that there is nothing that identity alone could refuse.
func Backstop(c BackstopConfig) (*Manifests, error) {
	enforced := enforcement(c.Gate)
	if enforced == "false" {
		return nil, errors.New("the Gate enforces nothing: there is nothing to stand behind (mode: Enforce with scope: Everything, for the whole cluster or for some namespaces)")
	}
	users, groups := identities(c.Gate)
	fail := admissionv1.Fail
	forbidden := metav1.StatusReasonForbidden
	scope := admissionv1.AllScopes
	policy := &admissionv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: backstopName},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update, admissionv1.Delete},
				Rule:       admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}, Scope: &scope},
			}}}},
			MatchConditions: append(Conditions(c.Namespace),
				admissionv1.MatchCondition{Name: "no-admission-configuration", Expression: `request.resource.group != "admissionregistration.k8s.io"`},
				admissionv1.MatchCondition{Name: "is-enforced", Expression: enforced},
			),
			Variables: []admissionv1.Variable{
				{Name: "components", Expression: `request.userInfo.username in ` + list(admit.Controllers()) +
					` || (request.userInfo.username.startsWith("system:node:") && "system:nodes" in request.userInfo.groups)`},
				{Name: "named", Expression: `request.userInfo.username in ` + list(users) + partsOfFleet(c.Gate)},
				{Name: "member", Expression: `request.userInfo.groups.exists(g, g in ` + list(append(groups, c.AdminGroup)) + `)`},
			},
			Validations: []admissionv1.Validation{{
				Expression:        "variables.components || variables.named || variables.member",
				MessageExpression: `"NotFromSyncAgent: " + request.userInfo.username + " may not change this; the cluster is managed from Git. Next: change it there (refused by commitgate's backstop)."`,
				Reason:            &forbidden,
			}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: backstopName},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: backstopName, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny, admissionv1.Audit}},
	}
	return &Manifests{Policies: []*admissionv1.ValidatingAdmissionPolicy{policy}, Bindings: []*admissionv1.ValidatingAdmissionPolicyBinding{binding}}, nil
}

// identities are the users and groups that pass by their name: the agents, the gate itself, and whom exemptions name.
func identities(gate v1alpha1.GateSpec) (users, groups []string) {
	if gate.ServiceAccount != "" {
		users = append(users, gate.ServiceAccount)
	}
	for _, a := range gate.Agents {
		users = slices.Concat(users, a.Users, slices.Collect(maps.Keys(agent.Companions(a.Preset, a.Users))))
	}
	for _, e := range gate.Exemptions {
		users, groups = append(users, e.Users...), append(groups, e.Groups...)
	}
	return unique(users), unique(groups)
}

// partsOfFleet is the rest of the expression of whom the gate knows by more than a list.
func partsOfFleet(gate v1alpha1.GateSpec) string {
	out := ""
	for i := range gate.Agents {
		a := &gate.Agents[i]
		if a.Preset != v1alpha1.PresetFleet {
			continue
		}
		if parts := agent.PartsOfFleet(a.Users, manifest.FleetCluster(a).Namespace); parts != "" {
			out += fmt.Sprintf(" || request.userInfo.username.matches(%q)", parts)
		}
	}
	return out
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// enforcement is the expression of where the gate refuses whatever is not from Git: where its mode is Enforce and its scope Everything. As in the gate, the
// first override decides that sets one; what holds for some kinds only leaves the whole namespace out where it is milder, and is passed over where it is
// stricter: the backstop refuses nothing that the gate would not.
func enforcement(gate v1alpha1.GateSpec) string {
	mode, scope := fmt.Sprint(gate.Mode == v1alpha1.ModeEnforce), fmt.Sprint(gate.Scope != v1alpha1.ScopeDeclared)
	for _, o := range slices.Backward(gate.Overrides) {
		if o.Mode != "" && (len(o.Reasons) == 0 || slices.Contains(o.Reasons, v1alpha1.ReasonNotFromSyncAgent)) {
			mode = overridden(o, o.Mode == v1alpha1.ModeEnforce, mode)
		}
		if o.Scope != "" {
			scope = overridden(o, o.Scope != v1alpha1.ScopeDeclared, scope)
		}
	}
	if !strings.Contains(mode, "true") || !strings.Contains(scope, "true") {
		return "false"
	}
	return mode + " && " + scope
}

func overridden(o v1alpha1.Override, strict bool, rest string) string {
	if strict && len(o.Kinds) > 0 {
		return rest
	}
	if len(o.Namespaces) == 0 {
		return fmt.Sprint(strict)
	}
	return fmt.Sprintf("(%s ? %t : %s)", namespaces(o.Namespaces), strict, rest)
}

// namespaces is the expression of whether a request is about one of these, as patterns with *; an empty string stands for what is in none.
func namespaces(patterns []string) string {
	var out []string
	for _, p := range patterns {
		if p == "" {
			out = append(out, `request.?namespace.orValue("") == ""`)
			continue
		}
		out = append(out, fmt.Sprintf(`request.?namespace.orValue("").matches("^%s$")`, strings.ReplaceAll(p, "*", ".*")))
	}
	return "(" + strings.Join(out, " || ") + ")"
}

// list writes names as a list of CEL.
func list(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// Conditions are what the webhook of a gate in this namespace is not asked about, as config/webhook has it.
func Conditions(namespace string) []admissionv1.MatchCondition {
	return []admissionv1.MatchCondition{
		{Name: "no-leases-of-components", Expression: `!(request.resource.group == "coordination.k8s.io" && request.userInfo.username.startsWith("system:"))`},
		{Name: "no-events", Expression: `!(request.resource.resource == "events" && request.resource.group in ["", "events.k8s.io"])`},
		{Name: "no-access-reviews", Expression: `!(request.resource.group in ["authentication.k8s.io", "authorization.k8s.io"])`},
		{Name: "no-nodes-of-components", Expression: `!(request.resource.group == "" && request.resource.resource == "nodes" && (request.userInfo.username.startsWith("system:node:") || request.userInfo.username in ["system:kube-controller-manager", "system:serviceaccount:kube-system:node-controller"]))`},
		{Name: "no-tokens-of-system-pods", Expression: `!(request.resource.group == "" && request.resource.resource == "serviceaccounts" && has(request.subResource) && request.subResource == "token" && request.namespace == "kube-system" && (request.userInfo.username.startsWith("system:node:") || request.userInfo.username == "system:kube-controller-manager"))`},
		{Name: "not-the-gate-itself", Expression: `!(has(request.namespace) && request.namespace == "` + namespace + `" && request.resource.group in ["", "apps", "batch", "discovery.k8s.io"] && (request.resource.resource in ["pods", "endpoints", "endpointslices", "persistentvolumeclaims", "replicasets", "statefulsets", "controllerrevisions", "jobs"] || (request.resource.resource == "serviceaccounts" && has(request.subResource) && request.subResource == "token")))`},
		{Name: "not-the-authority", Expression: `!(has(request.namespace) && request.namespace == "` + namespace + `" && request.resource.group == "" && request.resource.resource == "secrets" && !has(request.subResource) && request.operation == "UPDATE" && request.name == "commitgate-ca" && request.userInfo.username == "system:serviceaccount:` + namespace + `:commitgate-certificates")`},
	}
}
