package commitgate.image_digest_test

import data.commitgate.image_digest

pinned := "registry.example.com/shop/cart@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

pod(field, image) := {"object": {"apiVersion": "v1", "kind": "Pod", "spec": {field: [{"name": "web", "image": image}]}}}

denied(document) := found if {
	found := image_digest.deny with input as document
		with image_digest.except as ["registry.k8s.io/pause:*"]
}

test_images[image] if {
	some image, n in {
		pinned: 0,
		"registry.k8s.io/pause:3.10": 0,
		"nginx": 1,
		"nginx:1.27": 1,
		"nginx:latest": 1,
		"nginx@sha256:0123": 1,
		"nginx@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef:latest": 1,
	}
	count(denied(pod("containers", image))) == n
}

test_every_container_counts[field] if {
	some field in ["containers", "initContainers", "ephemeralContainers"]
	some d in denied(pod(field, "nginx"))
	startswith(d.msg, "container web: image \"nginx\" is not named by digest")
}

test_a_container_without_image if {
	count(denied({"object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "web"}]}}})) == 1
}

test_templates_count if {
	template := {"spec": {"containers": [{"name": "web", "image": "nginx"}]}}
	count(denied({"object": {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": template}}})) == 1
}

test_what_has_no_pods if count(denied({"object": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"image": "nginx"}}})) == 0

test_a_deletion if count(denied({"object": null})) == 0
