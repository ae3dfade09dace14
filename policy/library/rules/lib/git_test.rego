package lib.git_test

import data.lib.git

signed(kind) := {"git": {"commit": "c", "signatures": [{"principal": "ada", "kind": kind, "key": "k"}]}}

test_a_signed_commit_is_judged if git.judged with input as signed("SSH")

test_a_commit_without_signature_is_judged if git.judged with input as {"git": {"commit": "c", "signatures": []}}

test_the_anchor_is_not if not git.judged with input as signed("Anchor")

test_what_is_not_from_git_is_not if not git.judged with input as {"git": null}

test_paths[note] if {
	some note, c in {
		"the file": {"pattern": "apps/a.yaml", "there": true},
		"in the folder": {"pattern": "apps/*", "there": true},
		"at any depth": {"pattern": "**/a.yaml", "there": true},
		"not deeper": {"pattern": "*.yaml", "there": false},
		"another folder": {"pattern": "app/*", "there": false},
	}
	found := [p | some p in [c.pattern]; git.path_in([p]) with input as {"git": {"path": "apps/a.yaml"}}]
	(count(found) == 1) == c.there
}
