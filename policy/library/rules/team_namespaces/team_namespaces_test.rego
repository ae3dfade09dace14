package commitgate.team_namespaces_test

import data.commitgate.team_namespaces

change(path, namespace, signer) := {
	"request": {"namespace": namespace, "name": "cart", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"}},
	"object": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "cart"}},
	"git": {
		"commit": "c", "path": path, "signers": [signer],
		"signatures": [{"principal": signer, "kind": "SSH", "key": "k"}],
	},
}

denied(document) := found if {
	found := {d.msg | some d in team_namespaces.deny} with input as document
		with team_namespaces.teams as {
			"shop": {"namespaces": ["shop", "shop-*"], "paths": ["apps/shop/**"], "members": ["*@shop.example.com", "lead@example.com"]},
			"payment": {"namespaces": ["payment"], "paths": ["apps/payment/**"], "members": ["pat@example.com"]},
		}
}

ada := "ada@shop.example.com"

test_changes[note] if {
	some note, c in {
		"its own namespace": [change("apps/shop/cart.yaml", "shop", ada), set()],
		"another of its own": [change("apps/shop/eu/cart.yaml", "shop-eu", "lead@example.com"), set()],
		"nobody's namespace, from nobody's path": [change("cluster/a.yaml", "monitoring", "root@example.com"), set()],
		"signed by a stranger": [
			change("apps/shop/cart.yaml", "shop", "pat@example.com"),
			{"no member of shop signed this change to namespace shop"},
		],
		"from nobody's path": [
			change("cluster/a.yaml", "shop", ada),
			{"namespace shop belongs to shop, and is not changed from cluster/a.yaml"},
		],
		"another team's namespace": [
			change("apps/shop/cart.yaml", "payment", ada),
			{
				"namespace payment belongs to payment, and is not changed from apps/shop/cart.yaml",
				"apps/shop/cart.yaml is a path of shop, which does not own namespace payment",
			},
		],
		"the cluster": [
			change("apps/shop/role.yaml", "", ada),
			{"apps/shop/role.yaml is a path of shop, which does not own cluster-scoped objects"},
		],
		"nobody's namespace, from a team's path": [
			change("apps/shop/a.yaml", "monitoring", ada),
			{"apps/shop/a.yaml is a path of shop, which does not own namespace monitoring"},
		],
	}
	denied(c[0]) == c[1]
}

test_a_namespace_is_its_own if {
	document := object.union(change("cluster/ns.yaml", "shop-eu", ada), {
		"request": {"kind": {"group": "", "version": "v1", "kind": "Namespace"}, "name": "shop-eu"},
		"object": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop-eu"}},
	})
	denied(document) == {"namespace shop-eu belongs to shop, and is not changed from cluster/ns.yaml"}
}

test_a_deleted_namespace_is_its_own if {
	document := object.union(object.remove(change("cluster/ns.yaml", "", ada), ["object"]), {
		"request": {"kind": {"group": "", "version": "v1", "kind": "Namespace"}, "name": "shop-eu"},
		"object": null,
	})
	denied(document) == {"namespace shop-eu belongs to shop, and is not changed from cluster/ns.yaml"}
}

test_what_is_not_from_git_is_not_asked if {
	denied(object.union(object.remove(change("x", "shop", ada), ["git"]), {"git": null})) == set()
}
