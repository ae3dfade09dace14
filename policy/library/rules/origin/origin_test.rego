package commitgate.origin_test

import data.commitgate.origin

from(repository, path, namespace) := {
	"request": {"namespace": namespace},
	"git": {
		"commit": "c", "repository": repository, "path": path,
		"signatures": [{"principal": "ada", "kind": "SSH", "key": "k"}],
	},
}

denied(document) := found if {
	found := origin.deny with input as document
		with origin.places as [
			{"namespaces": ["shop", "shop-*"], "repositories": ["shop"], "paths": ["deploy/**"]},
			{"namespaces": [""], "repositories": ["platform"], "paths": ["cluster/*.yaml"]},
		]
}

test_places[note] if {
	some note, c in {
		"its own": {"document": from("shop", "deploy/cart.yaml", "shop"), "denials": 0},
		"another of its own": {"document": from("shop", "deploy/eu/cart.yaml", "shop-eu"), "denials": 0},
		"another folder": {"document": from("shop", "experiments/cart.yaml", "shop"), "denials": 1},
		"another repository": {"document": from("platform", "deploy/cart.yaml", "shop"), "denials": 1},
		"another namespace": {"document": from("shop", "deploy/cart.yaml", "payment"), "denials": 1},
		"the cluster": {"document": from("shop", "deploy/role.yaml", ""), "denials": 1},
		"the cluster, from where it may": {"document": from("platform", "cluster/role.yaml", ""), "denials": 0},
		"the cluster, too deep": {"document": from("platform", "cluster/a/role.yaml", ""), "denials": 1},
		"not from Git": {"document": {"git": null, "request": {"namespace": "shop"}}, "denials": 0},
	}
	count(denied(c.document)) == c.denials
}

test_a_cluster_scoped_request_has_no_namespace if {
	document := object.remove(from("shop", "deploy/role.yaml", ""), ["request"])
	some d in denied(object.union(document, {"request": {}}))
	contains(d.msg, "may not change cluster-scoped objects")
}
