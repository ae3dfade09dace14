package commitgate.age

# The bound, in hours (h) and smaller units.
bound := "4320h"

# For changes to which files.
paths := ["**"]

operations := ["CREATE"]
