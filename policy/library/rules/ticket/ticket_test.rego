package commitgate.ticket_test

import data.commitgate.ticket

commit(trailers) := {"git": {
	"commit": "0123456789abcdef", "path": "apps/shop/cart.yaml", "trailers": trailers,
	"signatures": [{"principal": "ada", "kind": "SSH", "key": "k"}],
}}

denied(document) := found if {
	found := ticket.deny with input as document
		with ticket.trailers as ["Ticket", "Jira"]
		with ticket.pattern as `^[A-Z]+-[0-9]+$`
		with ticket.example as "SHOP-7"
		with ticket.paths as ["apps/**"]
}

test_a_commit_without_ticket if {
	some d in denied(commit({}))
	d.msg == "commit 0123456789ab names no ticket; end its message with a line like \"Ticket: SHOP-7\""
}

test_a_ticket if count(denied(commit({"ticket": ["SHOP-7"]}))) == 0

test_another_trailer if count(denied(commit({"jira": ["SHOP-7"]}))) == 0

test_one_of_several if count(denied(commit({"ticket": ["soon", "SHOP-7"]}))) == 0

test_no_ticket_is_not_a_ticket if count(denied(commit({"ticket": ["none"]}))) == 1

test_the_whole_value_counts if count(denied(commit({"ticket": ["SHOP-7 or so"]}))) == 1

test_an_unlisted_trailer if count(denied(commit({"reviewed-by": ["SHOP-7"]}))) == 1

test_other_paths_are_not_asked if {
	count(denied(object.union(commit({}), {"git": {"path": "docs/a.yaml"}}))) == 0
}

test_the_anchor_is_vouched_for if {
	count(denied(object.union(commit({}), {"git": {"signatures": [{"principal": "", "kind": "Anchor", "key": ""}]}}))) == 0
}
