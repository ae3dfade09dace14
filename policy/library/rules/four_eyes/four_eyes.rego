# METADATA
# title: Four eyes
# description: |
#   A change to the listed paths is signed by as many different people as the rule asks: the author and whoever
#   approved, on the merge. The signatures are the gate's own verification, not what a forge says.
#   The rules of the TrustedRepository can ask for the same; there the whole commit is refused, here only
#   what it changes in the listed paths.
# custom:
#   controls: [SOC2-CC8.1]
package commitgate.four_eyes

import data.lib.git

# METADATA
# custom:
#   id: four-eyes
deny contains {"msg": msg, "details": {"signers": input.git.signers}} if {
	git.judged
	git.path_in(paths)
	not git.path_in(except)
	count(input.git.signers) < people
	msg := sprintf("%s was signed by %d of the %d people it takes; have somebody else approve it and sign the merge", [
		input.git.path, count(input.git.signers), people,
	])
}
