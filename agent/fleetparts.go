package agent

import (
	"slices"
	"strings"
)

// FleetPart is what a program of Fleet's is that runs where its controller does, and applies nothing.
type FleetPart string

// The parts of a Fleet installation beside fleet-controller and the agents.
const (
	FleetGitJob       FleetPart = "gitjob"       // looks for commits, and makes a Job of each
	FleetHelmOps      FleetPart = "helmops"      // makes bundles of HelmOps
	FleetJob          FleetPart = "job"          // the Job of a GitRepo, which clones it and makes bundles of its folders
	FleetRegistration FleetPart = "registration" // by which the agent of a cluster reads what is for it, and reports
)

const fleetControllerAccount = ":fleet-controller"

// PartOfFleet tells what a service account is to Fleet, "" if it is nothing. users are those of the agent in the configuration: where fleet-controller
// is among them, the other parts run in this cluster. workspace is the namespace of the GitRepos that are followed.
func PartOfFleet(users []string, workspace, namespace, name string) FleetPart {
	controls := func(user string) bool { return strings.HasSuffix(user, fleetControllerAccount) }
	part := FleetPart(name)
	switch {
	case !slices.ContainsFunc(users, controls), slices.Contains(users, "system:serviceaccount:"+namespace+":"+name):
		return ""
	case (part == FleetGitJob || part == FleetHelmOps) && slices.Contains(users, "system:serviceaccount:"+namespace+fleetControllerAccount):
		return part
	case namespace == workspace && strings.HasPrefix(name, "git-"):
		return FleetJob
	case strings.HasPrefix(namespace, "cluster-") && strings.HasPrefix(name, "request-"):
		return FleetRegistration
	}
	return ""
}

// PartsOfFleet is a regular expression (RE2) of the user names of which PartOfFleet says something, "" if there is none.
func PartsOfFleet(users []string, workspace string) string {
	var namespaces []string
	for _, u := range users {
		parts := strings.Split(u, ":")
		if strings.HasSuffix(u, fleetControllerAccount) && len(parts) == 4 {
			namespaces = append(namespaces, parts[2])
		}
	}
	if len(namespaces) == 0 {
		return ""
	}
	// Names of namespaces have nothing in them that an expression reads otherwise.
	return "^system:serviceaccount:((" + strings.Join(namespaces, "|") + "):(gitjob|helmops)|" + workspace + ":git-[^:]+|cluster-[^:]+:request-[^:]+)$"
}

// FleetJobAccount is the service account of the Jobs of a GitRepo.
func FleetJobAccount(gitRepo string) string { return fleetJoin("git", gitRepo) }
