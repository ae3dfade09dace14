package commitgate.ticket

# The trailers that may hold it.
trailers := ["Ticket", "Issue", "Jira"]

# What a ticket looks like (RE2), and an example for whoever forgot.
pattern := `^[A-Z][A-Z0-9]+-[0-9]+$`

example := "SHOP-7"

# For changes to which files.
paths := ["**"]
