package commitgate.resources

# What must be set.
required := {
	"requests": ["cpu", "memory"],
	"limits": ["memory"],
}

# Namespaces that are not asked; * stands for anything.
except := ["kube-system"]
