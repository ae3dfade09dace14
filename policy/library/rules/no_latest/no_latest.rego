# METADATA
# title: No latest
# description: |
#   No container runs an image by the tag latest, or by no tag and no digest, which means the same.
# custom:
#   controls: [SOC2-CC8.1]
package commitgate.no_latest

import data.lib.pods

# METADATA
# custom:
#   id: no-latest
deny contains {"msg": msg, "details": {"image": container.image}} if {
	some container in pods.containers
	latest(container.image)
	msg := sprintf("container %s: image %s is whatever was pushed last; name a version, or better a digest", [
		container.name, container.image,
	])
}

# The part behind the last slash: a colon before it is a registry's port.
base(image) := regex.replace(image, `^.*/`, "")

latest(image) if endswith(base(image), ":latest")

latest(image) if {
	not contains(base(image), ":")
	not contains(image, "@")
}
