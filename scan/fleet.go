package scan

import (
	"fmt"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/manifest"
)

// fleetCopy says of which GitRepo an object is Fleet's copy, "" if it is none: Git declares the GitRepo, and where it is for this cluster, it makes a
// bundle of that name. A Content names none: its files tell.
func (j *Judge) fleetCopy(k manifest.Key, object map[string]any) string {
	if k.Group != agent.FleetGroup || j.Truth.Rendered == nil {
		return ""
	}
	switch k.Kind {
	case "Bundle", "BundleDeployment":
		label := func(name string) string {
			v, _ := dig(object, "metadata", "labels", "fleet.cattle.io/"+name)
			text, _ := v.(string)
			return text
		}
		repo := manifest.Key{Group: agent.FleetGroup, Kind: "GitRepo", Namespace: k.Namespace, Name: label("repo-name")}
		if repo.Name == "" {
			repo.Kind, repo.Name = "HelmOp", label("fleet-helm-name")
		}
		if namespace := label("bundle-namespace"); namespace != "" {
			repo.Namespace = namespace
		}
		if j.Truth.Rendered.MakesBundle(repo, k.Name) || !j.Truth.Rendered.Follows(repo) && j.Truth.Lookup(repo) != nil {
			return fmt.Sprintf("Fleet's copy of a bundle of %s %s/%s, which Git declares", repo.Kind, repo.Namespace, repo.Name)
		}
	case "Content":
		packed, _ := object["content"].(string)
		if files, err := agent.FleetContentResources(packed); err == nil {
			if from, _ := j.Truth.Rendered.FromBundles("", files); from {
				return "Fleet's copy of the files of a bundle, which are in Git"
			}
		}
	}
	return ""
}
