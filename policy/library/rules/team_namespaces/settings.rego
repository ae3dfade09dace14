package commitgate.team_namespaces

# Who owns what. * stands for anything; in paths for a part of one name, and ** for any number of folders.
teams := {"shop": {
	"namespaces": ["shop", "shop-*"],
	"paths": ["apps/shop/**"],
	"members": ["*@shop.example.com"],
}}
