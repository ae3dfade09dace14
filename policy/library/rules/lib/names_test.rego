package lib.names_test

import data.lib.names

test_a_star_stands_for_anything if {
	names.listed(["shop-*"], "shop-eu")
	names.listed(["*@example.com"], "ada.lovelace@example.com")
	names.listed(["registry.k8s.io/*"], "registry.k8s.io/a/b:1")
	names.listed(["a", "b"], "b")
	names.listed([""], "")
}

test_the_whole_name_counts if {
	not names.listed(["shop"], "shop-eu")
	not names.listed(["shop-*"], "shop")
	not names.listed([], "shop")
}

test_the_namespace_of_the_request if {
	names.namespace == "shop" with input as {"request": {"namespace": "shop"}}
	names.namespace == "" with input as {"request": {}}
	names.namespace == "" with input as {}
}
