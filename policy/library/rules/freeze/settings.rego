package commitgate.freeze

# When changes wait. paths and namespaces may be left out: then the window is for all. A weekly rule without from begins
# at midnight, one without until ends there.
windows := [
	{
		"name": "end of the year",
		"from": "2026-12-19T00:00:00Z",
		"until": "2027-01-04T06:00:00Z",
		"namespaces": ["*"],
	},
	{
		"name": "weekend",
		"zone": "Europe/Berlin",
		"weekly": [
			{"days": ["Friday"], "from": "16:00"},
			{"days": ["Saturday", "Sunday"]},
		],
		"paths": ["apps/payment/**"],
	},
]

# What passes all the same.
override := {"trailer": "Freeze-Override", "people": 2}
