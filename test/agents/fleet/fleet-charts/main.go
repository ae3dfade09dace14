// Fleet-charts renders Fleet's own charts, as an installation of the cluster that manages itself: its kinds, its controllers' accounts, rights and
// configuration.
package main

import (
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: fleet-charts CHARTS DIRECTORY")
	}
	for _, name := range []string{"fleet-crd", "fleet"} {
		text, err := render(filepath.Join(os.Args[1], name))
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[2], name+".yaml"), []byte(text), 0o644)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}

// render is what `helm install` would apply of a chart, without its hooks.
func render(dir string) (string, error) {
	chart, err := loader.LoadDir(dir)
	if err != nil {
		return "", err
	}
	// As Rancher installs it: the agent of the cluster that the controllers run in has a namespace of its own.
	values := map[string]any{"bootstrap": map[string]any{"agentNamespace": "cattle-fleet-local-system"}, "webhookReceiverURL": "", "githubURLPrefix": ""}
	release := chartutil.ReleaseOptions{Name: chart.Name(), Namespace: "cattle-fleet-system", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") && !strings.Contains(files[name], "helm.sh/hook") {
			fmt.Fprintf(&out, "---\n# %s\n%s\n", name, files[name])
		}
	}
	return out.String(), nil
}
