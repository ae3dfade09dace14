# METADATA
# title: Pod Security levels
# description: |
#   Pods and what makes pods follow the Pod Security Standards of Kubernetes 1.36: baseline or restricted, by namespace.
#   The built-in admission plugin only warns about a Deployment and refuses its pods later; here the Deployment
#   itself is refused, and the level stands in signed history and not in a label of the namespace.
# related_resources:
#   - https://kubernetes.io/docs/concepts/security/pod-security-standards/
# custom:
#   controls: [SOC2-CC6.1, SOC2-CC6.8]
package commitgate.pod_security

import data.lib.names
import data.lib.pods

# METADATA
# custom:
#   id: pod-security
deny contains {"msg": msg, "details": {"level": level}} if {
	level in ["baseline", "restricted"]
	some problem in baseline
	not relaxed(problem)
	msg := sprintf("level %s: %s", [level, problem.msg])
}

deny contains {"msg": msg, "details": {"level": level}} if {
	level == "restricted"
	some problem in restricted
	msg := sprintf("level restricted: %s", [problem])
}

# The first entry whose namespaces match decides.
level := [entry.level | some entry in levels; names.listed(entry.namespaces, names.namespace)][0]

# A pod with user namespaces of its own may unmask /proc at level baseline; restricted has no such exception.
relaxed(problem) if {
	problem.check == "procMount"
	level == "baseline"
	pods.pod.spec.hostUsers == false
}

# The kubelet knows none of these on Windows.
windows if pods.pod.spec.os.name == "windows"

own_users if pods.pod.spec.hostUsers == false

# Each place that a securityContext may stand in.
contexts contains {"at": "the pod", "set": pods.pod.spec.securityContext}

contexts contains {"at": sprintf("container %s", [c.name]), "set": c.securityContext} if some c in pods.containers

baseline contains {"check": "windowsHostProcess", "msg": msg} if {
	some c in contexts
	c.set.windowsOptions.hostProcess == true
	msg := sprintf("%s sets windowsOptions.hostProcess", [c.at])
}

baseline contains {"check": "hostNamespaces", "msg": msg} if {
	some field in ["hostNetwork", "hostPID", "hostIPC"]
	pods.pod.spec[field] == true
	msg := sprintf("the pod sets %s", [field])
}

baseline contains {"check": "privileged", "msg": msg} if {
	some c in pods.containers
	c.securityContext.privileged == true
	msg := sprintf("container %s is privileged", [c.name])
}

common_capabilities := {
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
	"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

baseline contains {"check": "capabilities", "msg": msg} if {
	some c in pods.containers
	some capability in c.securityContext.capabilities.add
	not capability in common_capabilities
	msg := sprintf("container %s adds the capability %s", [c.name, capability])
}

baseline contains {"check": "hostPathVolumes", "msg": msg} if {
	some v in pods.pod.spec.volumes
	v.hostPath
	msg := sprintf("volume %s is a hostPath", [v.name])
}

baseline contains {"check": "hostPorts", "msg": msg} if {
	some c in pods.containers
	some port in c.ports
	port.hostPort != 0
	msg := sprintf("container %s takes port %d of the host", [c.name, port.hostPort])
}

probes := ["livenessProbe", "readinessProbe", "startupProbe"]

handlers contains {"name": c.name, "handler": c[probe]} if {
	some c in pods.containers
	some probe in probes
}

handlers contains {"name": c.name, "handler": c.lifecycle[hook]} if {
	some c in pods.containers
	some hook in ["postStart", "preStop"]
}

baseline contains {"check": "hostProbes", "msg": msg} if {
	some h in handlers
	some way in ["httpGet", "tcpSocket"]
	h.handler[way].host != ""
	msg := sprintf("container %s has a probe or hook that asks the host %s", [h.name, h.handler[way].host])
}

baseline contains {"check": "appArmor", "msg": msg} if {
	some c in contexts
	type := c.set.appArmorProfile.type
	not type in ["RuntimeDefault", "Localhost"]
	msg := sprintf("%s sets the AppArmor profile %s", [c.at, type])
}

baseline contains {"check": "appArmor", "msg": msg} if {
	some key, value in pods.pod.metadata.annotations
	startswith(key, "container.apparmor.security.beta.kubernetes.io/")
	not value in ["", "runtime/default"]
	not startswith(value, "localhost/")
	msg := sprintf("the annotation %s is %s", [key, value])
}

baseline contains {"check": "seLinux", "msg": msg} if {
	some c in contexts
	type := c.set.seLinuxOptions.type
	not type in ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"]
	msg := sprintf("%s sets the SELinux type %s", [c.at, type])
}

baseline contains {"check": "seLinux", "msg": msg} if {
	some c in contexts
	some field in ["user", "role"]
	c.set.seLinuxOptions[field] != ""
	msg := sprintf("%s sets an SELinux %s", [c.at, field])
}

baseline contains {"check": "procMount", "msg": msg} if {
	some c in pods.containers
	c.securityContext.procMount != "Default"
	msg := sprintf("container %s mounts /proc as %s", [c.name, c.securityContext.procMount])
}

baseline contains {"check": "seccomp", "msg": msg} if {
	some c in contexts
	type := c.set.seccompProfile.type
	not type in ["RuntimeDefault", "Localhost"]
	msg := sprintf("%s sets the seccomp profile %s", [c.at, type])
}

safe_sysctls := {
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}

baseline contains {"check": "sysctls", "msg": msg} if {
	some sysctl in pods.pod.spec.securityContext.sysctls
	not sysctl.name in safe_sysctls
	msg := sprintf("the pod sets the sysctl %s", [sysctl.name])
}

restricted_volumes := [
	"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
]

restricted contains msg if {
	some v in pods.pod.spec.volumes
	every type in restricted_volumes { not v[type] }
	msg := sprintf("volume %s is of a type that only baseline allows, or none", [v.name])
}

restricted contains msg if {
	not windows
	some c in pods.containers
	not c.securityContext.allowPrivilegeEscalation == false
	msg := sprintf("container %s does not set allowPrivilegeEscalation to false", [c.name])
}

restricted contains msg if {
	not own_users
	some c in contexts
	c.set.runAsNonRoot == false
	msg := sprintf("%s sets runAsNonRoot to false", [c.at])
}

restricted contains msg if {
	not own_users
	not pods.pod.spec.securityContext.runAsNonRoot == true
	some c in pods.containers
	not c.securityContext.runAsNonRoot == true
	msg := sprintf("neither the pod nor container %s sets runAsNonRoot", [c.name])
}

restricted contains msg if {
	not own_users
	some c in contexts
	c.set.runAsUser == 0
	msg := sprintf("%s sets runAsUser to 0", [c.at])
}

restricted contains msg if {
	not windows
	not pods.pod.spec.securityContext.seccompProfile.type
	some c in pods.containers
	not c.securityContext.seccompProfile.type
	msg := sprintf("neither the pod nor container %s sets a seccompProfile", [c.name])
}

restricted contains msg if {
	not windows
	some c in pods.containers
	not "ALL" in object.get(c, ["securityContext", "capabilities", "drop"], [])
	msg := sprintf("container %s does not drop all capabilities", [c.name])
}

restricted contains msg if {
	not windows
	some c in pods.containers
	some capability in c.securityContext.capabilities.add
	capability != "NET_BIND_SERVICE"
	msg := sprintf("container %s adds the capability %s", [c.name, capability])
}
