package agent

import (
	"regexp"
	"slices"
	"testing"
)

func TestPartsOfFleetStandBesideItsController(t *testing.T) {
	agentAlone := []string{"system:serviceaccount:cattle-fleet-system:fleet-agent"}
	both := append(agentAlone, "system:serviceaccount:cattle-fleet-system:fleet-controller")
	listed := append(both, "system:serviceaccount:fleet-local:git-shop", "system:serviceaccount:cattle-fleet-system:gitjob")
	for name, test := range map[string]struct {
		users           []string
		namespace, name string
		want            FleetPart
	}{
		"who looks for commits":                      {both, "cattle-fleet-system", "gitjob", FleetGitJob},
		"who makes bundles of HelmOps":               {both, "cattle-fleet-system", "helmops", FleetHelmOps},
		"the Job of a GitRepo":                       {both, "fleet-local", "git-shop", FleetJob},
		"the agent as it reports":                    {both, "cluster-fleet-local-local-1a3d67d0a899", "request-x-1", FleetRegistration},
		"an account of that name elsewhere":          {both, "mine", "gitjob", ""},
		"the Job of another workspace":               {both, "fleet-default", "git-shop", ""},
		"an account that is called so elsewhere":     {both, "mine", "request-x-1", ""},
		"the controller itself":                      {both, "cattle-fleet-system", "fleet-controller", ""},
		"a Job where the controller is not":          {agentAlone, "fleet-local", "git-shop", ""},
		"a part that is listed as an agent is one":   {listed, "cattle-fleet-system", "gitjob", ""},
		"a Job that is listed as an agent is one":    {listed, "fleet-local", "git-shop", ""},
		"a Job of another GitRepo is a part as ever": {listed, "fleet-local", "git-team", FleetJob},
	} {
		t.Run(name, func(t *testing.T) {
			if got := PartOfFleet(test.users, "fleet-local", test.namespace, test.name); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if user, expression := "system:serviceaccount:"+test.namespace+":"+test.name, PartsOfFleet(test.users, "fleet-local"); test.want != "" && !regexp.MustCompile(expression).MatchString(user) {
				t.Errorf("%s does not match %s", expression, user)
			} else if test.want == "" && expression != "" && regexp.MustCompile(expression).MatchString(user) && !slices.Contains(test.users, user) {
				t.Errorf("%s matches %s", expression, user)
			}
		})
	}
}
