# METADATA
# title: Where pods stand in an object
# description: Pods themselves, and the kinds that make pods from a template.
package lib.pods

with_template := {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"}

# METADATA
# description: The pod, or the template of pods; undefined for every other kind.
pod := input.object if {
	input.object.kind == "Pod"
	input.object.apiVersion == "v1"
}

pod := input.object.spec.template if input.object.kind in with_template

pod := input.object.template if {
	input.object.kind == "PodTemplate"
	input.object.apiVersion == "v1"
}

pod := input.object.spec.jobTemplate.spec.template if {
	input.object.kind == "CronJob"
	startswith(input.object.apiVersion, "batch/")
}

# METADATA
# description: Every container of the pod, those that only start it and those for debugging among them.
containers contains container if {
	some field in ["containers", "initContainers", "ephemeralContainers"]
	some container in pod.spec[field]
}
