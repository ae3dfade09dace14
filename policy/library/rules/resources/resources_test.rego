package commitgate.resources_test

import data.commitgate.resources

complete := {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}

pod(field, set) := {
	"request": {"namespace": "shop"},
	"object": {"apiVersion": "v1", "kind": "Pod", "spec": {field: [{"name": "web", "resources": set}]}},
}

denied(document) := found if {
	found := {d.msg | some d in resources.deny} with input as document
		with resources.required as {"requests": ["cpu", "memory"], "limits": ["memory"]}
		with resources.except as ["kube-*"]
}

test_complete if count(denied(pod("containers", complete))) == 0

test_zero_is_a_value if {
	count(denied(pod("containers", object.union(complete, {"requests": {"cpu": 0}})))) == 0
}

test_nothing_set if denied(pod("containers", {})) == {
	"container web sets no requests.cpu", "container web sets no requests.memory", "container web sets no limits.memory",
}

test_no_resources_at_all if {
	count(denied({"object": {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "web"}]}}})) == 3
}

test_one_missing if {
	denied(pod("containers", json.remove(complete, ["limits/memory"]))) == {"container web sets no limits.memory"}
}

test_containers_that_start_the_pod_count if count(denied(pod("initContainers", {}))) == 3

test_containers_for_debugging_do_not if count(denied(pod("ephemeralContainers", {}))) == 0

test_excepted_namespaces if {
	count(denied(object.union(pod("containers", {}), {"request": {"namespace": "kube-system"}}))) == 0
}
