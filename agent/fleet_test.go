package agent

import "testing"

// Names and marks as they were seen on clusters that Fleet manages.
func TestFleetNamesAreFleetsOwn(t *testing.T) {
	names := map[string]string{
		"shop/apps/cart": "shop-apps-cart",
		"shop":           "shop",
		"my_repo/a.b":    "my-repo-a-b-" + fleetDigest("my_repo-a.b", 8),
		"Shop/apps":      "shop-apps-" + fleetDigest("Shop-apps", 8),
		"a-very-long-repository-name/with/a-very-long-path/of-folders": "a-very-long-repository-name-with-a-very-long-pa-" + fleetDigest("a-very-long-repository-name-with-a-very-long-path-of-folders", 5),
		"___": fleetDigest("___", 8),
		"":    fleetDigest("", 24),
	}
	for from, want := range names {
		if have := FleetReleaseName(from); have != want || len(have) > 53 {
			t.Errorf("%q: %q, want %q", from, have, want)
		}
	}
	for bundle, hash := range map[string]string{
		"rancher-core-logging-logging-resources":               "eb144977a6e6a2bacddb574707e5ea19af81c705",
		"local-keycloak-platform-platform-cert-manager-issuer": "9f0a573d7083432f6352a1a4957564f99c76ea0b",
	} {
		if m := FleetMarks("", Owner{Kind: "GitRepo", Namespace: "fleet-default", Name: "repo"}, bundle); m.Labels["objectset.rio.cattle.io/hash"] != hash {
			t.Errorf("%s: %v, want %s", bundle, m, hash)
		}
	}
	if m := FleetMarks("cattle-fleet-local-system", Owner{Kind: "GitRepo", Namespace: "fleet-local", Name: "repo"}, "mcc-rancher-monitoring"); m.Annotations["objectset.rio.cattle.io/id"] != "default-mcc-rancher-monitoring-cattle-fleet-local-system" {
		t.Errorf("with a scope: %v", m)
	}
	if m := FleetMarks("s", Owner{Kind: "GitRepo", Namespace: "fleet-local", Name: "repo"}, "fleet-agent-local"); m.Annotations["objectset.rio.cattle.io/id"] != "fleet-agent-bootstrap-s" {
		t.Errorf("of the agent itself: %v", m)
	}
}
