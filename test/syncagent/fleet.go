package syncagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Fleet is Rancher Fleet in the cluster that it manages itself, for one GitRepo: the Job that finds bundles in the repository, the controller that
// makes deployments of them, and the agent that makes a Helm release of each, with Helm's own program. A bundle is a folder with a fleet.yaml: a
// chart, or plain manifests.
type Fleet struct {
	// Helm3 applies as Helm 3 does, and labels namespaces as the agents did that had it: merged by the client, hooks without marks, and a namespace
	// whose labels are those of the bundle alone. It may be changed between two syncs.
	Helm3 bool

	source          Source
	bin, kubeconfig string
	gitRepo         string
	job, controller client.Client
	agent           client.Client
	inventory       map[string]*fleetBundle // by name
}

// FleetIdentities are who Fleet's parts are.
type FleetIdentities struct{ Agent, Controller, Job *rest.Config }

// Where Fleet keeps the cluster that it runs in.
const (
	fleetNamespace        = "fleet-local"
	fleetClusterNamespace = "cluster-fleet-local-local-1a3d67d0a899"
	fleetAgentNamespace   = "cattle-fleet-local-system"
)

// fleetBundle is a folder with a fleet.yaml.
type fleetBundle struct {
	name, dir string
	options   fleetOptions
	commit    string
}

type fleetOptions struct {
	DefaultNamespace     string            `json:"defaultNamespace,omitempty"`
	Namespace            string            `json:"namespace,omitempty"`
	NamespaceLabels      map[string]string `json:"namespaceLabels,omitempty"`
	NamespaceAnnotations map[string]string `json:"namespaceAnnotations,omitempty"`
	ServiceAccount       string            `json:"serviceAccount,omitempty"`
	KeepResources        bool              `json:"keepResources,omitempty"`
	Helm                 struct {
		ReleaseName   string         `json:"releaseName,omitempty"`
		Values        map[string]any `json:"values,omitempty"`
		Force         bool           `json:"force,omitempty"`
		TakeOwnership bool           `json:"takeOwnership,omitempty"`
	} `json:"helm"`
}

func (b *fleetBundle) release() (namespace, name string) {
	namespace, name = "default", b.name
	if b.options.DefaultNamespace != "" {
		namespace = b.options.DefaultNamespace
	}
	if b.options.Namespace != "" {
		namespace = b.options.Namespace
	}
	if b.options.Helm.ReleaseName != "" {
		name = b.options.Helm.ReleaseName
	}
	return namespace, name
}

// NewFleet is Fleet for a GitRepo, whose path is that of the source. The kubeconfig is the agent's, for Helm; the folder holds the program.
func NewFleet(bin, kubeconfig string, who FleetIdentities, gitRepo string, source Source) (*Fleet, error) {
	f := &Fleet{source: source, bin: bin, kubeconfig: kubeconfig, gitRepo: gitRepo, inventory: map[string]*fleetBundle{}}
	for config, c := range map[*rest.Config]*client.Client{who.Agent: &f.agent, who.Controller: &f.controller, who.Job: &f.job} {
		quiet := rest.CopyConfig(config)
		quiet.WarningHandlerWithContext = rest.NoWarnings{} // those of the gate are for people
		made, err := newClient(quiet, client.Options{})
		if err != nil {
			return nil, err
		}
		*c = made
	}
	return f, nil
}

// Sync does what follows from a new commit: bundles, deployments and releases, and those that are gone go.
func (f *Fleet) Sync(ctx context.Context) (err error) {
	if _, err := os.Stat(filepath.Join(f.bin, "helm")); errors.Is(err, os.ErrNotExist) {
		return ErrNoHelm
	}
	dir, err := f.source.clone(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bundles, err := f.find(ctx, dir)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(f.inventory)) {
		if bundles[name] != nil {
			continue
		}
		if err := f.remove(ctx, f.inventory[name]); err != nil {
			return fmt.Errorf("bundle %s: %w", name, err)
		}
		delete(f.inventory, name)
	}
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		if err := f.deploy(ctx, bundles[name], filepath.Join(dir, ".git", "home")); err != nil {
			return fmt.Errorf("bundle %s: %w", name, err)
		}
		f.inventory[name] = bundles[name]
	}
	return nil
}

