package lib.pods_test

import data.lib.pods

template := {"spec": {"initContainers": [{"name": "start"}], "containers": [{"name": "web"}]}}

objects := {
	"Pod": {"apiVersion": "v1", "kind": "Pod", "spec": template.spec},
	"PodTemplate": {"apiVersion": "v1", "kind": "PodTemplate", "template": template},
	"ReplicationController": {"apiVersion": "v1", "kind": "ReplicationController", "spec": {"template": template}},
	"Deployment": {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": template}},
	"ReplicaSet": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"template": template}},
	"StatefulSet": {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"template": template}},
	"DaemonSet": {"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"template": template}},
	"Job": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template}},
	"CronJob": {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}},
}

test_pods_are_found[kind] if {
	some kind, object in objects
	names := {c.name | some c in pods.containers} with input as {"object": object}
	names == {"start", "web"}
}

test_what_has_no_pods if {
	found := pods.containers with input as {"object": {"apiVersion": "v1", "kind": "ConfigMap", "data": {"spec": "x"}}}
	count(found) == 0
}

test_another_kind_of_pod if {
	found := pods.containers with input as {"object": {"apiVersion": "example.com/v1", "kind": "Pod", "spec": template.spec}}
	count(found) == 0
}

test_a_deletion if {
	found := pods.containers with input as {"object": null}
	count(found) == 0
}
