package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"
)

// pairs does jobs two at a time, but for the first ones, and counts them.
type pairs struct {
	InProcess
	alone int // so many come one by one

	mu   sync.Mutex
	jobs map[string]int
	all  int
	meet chan struct{}
}

func (e *pairs) Do(ctx context.Context, tree fs.FS, job []byte) ([]byte, error) {
	e.mu.Lock()
	e.jobs[string(job)]++
	e.all++
	together := e.all > e.alone
	e.mu.Unlock()
	if together {
		select {
		case e.meet <- struct{}{}:
		case <-e.meet:
		case <-time.After(time.Minute):
			return nil, fmt.Errorf("nobody else came")
		}
	}
	return e.InProcess.Do(ctx, tree, job)
}

// Where much is to be rendered the jobs are done on all cores, each once, and nothing else comes of it: neither objects nor problems.
func TestJobsAreDoneAhead(t *testing.T) {
	const n = 8
	tests := map[string]struct {
		roots string
		fill  func(files *strings.Builder, i int)
		file  string // a file of the fourth
	}{
		"folders of one root": {roots: `  - {repository: infra, path: cluster, agent: flux}`, fill: func(files *strings.Builder, i int) {
			fmt.Fprintf(files, "-- cluster/k%d/kustomization.yaml --\nresources: [a.yaml]\nnameSuffix: -x%d\n-- cluster/k%d/a.yaml --\n%s", i, i, i, aConfigMap)
		}, file: "cluster/k3/a.yaml"},
		"Kustomizations": {roots: fluxRoot, fill: func(files *strings.Builder, i int) {
			fmt.Fprintf(files, "-- cluster/app%d.yaml --\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: app%d, namespace: flux-system}\n"+
				"spec: {path: ./apps/app%d, prune: true, sourceRef: {kind: GitRepository, name: infra}}\n", i, i, i)
			fmt.Fprintf(files, "-- apps/app%d/kustomization.yaml --\nresources: [a.yaml]\nnameSuffix: -x%d\n-- apps/app%d/a.yaml --\n%s", i, i, i, aConfigMap)
		}, file: "apps/app3/a.yaml"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var files strings.Builder
			for i := range n {
				test.fill(&files, i)
			}
			in, repository := gate(t, test.roots), newRepo(t)
			// The third job finds the others; it is done with them, and the first ones are not done again.
			engine := &pairs{alone: aheadFrom - 1, jobs: map[string]int{}, meet: make(chan struct{})}
			in.Engine = engine
			set, err := render(t.Context(), in, map[string]revision{"infra": repository.commit(files.String())})
			check(t, err)
			made := 0
			for _, o := range set.Objects {
				if strings.HasPrefix(o.Name, "a-x") {
					made++
				}
			}
			if made != n || engine.all != n || len(engine.jobs) != n {
				t.Errorf("%d objects of %d jobs, %d of them different; want %d", made, engine.all, len(engine.jobs), n)
			}

			broken := files.String() + "-- " + test.file + " --\n}\n"
			engine.all, engine.alone = 0, n
			_, err = render(t.Context(), in, map[string]revision{"infra": repository.commit(broken)})
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != 1 || string(problems[0].Path) != test.file || engine.all != n {
				t.Errorf("%d jobs, and the problems are %v", engine.all, err)
			}
		})
	}
}

const aConfigMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: shop}\n"