// CorrectDrift puts a bundle back, as the agent does when an object of it is not what it was made: by a rollback to the release that is there.
func (f *Fleet) CorrectDrift(ctx context.Context, bundle string, force bool) error {
	b := f.inventory[bundle]
	namespace, name := b.release()
	out, err := f.helm(ctx, b, os.TempDir(), "history", name, "--namespace="+namespace, "--max=1", "--output=json")
	if err != nil {
		return err
	}
	var history []struct {
		Revision int `json:"revision"`
	}
	if err := yaml.Unmarshal([]byte(out), &history); err != nil || len(history) != 1 {
		return fmt.Errorf("the history of %s: %w: %s", name, err, out)
	}
	args := []string{"rollback", name, fmt.Sprint(history[0].Revision), "--namespace=" + namespace, "--history-max=2"}
	switch {
	case force:
		args = append(args, "--force-replace", "--server-side=false")
	case !f.Helm3:
		args = append(args, "--force-conflicts")
	}
	_, err = f.helm(ctx, b, os.TempDir(), args...)
	return err
}

// find reads the bundles of a clone.
func (f *Fleet) find(ctx context.Context, dir string) (map[string]*fleetBundle, error) {
	head := exec.CommandContext(ctx, "git", "-C", dir, "rev-parse", "HEAD")
	head.Env = gitEnvironment()
	commit, err := head.Output()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, f.source.Path, "*", "fleet.yaml"))
	if err != nil {
		return nil, err
	}
	bundles := map[string]*fleetBundle{}
	for _, file := range files {
		b := &fleetBundle{dir: filepath.Dir(file), commit: strings.TrimSpace(string(commit))}
		b.name = f.gitRepo + "-" + strings.ReplaceAll(strings.TrimPrefix(b.dir, dir+"/"), "/", "-")
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := yaml.Unmarshal(text, &b.options); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		bundles[b.name] = b
	}
	return bundles, nil
}

// deploy brings one bundle from the Job over the controller to the agent.
func (f *Fleet) deploy(ctx context.Context, b *fleetBundle, home string) error {
	if err := f.announce(ctx, b); err != nil {
		return err
	}
	if err := f.install(ctx, b, home); err != nil {
		return err
	}
	if err := f.labelNamespace(ctx, b); err != nil {
		return err
	}
	return f.report(ctx, b)
}

// install makes the release of a bundle, or upgrades it.
func (f *Fleet) install(ctx context.Context, b *fleetBundle, home string) error {
	chart, plain, err := f.chart(b, home)
	if err != nil {
		return err
	}
	namespace, name := b.release()
	values, err := yaml.Marshal(b.options.Helm.Values)
	if err != nil {
		return err
	}
	valuesFile := filepath.Join(home, "values.yaml")
	if err := os.WriteFile(valuesFile, values, 0o600); err != nil {
		return err
	}
	made, err := f.helm(ctx, b, home, "template", name, chart, "--namespace="+namespace, "--values="+valuesFile)
	if err != nil {
		return err
	}
	if err := f.writePostRenderer(b, home, made, plain); err != nil {
		return err
	}
	out, err := f.helm(ctx, b, home, "list", "--short", "--namespace="+namespace, "--filter=^"+name+"$")
	if err != nil {
		return err
	}
	args := []string{"install", name, chart, "--replace", "--create-namespace"}
	side, force := !f.Helm3, b.options.Helm.Force
	if strings.TrimSpace(out) != "" {
		args = []string{"upgrade", name, chart, "--take-ownership", "--history-max=2"}
		if force {
			args = append(args, "--force-replace")
		}
	}
	args = append(args, "--namespace="+namespace, "--values="+valuesFile, "--post-renderer=fleet", fmt.Sprintf("--server-side=%t", side && !force && !b.options.Helm.TakeOwnership))
	_, err = f.helm(ctx, b, home, args...)
	return err
}

