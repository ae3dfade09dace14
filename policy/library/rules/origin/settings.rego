package commitgate.origin

# Who fills which namespaces. * stands for anything; in paths for a part of one name, and ** for any number of folders.
places := [
	{"namespaces": ["*"], "repositories": ["fleet"], "paths": ["**"]},
	{"namespaces": [""], "repositories": ["fleet"], "paths": ["cluster/**"]},
]
