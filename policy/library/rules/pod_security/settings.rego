package commitgate.pod_security

# The level of each namespace: privileged, baseline or restricted. The first entry that matches decides; * stands for anything.
levels := [
	{"namespaces": ["kube-system"], "level": "privileged"},
	{"namespaces": ["*"], "level": "baseline"},
]
