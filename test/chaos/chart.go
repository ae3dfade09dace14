package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/test/cluster"
)

type object = map[string]any

// release is what an operator says to helm beside testdata/values.yaml.
type release struct {
	mode       string // gate.mode
	registered bool   // webhook.register
	backstop   bool   // backstop.enabled
}

// Where the chart's webhook leads, and what its policy lets the gate put back. No Service leads to a process, so here both are the address of the balancer.
var (
	service  = regexp.MustCompile(`service:\n\s+name: commitgate\n\s+namespace: commitgate\n\s+path: /review\n\s+port: 443`)
	repaired = regexp.MustCompile(`!has\(w\.clientConfig\.url\) &&\s+w\.clientConfig\.service\.namespace == .*"/review"`)
)

// render is what `helm upgrade --install` makes of the chart, by the name of each object: it looks up in the cluster what is there.
func (in *installation) render(r release) (map[string]object, error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return nil, err
	}
	text, err := template.ParseFiles(filepath.Join(root, "test", "chaos", "testdata", "values.yaml"))
	if err != nil {
		return nil, err
	}
	var filled bytes.Buffer
	if err := text.Execute(&filled, map[string]any{
		"URL": in.lab.Repository.URL(), "Anchor": in.lab.Anchor, "Alice": in.lab.Alice.Signer(), "Bob": in.lab.Bob.Signer(),
		"Mode": r.mode, "Registered": r.registered, "Backstop": r.backstop,
	}); err != nil {
		return nil, err
	}
	values, err := common.ReadValues(filled.Bytes())
	if err != nil {
		return nil, err
	}
	chart, err := loader.Load(filepath.Join(root, "charts", "commitgate"))
	if err != nil {
		return nil, err
	}
	options := common.ReleaseOptions{Name: "commitgate", Namespace: namespace, IsInstall: true, Revision: 1}
	with, err := util.ToRenderValues(chart, values, options, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.RenderWithClient(chart, with, in.installer)
	if err != nil {
		return nil, err
	}
	objects := map[string]object{}
	for name, text := range files {
		if path.Ext(name) == ".yaml" {
			if err := decode(in.lead(text), objects); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for _, crd := range chart.CRDObjects() {
		if err := decode(string(crd.File.Data), objects); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// lead makes the webhook lead to the balancer.
func (in *installation) lead(text string) string {
	url := "https://" + in.balancer.address() + "/review"
	text = service.ReplaceAllString(text, "url: "+url)
	return repaired.ReplaceAllString(text, fmt.Sprintf("w.clientConfig.url == %q", url))
}

func decode(text string, into map[string]object) error {
	for d := yamlstream.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if o != nil {
			into[fmt.Sprintf("%v %v", o["kind"], o["metadata"].(object)["name"])] = o
		}
	}
}

// apply sends objects to the API server as a member of commitgate:admins.
func (in *installation) apply(ctx context.Context, objects map[string]object) error {
	var stream strings.Builder
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		text, err := yaml.Marshal(objects[name])
		if err != nil {
			return err
		}
		stream.WriteString("---\n" + string(text))
	}
	_, err := in.lab.Cluster.Kubectl(ctx, in.admin, stream.String(), "apply", "--server-side", "--force-conflicts", "--filename=-")
	return err
}

// upgrade applies what the chart renders, and leaves what helm leaves: custom resource definitions.
func (in *installation) upgrade(ctx context.Context, r release) error {
	objects, err := in.render(r)
	if err != nil {
		return err
	}
	for name := range objects {
		if strings.HasPrefix(name, "CustomResourceDefinition ") {
			delete(objects, name)
		}
	}
	return in.apply(ctx, objects)
}
