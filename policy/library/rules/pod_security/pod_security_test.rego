package commitgate.pod_security_test

import data.commitgate.pod_security

# A pod that is good at every level.
good := {
	"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
	"containers": [{
		"name": "web", "image": "nginx",
		"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
	}],
}

pod(spec, annotations) := {
	"request": {"namespace": "shop"},
	"object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "annotations": annotations}, "spec": spec},
}

found(document, level) := {d.msg | some d in denials} if {
	denials := pod_security.deny with input as document
		with pod_security.levels as [{"namespaces": ["kube-*"], "level": "privileged"}, {"namespaces": ["*"], "level": level}]
}

with_pod(part) := pod(object.union(good, part), {})

with_container(part) := pod(object.union(good, {"containers": [object.union(good.containers[0], part)]}), {})

with_context(part) := with_container({"securityContext": object.union(good.containers[0].securityContext, part)})

test_good_at_every_level[level] if {
	some level in ["privileged", "baseline", "restricted"]
	found(with_pod({}), level) == set()
}

test_baseline[message] if {
	some message, document in {
		"the pod sets hostNetwork": with_pod({"hostNetwork": true}),
		"the pod sets hostPID": with_pod({"hostPID": true}),
		"the pod sets hostIPC": with_pod({"hostIPC": true}),
		"the pod sets windowsOptions.hostProcess": with_pod({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
		"container web is privileged": with_context({"privileged": true}),
		"container web adds the capability SYS_ADMIN": with_context({"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}),
		"volume host is a hostPath": with_pod({"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
		"container web takes port 80 of the host": with_container({"ports": [{"hostPort": 80}, {"hostPort": 0}]}),
		"container web has a probe or hook that asks the host db": with_container({"livenessProbe": {"tcpSocket": {"host": "db"}}}),
		"container web has a probe or hook that asks the host api": with_container({"lifecycle": {"preStop": {"httpGet": {"host": "api"}}}}),
		"container web sets the AppArmor profile Unconfined": with_context({"appArmorProfile": {"type": "Unconfined"}}),
		"the annotation container.apparmor.security.beta.kubernetes.io/web is unconfined": pod(good, {"container.apparmor.security.beta.kubernetes.io/web": "unconfined"}),
		"the pod sets the SELinux type spc_t": with_pod({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}),
		"container web sets an SELinux role": with_context({"seLinuxOptions": {"role": "r"}}),
		"container web mounts /proc as Unmasked": with_context({"procMount": "Unmasked"}),
		"container web sets the seccomp profile Unconfined": with_context({"seccompProfile": {"type": "Unconfined"}}),
		"the pod sets the sysctl kernel.msgmax": with_pod({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}}),
	}
	found(document, "baseline") == {sprintf("level baseline: %s", [message])}
	sprintf("level restricted: %s", [message]) in found(document, "restricted")
	found(document, "privileged") == set()
}

test_restricted[message] if {
	some message, document in {
		"volume data is of a type that only baseline allows, or none": with_pod({"volumes": [{"name": "data", "nfs": {"path": "/"}}, {"name": "c", "configMap": {}}]}),
		"container web does not set allowPrivilegeEscalation to false": with_context({"allowPrivilegeEscalation": true}),
		"the pod sets runAsUser to 0": with_pod({"securityContext": {"runAsUser": 0}}),
		"container web sets runAsNonRoot to false": with_context({"runAsNonRoot": false}),
		"container web does not drop all capabilities": with_context({"capabilities": {"drop": ["CHOWN"]}}),
		"container web adds the capability CHOWN": with_context({"capabilities": {"add": ["CHOWN"]}}),
		"neither the pod nor container web sets a seccompProfile": pod(object.remove(good, ["securityContext"]), {}),
		"neither the pod nor container web sets runAsNonRoot": pod(object.remove(good, ["securityContext"]), {}),
	}
	sprintf("level restricted: %s", [message]) in found(document, "restricted")
	found(document, "baseline") == set()
}

test_a_bare_pod_fails_everything_restricted if {
	count(found(pod({"containers": [{"name": "web"}]}, {}), "restricted")) == 4
}

test_user_namespaces_relax if {
	unmasked := object.union(good, {"hostUsers": false, "containers": [object.union(good.containers[0], {"securityContext": {"procMount": "Unmasked"}})]})
	found(pod(unmasked, {}), "baseline") == set()
	found(pod(unmasked, {}), "restricted") == {"level restricted: container web mounts /proc as Unmasked"}
	root := object.union(good, {"hostUsers": false, "securityContext": {"runAsNonRoot": false, "runAsUser": 0}})
	found(pod(root, {}), "restricted") == set()
}

test_windows_is_not_asked_for_what_it_has_not if {
	spec := {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "web"}]}
	found(pod(spec, {}), "restricted") == set()
}

test_the_first_level_decides if {
	document := object.union(with_pod({"hostNetwork": true}), {"request": {"namespace": "kube-proxy"}})
	found(document, "restricted") == set()
}

test_templates_are_asked if {
	document := {"request": {"namespace": "shop"}, "object": {
		"apiVersion": "apps/v1", "kind": "Deployment",
		"spec": {"template": {"spec": object.union(good, {"hostPID": true})}},
	}}
	found(document, "baseline") == {"level baseline: the pod sets hostPID"}
}
