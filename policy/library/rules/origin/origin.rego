# METADATA
# title: Only from these repositories and paths
# description: |
#   Each namespace is filled from the places that are listed for it. A place is a trusted repository, by the name that
#   the gate has for it, and paths in it. A namespace that no place is listed for gets nothing; cluster-scoped
#   objects are listed under the namespace "".
# custom:
#   controls: [SOC2-CC6.1]
package commitgate.origin

import data.lib.git
import data.lib.names

# METADATA
# custom:
#   id: origin
deny contains {"msg": msg} if {
	git.judged
	not listed
	msg := sprintf("%s in %s may not change %s; the places for it are listed in the settings of this rule", [
		input.git.path, input.git.repository, target,
	])
}

target := sprintf("namespace %s", [names.namespace]) if names.namespace != ""

target := "cluster-scoped objects" if names.namespace == ""

listed if {
	some place in places
	names.listed(place.namespaces, names.namespace)
	names.listed(place.repositories, input.git.repository)
	git.path_in(place.paths)
}
