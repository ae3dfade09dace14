package commitgate.four_eyes_test

import data.commitgate.four_eyes

signed(path, signers) := {"git": {
	"commit": "c", "path": path, "signers": signers,
	"signatures": [{"principal": s, "kind": "SSH", "key": "k"} | some s in signers],
}}

denied(document) := found if {
	found := four_eyes.deny with input as document
		with four_eyes.paths as ["apps/payment/**"]
		with four_eyes.except as ["apps/payment/docs/*"]
		with four_eyes.people as 2
}

test_one_person_is_not_enough if {
	some d in denied(signed("apps/payment/api.yaml", ["ada"]))
	contains(d.msg, "signed by 1 of the 2")
}

test_nobody_is_not_enough if count(denied(signed("apps/payment/api.yaml", []))) == 1

test_two_people_are_enough if count(denied(signed("apps/payment/api.yaml", ["ada", "bob"]))) == 0

test_deeper_folders_count if count(denied(signed("apps/payment/eu/api.yaml", ["ada"]))) == 1

test_other_paths_are_not_asked if count(denied(signed("apps/shop/cart.yaml", ["ada"]))) == 0

test_exceptions_are_not_asked if count(denied(signed("apps/payment/docs/a.yaml", ["ada"]))) == 0

test_the_anchor_is_vouched_for if count(denied({"git": {
	"commit": "c", "path": "apps/payment/api.yaml", "signers": [],
	"signatures": [{"principal": "", "kind": "Anchor", "key": ""}],
}})) == 0

test_what_is_not_from_git_is_not_asked if count(denied({"git": null})) == 0
