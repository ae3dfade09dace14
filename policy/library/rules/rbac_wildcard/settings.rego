package commitgate.rbac_wildcard

# Roles that may; * stands for anything.
except := ["cluster-admin"]
