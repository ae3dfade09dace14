# METADATA
# title: Names of namespaces, images and people
package lib.names

# METADATA
# description: The name matches one of these, in which * stands for anything.
listed(patterns, name) if {
	some pattern in patterns
	glob.match(pattern, null, name)
}

# METADATA
# description: The namespace of the request, "" for what is in none.
namespace := object.get(input, ["request", "namespace"], "")
