package commitgate.freeze_test

import data.commitgate.freeze

at(time) := {
	"time": time,
	"request": {"operation": "UPDATE", "namespace": "shop"},
	"git": {"path": "apps/shop/cart.yaml", "signers": ["ada", "bob"], "trailers": {}},
}

span := {"name": "s", "from": "2026-12-19T00:00:00Z", "until": "2027-01-04T00:00:00Z"}

weekend := {"name": "w", "zone": "Europe/Berlin", "weekly": [
	{"days": ["Friday"], "from": "16:00"},
	{"days": ["Saturday", "Sunday"]},
	{"days": ["Monday"], "until": "06:30"},
]}

denied(document, windows) := found if {
	found := freeze.deny with input as document
		with freeze.windows as windows
		with freeze.override as {"trailer": "Freeze-Override", "people": 2}
}

test_span[note] if {
	some note, c in {
		"the last second before": {"time": "2026-12-18T23:59:59Z", "denials": 0},
		"the first second": {"time": "2026-12-19T00:00:00Z", "denials": 1},
		"the last second": {"time": "2027-01-03T23:59:59.999Z", "denials": 1},
		"when it has ended": {"time": "2027-01-04T00:00:00Z", "denials": 0},
	}
	count(denied(at(c.time), [span])) == c.denials
}

# Berlin is an hour ahead of UTC in winter, and two in summer.
test_week[note] if {
	some note, c in {
		"friday noon": {"time": "2026-11-20T12:00:00Z", "denials": 0},
		"friday, a minute before": {"time": "2026-11-20T14:59:00Z", "denials": 0},
		"friday at four": {"time": "2026-11-20T15:00:00Z", "denials": 1},
		"friday at four in summer": {"time": "2026-07-17T14:00:00Z", "denials": 1},
		"saturday": {"time": "2026-11-21T12:00:00Z", "denials": 1},
		"sunday before midnight": {"time": "2026-11-22T22:59:00Z", "denials": 1},
		"monday early": {"time": "2026-11-23T05:29:00Z", "denials": 1},
		"monday at half past six": {"time": "2026-11-23T05:30:00Z", "denials": 0},
	}
	count(denied(at(c.time), [weekend])) == c.denials
}

frozen := at("2026-12-24T12:00:00Z")

test_deletions_wait_too if count(denied(object.union(frozen, {"request": {"operation": "DELETE"}}), [span])) == 1

test_looking_is_free if count(denied(object.union(frozen, {"request": {"operation": "CONNECT"}}), [span])) == 0

test_other_namespaces if count(denied(frozen, [object.union(span, {"namespaces": ["payment-*"]})])) == 0

test_listed_namespaces if count(denied(frozen, [object.union(span, {"namespaces": ["sh*"]})])) == 1

test_other_paths if count(denied(frozen, [object.union(span, {"paths": ["apps/payment/**"]})])) == 0

test_listed_paths if count(denied(frozen, [object.union(span, {"paths": ["apps/**"]})])) == 1

test_an_override if {
	count(denied(object.union(frozen, {"git": {"trailers": {"freeze-override": ["outage 7"]}}}), [span])) == 0
}

test_an_override_without_a_reason if {
	count(denied(object.union(frozen, {"git": {"trailers": {"freeze-override": [" "]}}}), [span])) == 1
}

test_an_override_by_one_person if {
	document := object.union(frozen, {"git": {"signers": ["ada"], "trailers": {"freeze-override": ["outage 7"]}}})
	count(denied(document, [span])) == 1
}
