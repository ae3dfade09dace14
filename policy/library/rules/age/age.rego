# METADATA
# title: Not older than
# description: |
#   What is created comes from a commit that is not older than the bound, so that what lay forgotten in Git is looked at
#   again before it enters a cluster. Only creations are asked by default: an object that nobody changed for a year is
#   no reason to leave it broken. The date is the committer's own word; the rule catches the forgotten, not the malicious.
# custom:
#   controls: [SOC2-CC8.1]
package commitgate.age

import data.lib.git

# METADATA
# custom:
#   id: age
deny contains {"msg": msg} if {
	git.judged
	git.path_in(paths)
	input.request.operation in operations
	input.git.age * 1000000000 > time_bound
	msg := sprintf("commit %s is %d days old, and %s is the bound; look at %s again and commit it anew", [
		substring(input.git.commit, 0, 12), floor(input.git.age / 86400), bound, input.git.path,
	])
}

time_bound := time.parse_duration_ns(bound)
