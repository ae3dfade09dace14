package commitgate.rbac_wildcard_test

import data.commitgate.rbac_wildcard

role(kind, rule) := {"object": {
	"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "reader"}, "rules": [rule],
}}

exact := {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}

denied(document) := found if {
	found := rbac_wildcard.deny with input as document
		with rbac_wildcard.except as ["*-admin"]
}

test_exact_rules[kind] if {
	some kind in ["Role", "ClusterRole"]
	count(denied(role(kind, exact))) == 0
}

test_wildcards[note] if {
	some note, part in {
		"verbs": {"verbs": ["*"]},
		"among others": {"verbs": ["get", "*"]},
		"resources": {"resources": ["*"]},
		"groups": {"apiGroups": ["*"]},
		"URLs": {"nonResourceURLs": ["*"]},
		"URLs below one": {"nonResourceURLs": ["/debug/*"]},
		"subresources": {"resources": ["pods/*"]},
		"one subresource of everything": {"resources": ["*/scale"]},
	}
	count(denied(role("ClusterRole", object.union(exact, part)))) == 1
}

test_the_message_names_the_rule if {
	some d in denied(role("Role", object.union(exact, {"verbs": ["*"]})))
	d.msg == "Role reader: rules[0].verbs grants *; list what is needed"
}

test_excepted_roles if {
	document := object.union(role("ClusterRole", {"verbs": ["*"]}), {"object": {"metadata": {"name": "cluster-admin"}}})
	count(denied(document)) == 0
}

test_a_role_without_rules if count(denied({"object": {
	"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "sum"}, "rules": null,
}})) == 0

test_another_kind_of_role if {
	count(denied(object.union(role("Role", {"verbs": ["*"]}), {"object": {"apiVersion": "iam.example.com/v1"}}))) == 0
}
