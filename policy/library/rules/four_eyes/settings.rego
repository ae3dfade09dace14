package commitgate.four_eyes

# How many different people must have signed.
people := 2

# For changes to which files.
paths := ["**"]

# But not to these.
except := []