// chart is the folder that the agent makes a chart of: the bundle's own, or an empty one, which the post-renderer fills with plain manifests.
func (f *Fleet) chart(b *fleetBundle, home string) (dir, plain string, err error) {
	dir = filepath.Join(home, "charts", b.name)
	if err := os.CopyFS(dir, os.DirFS(b.dir)); err != nil {
		return "", "", err
	}
	metadata := map[string]any{"apiVersion": "v2", "name": b.name, "version": "v0.1.0"}
	text, err := os.ReadFile(filepath.Join(dir, "Chart.yaml"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			return "", "", err
		}
		for _, file := range files {
			if filepath.Base(file) == "fleet.yaml" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return "", "", err
			}
			plain += "---\n" + string(text)
		}
	case err != nil:
		return "", "", err
	default:
		if err := yaml.Unmarshal(text, &metadata); err != nil {
			return "", "", err
		}
	}
	metadata["annotations"] = map[string]any{
		"fleet.cattle.io/bundle-id": b.name, "fleet.cattle.io/agent-namespace": fleetAgentNamespace, "fleet.cattle.io/commit": b.commit,
		"fleet.cattle.io/service-account": b.options.ServiceAccount, "fleet.cattle.io/keep-resources": fmt.Sprint(b.options.KeepResources),
	}
	if text, err = yaml.Marshal(metadata); err != nil {
		return "", "", err
	}
	return dir, plain, os.WriteFile(filepath.Join(dir, "Chart.yaml"), text, 0o600)
}

// writePostRenderer makes a plugin that gives Helm what the agent makes of a chart's output: with the marks of the bundle, and in its namespace.
func (f *Fleet) writePostRenderer(b *fleetBundle, home, made, plain string) error {
	objects, err := utils.ReadObjects(strings.NewReader(made + "\n" + plain))
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for _, o := range objects {
		if !f.Helm3 || o.GetAnnotations()["helm.sh/hook"] == "" {
			f.mark(o, b)
		}
		if b.options.Namespace != "" {
			o.SetNamespace(b.options.Namespace)
		}
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			return err
		}
		out.WriteString("---\n" + string(text))
	}
	dir := filepath.Join(home, "plugins", "fleet")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	plugin := "name: fleet\nversion: 1.0.0\ntype: postrenderer/v1\napiVersion: v1\nruntime: subprocess\nruntimeConfig:\n  platformCommand:\n  - command: ${HELM_PLUGIN_DIR}/render.sh\n"
	script := "#!/bin/sh\ncat >/dev/null\ncat \"$HELM_PLUGIN_DIR/rendered.yaml\"\n"
	return errors.Join(os.WriteFile(filepath.Join(dir, "plugin.yaml"), []byte(plugin), 0o600), os.WriteFile(filepath.Join(dir, "render.sh"), []byte(script), 0o700),
		os.WriteFile(filepath.Join(dir, "rendered.yaml"), out.Bytes(), 0o600))
}

// helm runs Helm as the agent, or as the account that the bundle names.
func (f *Fleet) helm(ctx context.Context, b *fleetBundle, home string, args ...string) (string, error) {
	if b.options.ServiceAccount != "" {
		args = append(args, "--kube-as-user=system:serviceaccount:"+fleetAgentNamespace+":"+b.options.ServiceAccount)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(f.bin, "helm"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+f.kubeconfig, "HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home,
		"HELM_PLUGINS="+filepath.Join(home, "plugins"))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s", args[0], err, strings.TrimSpace(complaints.String()))
	}
	return string(out), nil
}

// remove takes away a bundle that is no longer in the repository, and its release.
func (f *Fleet) remove(ctx context.Context, b *fleetBundle) error {
	if err := f.withdraw(ctx, b); err != nil {
		return err
	}
	namespace, name := b.release()
	if b.options.KeepResources {
		secrets := &unstructured.UnstructuredList{}
		secrets.SetAPIVersion("v1")
		secrets.SetKind("SecretList")
		if err := f.agent.List(ctx, secrets, client.InNamespace(namespace), client.MatchingLabels{"owner": "helm", "name": name}); err != nil {
			return err
		}
		for i := range secrets.Items {
			if err := f.agent.Delete(ctx, &secrets.Items[i]); err != nil {
				return err
			}
		}
		return nil
	}
	_, err := f.helm(ctx, b, os.TempDir(), "uninstall", name, "--namespace="+namespace)
	return err
}
