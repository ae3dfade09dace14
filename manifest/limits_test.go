package manifest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A tree that somebody pushed may not take the gate down: it ends with an error, and the last good revision stays.
func TestATreeThatIsTooMuchIsGivenUp(t *testing.T) {
	chain := func(n int) string { // Kustomizations that bring Kustomizations
		var b strings.Builder
		for i := range n {
			dir := "cluster"
			if i > 0 {
				dir = fmt.Sprintf("level%d", i)
			}
			fmt.Fprintf(&b, "-- %s/next.yaml --\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: k%d, namespace: flux-system}\n"+
				"spec: {path: level%d, prune: true, sourceRef: {kind: GitRepository, name: infra}}\n", dir, i, i+1)
		}
		fmt.Fprintf(&b, "-- level%d/end.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: end, namespace: x}\n", n)
		return b.String()
	}
	tests := map[string]struct {
		files   string
		limits  Limits
		limit   bool   // the error wraps ErrLimit
		problem string // or it is a problem that somebody can mend
	}{
		"too many files":                      {files: manyApplications(2), limits: Limits{Files: 5}, limit: true},
		"too many bytes":                      {files: manyApplications(2), limits: Limits{Bytes: 500}, limit: true},
		"too many objects":                    {files: manyApplications(2), limits: Limits{Objects: 10}, limit: true},
		"too little time":                     {files: manyApplications(2), limits: Limits{Time: time.Nanosecond}, limit: true},
		"one file too large":                  {files: manyApplications(1), limits: Limits{FileSize: 50}, problem: "larger than 50 bytes"},
		"agents' objects that lead on and on": {files: chain(6), limits: Limits{Depth: 4}, problem: "lies 5 agents' objects deep: 4 is the bound"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := gate(t, fluxRoot)
			in.Limits = test.limits
			_, err := render(t.Context(), in, map[string]revision{"infra": newRepo(t).commit(test.files)})
			var problems Problems
			switch {
			case test.limit && !errors.Is(err, ErrLimit):
				t.Errorf("error %v, want a limit", err)
			case !test.limit && (!errors.As(err, &problems) || !strings.Contains(err.Error(), test.problem)):
				t.Errorf("error %v, want a problem: %s", err, test.problem)
			}
		})
	}
	t.Run("an end from outside", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("shutting down")
		cancel(stop)
		if _, err := render(ctx, gate(t, fluxRoot), map[string]revision{"infra": newRepo(t).commit(manyApplications(1))}); !errors.Is(err, stop) {
			t.Errorf("error %v, want %v", err, stop)
		}
	})
}
