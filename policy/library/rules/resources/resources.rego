# METADATA
# title: Resources are set
# description: Every container says what it needs and how much it may take. Containers for debugging cannot, and are not asked.
# custom:
#   controls: [SOC2-A1.1]
package commitgate.resources

import data.lib.names
import data.lib.pods

# METADATA
# custom:
#   id: resources
deny contains {"msg": msg} if {
	some field in ["containers", "initContainers"]
	some container in pods.pod.spec[field]
	some kind, keys in required
	some key in keys
	not container.resources[kind][key]
	not names.listed(except, names.namespace)
	msg := sprintf("container %s sets no %s.%s", [container.name, kind, key])
}
