# METADATA
# title: A ticket in the trailers
# description: |
#   The commit that changed the object names a ticket in its last paragraph: "Ticket: SHOP-7".
#   The message is part of what was signed.
# custom:
#   controls: [SOC2-CC8.1]
package commitgate.ticket

import data.lib.git

# METADATA
# custom:
#   id: ticket
deny contains {"msg": msg} if {
	git.judged
	git.path_in(paths)
	not ticketed
	msg := sprintf("commit %s names no ticket; end its message with a line like \"%s: %s\"", [
		substring(input.git.commit, 0, 12), trailers[0], example,
	])
}

ticketed if {
	some key in trailers
	some value in input.git.trailers[lower(key)]
	regex.match(pattern, value)
}
