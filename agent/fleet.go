package agent

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// FleetGroup is the API group of Rancher Fleet.
const FleetGroup = "fleet.cattle.io"

// FleetMarks are what fleet-agent sets on each object of a bundle that a GitRepo or HelmOp makes, beside Helm's own: by the first two it knows the set of objects
// (rancher/wrangler, pkg/apply); by the others newer ones say whose it is. scope is AGENT_SCOPE, "" in most installations.
func FleetMarks(scope string, source Owner, bundle string) Metadata {
	set := []string{"default", bundle}
	if strings.HasPrefix(bundle, "fleet-agent") {
		set = []string{"fleet-agent-bootstrap"} // the agent itself, which was there before any bundle
	}
	if scope != "" {
		set = append(set, scope)
	}
	id := fleetJoin(set...)
	hash := sha1.Sum([]byte(id))
	return Metadata{
		Labels: map[string]string{
			"objectset.rio.cattle.io/hash":  hex.EncodeToString(hash[:]),
			FleetGroup + "/managed-by-kind": strings.ToLower(source.Kind), FleetGroup + "/managed-by-namespace": source.Namespace,
			FleetGroup + "/managed-by-name": fleetJoin(source.Name),
		},
		Annotations: map[string]string{"objectset.rio.cattle.io/id": id},
	}
}

// fleetJoin joins with hyphens, and cuts what is longer than a label may be (fleet, internal/names, SafeConcatName).
func fleetJoin(parts ...string) string {
	full := strings.Join(parts, "-")
	if len(full) < 64 {
		return full
	}
	digest := sha256.Sum256([]byte(full))
	text := hex.EncodeToString(digest[:])
	if c := full[56]; c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
		return full[:57] + "-" + text[:5]
	}
	return full[:56] + "-" + text[:6]
}

// FleetReleaseName is the name of the bundle that Fleet makes of a folder, and of the Helm release that it makes of a bundle: lower case, with a digest where
// something had to go, of at most 53 characters (fleet, internal/names, HelmReleaseName). The digests are Fleet's choice, and guard nothing.
func FleetReleaseName(name string) string {
	made := strings.ReplaceAll(name, "/", "-")
	odd := regexp.MustCompile(`[^a-zA-Z0-9-]+`)
	if made != strings.ToLower(made) || odd.MatchString(made) {
		made += "-" + fleetDigest(made, 8)
	}
	made = odd.ReplaceAllLiteralString(strings.ToLower(made), "-")
	made = strings.Trim(regexp.MustCompile(`-+`).ReplaceAllLiteralString(made, "-"), "-")
	if made == "" {
		return fleetDigest(name, 24)
	}
	if len(made) <= 53 {
		return made
	}
	cut := strings.TrimSuffix(made[:47], "-")
	return cut + "-" + fleetDigest(made, 5)
}

func fleetDigest(s string, length int) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])[:length]
}
