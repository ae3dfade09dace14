# METADATA
# title: Images by digest
# description: |
#   Every container names its image by digest (registry.example.com/shop/cart@sha256:…): a tag can be moved after the
#   commit was signed, a digest cannot.
# custom:
#   controls: [SOC2-CC8.1]
package commitgate.image_digest

import data.lib.names
import data.lib.pods

# METADATA
# custom:
#   id: image-digest
deny contains {"msg": msg, "details": {"image": image}} if {
	some container in pods.containers
	image := object.get(container, "image", "")
	not regex.match(`@sha256:[0-9a-f]{64}$`, image)
	not names.listed(except, image)
	msg := sprintf("container %s: image %q is not named by digest; write it as NAME@sha256:…", [container.name, image])
}
