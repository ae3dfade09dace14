package commitgate.age_test

import data.commitgate.age

aged(seconds, operation) := {"request": {"operation": operation}, "git": {
	"commit": "0123456789abcdef", "path": "apps/cart.yaml", "age": seconds,
	"signatures": [{"principal": "ada", "kind": "SSH", "key": "k"}],
}}

denied(document) := found if {
	found := age.deny with input as document
		with age.bound as "48h"
		with age.paths as ["apps/*"]
		with age.operations as ["CREATE"]
}

test_ages[note] if {
	some note, c in {
		"fresh": {"document": aged(60, "CREATE"), "denials": 0},
		"at the bound": {"document": aged(172800, "CREATE"), "denials": 0},
		"a second past it": {"document": aged(172801, "CREATE"), "denials": 1},
		"past it, but there already": {"document": aged(172801, "UPDATE"), "denials": 0},
		"from the future": {"document": aged(-60, "CREATE"), "denials": 0},
		"not from Git": {"document": {"git": null, "request": {"operation": "CREATE"}}, "denials": 0},
	}
	count(denied(c.document)) == c.denials
}

test_the_message_tells_the_age if {
	some d in denied(aged(864000, "CREATE"))
	d.msg == "commit 0123456789ab is 10 days old, and 48h is the bound; look at apps/cart.yaml again and commit it anew"
}
