package commitgate.maps

deny contains "taken" if data.inventory.namespace[_]["v1"].ConfigMap[input.object.metadata.name]
