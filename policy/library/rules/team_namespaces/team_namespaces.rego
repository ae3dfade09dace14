# METADATA
# title: Namespaces per team
# description: |
#   A team's namespaces are changed from the team's paths, with the signature of one of its members; and from a team's
#   paths nothing else is changed, no other namespace and nothing of the cluster. What belongs to no team is left to
#   other rules.
# custom:
#   controls: [SOC2-CC6.1, SOC2-CC6.3]
package commitgate.team_namespaces

import data.lib.git
import data.lib.names

# The namespace that is changed: a Namespace is its own.
namespace := input.object.metadata.name if {
	input.object.kind == "Namespace"
	input.object.apiVersion == "v1"
} else := input.request.name if {
	input.request.kind.kind == "Namespace"
	input.request.kind.group == ""
} else := names.namespace

owners contains team if {
	namespace != ""
	some team, t in teams
	names.listed(t.namespaces, namespace)
}

# METADATA
# custom:
#   id: team-path
deny contains {"msg": msg} if {
	git.judged
	count(owners) > 0
	every team in owners { not git.path_in(teams[team].paths) }
	msg := sprintf("namespace %s belongs to %s, and is not changed from %s", [namespace, concat(", ", owners), input.git.path])
}

# METADATA
# custom:
#   id: team-signature
deny contains {"msg": msg} if {
	git.judged
	some team in owners
	git.path_in(teams[team].paths)
	not signed_by(teams[team].members)
	msg := sprintf("no member of %s signed this change to namespace %s", [team, namespace])
}

# METADATA
# custom:
#   id: team-reach
deny contains {"msg": msg} if {
	git.judged
	some team, t in teams
	git.path_in(t.paths)
	not team in owners
	msg := sprintf("%s is a path of %s, which does not own %s", [input.git.path, team, place])
}

place := sprintf("namespace %s", [namespace]) if namespace != ""

place := "cluster-scoped objects" if namespace == ""

signed_by(members) if {
	some signer in input.git.signers
	names.listed(members, signer)
}
