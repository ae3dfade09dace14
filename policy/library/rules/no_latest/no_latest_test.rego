package commitgate.no_latest_test

import data.commitgate.no_latest

pod(image) := {"object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "web", "image": image}]}}}

test_images[image] if {
	some image, n in {
		"nginx": 1,
		"nginx:latest": 1,
		"registry.example.com:5000/nginx": 1,
		"registry.example.com:5000/nginx:latest": 1,
		"nginx:1.27": 0,
		"nginx:latest-2026": 0,
		"registry.example.com:5000/nginx:1.27": 0,
		"nginx@sha256:0123": 0,
		"nginx:latest@sha256:0123": 0,
	}
	found := no_latest.deny with input as pod(image)
	count(found) == n
}

test_the_message_names_the_container if {
	found := no_latest.deny with input as pod("nginx")
	some d in found
	d.msg == "container web: image nginx is whatever was pushed last; name a version, or better a digest"
}
