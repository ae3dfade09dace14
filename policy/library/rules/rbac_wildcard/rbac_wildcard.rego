# METADATA
# title: No wildcard in RBAC
# description: |
#   No Role or ClusterRole grants every verb, resource, group or URL by *: what a wildcard grants grows with every CRD.
# custom:
#   controls: [SOC2-CC6.3]
package commitgate.rbac_wildcard

import data.lib.names

# METADATA
# custom:
#   id: rbac-wildcard
deny contains {"msg": msg} if {
	input.object.kind in ["Role", "ClusterRole"]
	startswith(input.object.apiVersion, "rbac.authorization.k8s.io/")
	not names.listed(except, input.object.metadata.name)
	some i, rule in input.object.rules
	some field in ["verbs", "resources", "apiGroups", "nonResourceURLs"]
	some value in rule[field]
	wild(field, value)
	msg := sprintf("%s %s: rules[%d].%s grants %s; list what is needed", [
		input.object.kind, input.object.metadata.name, i, field, value,
	])
}

wild(_, "*")

# All subresources (pods/*), the same subresource of everything (*/scale), and every URL below one.
wild(field, value) if {
	field in ["resources", "nonResourceURLs"]
	value != "*"
	contains(value, "*")
}
