# METADATA
# title: What the rules about provenance share
package lib.git

# METADATA
# description: |
#   The change is tied to a commit that was judged. The trust anchor is vouched for by the gate's
#   configuration, and what does not come from Git is refused by the gate itself.
judged if {
	input.git.commit
	every s in input.git.signatures { s.kind != "Anchor" }
}

# METADATA
# description: The changed file is one of these. * stands for a part of one folder's or file's name, ** for any number of folders.
path_in(patterns) if {
	some pattern in patterns
	glob.match(pattern, ["/"], input.git.path)
}
