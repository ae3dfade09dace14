// Package lab is a whole installation made small, for the demo and the end-to-end tests: a real control plane, a Git host with signed
// commits, Flux and Argo CD, and commitgate itself as the program that users run, registered as a webhook.
package lab

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/test/syncagent"
)

// The people of the lab. Alice and Bob sign; Carol has every right that RBAC knows and signs nothing; Mallory is nobody.
const (
	Carol       = "carol@shop.example"
	FluxUser    = "system:serviceaccount:flux-system:kustomize-controller"
	ArgoCDUser  = "system:serviceaccount:argocd:argocd-application-controller"
	RunnerUser  = "runner@shop.example" // a CI runner, where there is one
	WebhookName = "gate.commitgate.dev"
)

// seed is what the repository and the cluster hold at first.
//
//go:embed seed
var seed embed.FS

// Config says where a lab lives and how it is watched.
type Config struct {
	Dir string // holds everything; it must exist
	// Commitgate is the program under test: bin/commitgate of this module if it is empty.
	Commitgate string
	// Repair has the gate watch its own registration, and put the webhook's configuration back (config/repair).
	Repair bool
	// WithoutCluster starts the Git host and the gate only.
	WithoutCluster bool
	// Static has the API server read webhook and policies from its own disk (commitgate static).
	Static bool
	// View also has the gate scan the cluster and serve its web view.
	View bool
	// Pipeline adds a CI runner, which makes the Helm release web of the chart in charts/web with the values of env/prod.yaml, and nothing else.
	Pipeline bool
	// Stream has the API server post its audit events to the gate, beside writing them to its own file.
	Stream bool
	// Callers has the API server show a client certificate to its webhooks, and the gate answer nobody else (serve --client-ca).
	Callers bool
	// Probes is the probe address of the gate; a free one of the loopback interface if it is empty.
	Probes string
	// WithoutGate starts everything but a gate: the caller installs one, or calls Guard.
	WithoutGate bool
	// Agents also has helm-controller apply the release web of charts/release, Argo CD the Application billing and the ApplicationSet regions, and Config Sync the folder apps/synced.
	Agents bool
	// Fleet adds Rancher Fleet, with the GitRepo shop of the folder fleet, in the cluster that it manages itself.
	Fleet bool
	// Scope is what the gate guards: everything if it is not set.
	Scope v1alpha1.Scope
	// Progress is told when a part stands; it may be nil.
	Progress func(part, what string, took time.Duration)
}

// Lab is a running installation.
type Lab struct {
	Dir        string
	Cluster    *cluster.Cluster
	Forge      *forge.Forge
	Repository *forge.Repository // apps/shop is applied by Flux, apps/payments by Argo CD
	Anchor     git.ID            // the trust anchor: the first commit
	Gate       *Gate

	Alice   *forge.Person // signs with SSH
	Bob     *forge.Person // signs with OpenPGP
	Mallory *forge.Person // signs with a key that nobody knows

	Flux   *syncagent.Flux
	ArgoCD *syncagent.ArgoCD
	// Of Config.Agents.
	Helm       *syncagent.HelmController
	Billing    *syncagent.ArgoCD
	Sets       *syncagent.ArgoCD          // of the Application that holds ApplicationSets
	Regions    *syncagent.ApplicationSets // of the one called regions, which makes an Application for each folder of apps/regions
	ConfigSync *syncagent.ConfigSync
	Fleet      *syncagent.Fleet // of Config.Fleet

	// Kubeconfigs: of a member of system:masters, of Carol, with the tokens of the agents, as somebody would steal them, and of the gate.
	AdminConfig, CarolConfig, FluxConfig, ArgoCDConfig, GateConfig string
	HelmConfig, ConfigSyncConfig, ApplicationSetConfig             string // of Config.Agents
	RunnerConfig                                                   string // of the CI runner
	FleetConfig, FleetControllerConfig                             string // of Config.Fleet: the agent, and the controller

	// Callers may ask the gate, and nobody else, with Config.Callers: the authority that signed the API server's client certificate.
	Callers *cluster.Authority

	listen       string // address of the gate, where it had to be known before; ""
	streamToken  string // file with the token by which the API server posts its audit events; "" if it does not
	static       string // folder of the API server's static manifests, "" without
	registration string // folder of what stands in front of the gate, for the gate to watch; "" if it does not
	scans        bool   // the gate scans the cluster
	pipeline     bool
	agents       bool
	fleet        bool
	scope        v1alpha1.Scope
	progress     func(part, what string, took time.Duration)
}

// Start builds a lab. The caller must Stop it.
func Start(ctx context.Context, config Config) (*Lab, error) {
	l := &Lab{Dir: config.Dir, progress: config.Progress, scans: config.View, pipeline: config.Pipeline, agents: config.Agents, fleet: config.Fleet, scope: config.Scope}
	if l.progress == nil {
		l.progress = func(string, string, time.Duration) {}
	}
	if config.Static {
		l.static = filepath.Join(l.Dir, "static")
	}
	if config.Stream {
		l.streamToken = filepath.Join(l.Dir, "audit-stream.token")
	}
	if config.Callers {
		var err error
		if l.Callers, err = cluster.NewAuthority(filepath.Join(l.Dir, "callers")); err != nil {
			return nil, err
		}
	}
	if config.Repair {
		l.registration = filepath.Join(l.Dir, "registration")
		if err := os.Mkdir(l.registration, 0o700); err != nil {
			return nil, err
		}
	}
	startGate := func(ctx context.Context) error { return l.startGate(ctx, config) }
	parts := []func(context.Context) error{l.startCluster, l.startForge, l.bootstrap, l.writeConfig, startGate, l.showConfiguration, l.register}
	switch {
	case config.WithoutGate:
		parts = []func(context.Context) error{l.startCluster, l.startForge, l.bootstrap}
	case config.WithoutCluster:
		parts = []func(context.Context) error{l.startForge, l.writeConfig, startGate}
	}
	for _, part := range parts {
		if err := part(ctx); err != nil {
			return nil, errors.Join(err, l.Stop())
		}
	}
	return l, nil
}

// Stop ends everything that the lab started. Its folder stays.
func (l *Lab) Stop() error {
	var errs []error
	if l.Gate != nil {
		errs = append(errs, l.Gate.Kill())
	}
	if l.Forge != nil {
		errs = append(errs, l.Forge.Close())
	}
	if l.Cluster != nil {
		errs = append(errs, l.Cluster.Stop())
	}
	return errors.Join(errs...)
}

func (l *Lab) startCluster(ctx context.Context) error {
	began := time.Now()
	dir := filepath.Join(l.Dir, "cluster")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	flags, err := l.staticFlags()
	if err != nil {
		return err
	}
	stream, err := l.streamFlags()
	if err != nil {
		return err
	}
	callers, err := l.callerFlags()
	if err != nil {
		return err
	}
	flags = slices.Concat(flags, stream, callers)
	definitions, err := l.definitions()
	if err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Config{Dir: dir, APIServerFlags: flags, Definitions: definitions})
	if err != nil {
		return err
	}
	l.Cluster = c
	if l.AdminConfig, err = c.Kubeconfig("admin", c.Admin()); err != nil {
		return err
	}
	version, err := c.Kubectl(ctx, l.AdminConfig, "", "version", "--output=yaml")
	if err != nil {
		return err
	}
	l.progress("control plane", fmt.Sprintf("Kubernetes %s at %s", serverVersion(version), c.URL()), time.Since(began))
	return nil
}

// serverVersion finds the gitVersion of the server in what `kubectl version` says.
func serverVersion(text string) string {
	_, server, _ := strings.Cut(text, "serverVersion:")
	_, version, _ := strings.Cut(server, "gitVersion: ")
	version, _, _ = strings.Cut(version, "\n")
	return version
}

func (l *Lab) startForge(ctx context.Context) error {
	began := time.Now()
	f, err := forge.New(filepath.Join(l.Dir, "forge"))
	if err != nil {
		return err
	}
	l.Forge = f
	if l.Alice, err = f.WithSSHKey(ctx, "Alice Archer", "alice@shop.example"); err != nil {
		return err
	}
	if l.Bob, err = f.WithOpenPGPKey(ctx, "Bob Baker", "bob@shop.example"); err != nil {
		return err
	}
	if l.Mallory, err = f.WithSSHKey(ctx, "Alice Archer", "alice@shop.example"); err != nil { // takes Alice's name, but has not her key
		return err
	}
	if l.Repository, err = f.Create(ctx, "infra"); err != nil {
		return err
	}
	l.Anchor, err = l.Repository.Publish(ctx, l.Alice, "begin", map[string]string{"README.md": "What runs in the cluster.\n"})
	if err != nil {
		return err
	}
	type step struct {
		author *forge.Person
		folder string
	}
	steps := []step{{l.Alice, "apps/shop"}, {l.Bob, "apps/payments"}}
	if l.pipeline {
		steps = append(steps, step{l.Bob, "charts/web"}, step{l.Alice, "env"})
	}
	if l.agents {
		steps = append(steps, step{l.Alice, "agents"})
	}
	if l.fleet {
		steps = append(steps, step{l.Alice, "fleet"})
	}
	for _, step := range steps {
		files, err := seedFiles(step.folder, l.Repository.URL())
		if err != nil {
			return err
		}
		if _, err := l.Repository.Publish(ctx, step.author, "add "+step.folder, files); err != nil {
			return err
		}
	}
	head, err := l.Repository.Head(ctx)
	if err != nil {
		return err
	}
	l.progress("repository", fmt.Sprintf("%s  %s @ %s, signed by Alice (%s) and Bob (%s)",
		l.Repository.URL(), forge.Branch, head.Short(), l.Alice.Kind(), l.Bob.Kind()), time.Since(began))
	return nil
}

// seedFiles are the files of one folder of the seed, by their path, with the URL of the repository where they name it.
func seedFiles(folder, url string) (map[string]string, error) {
	files := map[string]string{}
	root, err := fs.Sub(seed, "seed")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(root, folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, path)
		files[strings.TrimPrefix(path, "agents/")] = strings.ReplaceAll(string(data), "REPOSITORY", url)
		return err
	})
	return files, err
}

// ReplaceIn replaces a piece of a file in the working copy of the repository.
func (l *Lab) ReplaceIn(path, before, after string) error {
	text, err := l.Repository.Read(path)
	if err != nil {
		return err
	}
	if !strings.Contains(text, before) {
		return fmt.Errorf("%s does not hold %q", path, before)
	}
	return l.Repository.Write(path, strings.ReplaceAll(text, before, after))
}

// bootstrap makes what a cluster has before it has a gate, and the identities of everybody who will ask for something.
func (l *Lab) bootstrap(ctx context.Context) error {
	began := time.Now()
	if err := l.applySeed(ctx); err != nil {
		return err
	}
	carol, err := l.Cluster.User(Carol)
	if err != nil {
		return err
	}
	if l.CarolConfig, err = l.Cluster.Kubeconfig("carol", carol); err != nil {
		return err
	}
	if l.pipeline {
		if err := l.addRunner(ctx); err != nil {
			return err
		}
	}
	gate, err := l.Cluster.ServiceAccount(ctx, "commitgate", "commitgate", "")
	if err != nil {
		return err
	}
	if l.GateConfig, err = l.Cluster.Kubeconfig("commitgate", gate); err != nil {
		return err
	}
	flux, err := l.Cluster.ServiceAccount(ctx, "flux-system", "kustomize-controller", "kustomize-controller-0")
	if err != nil {
		return err
	}
	if l.FluxConfig, err = l.Cluster.Kubeconfig("flux", flux); err != nil {
		return err
	}
	argocd, err := l.Cluster.ServiceAccount(ctx, "argocd", "argocd-application-controller", "argocd-application-controller-0")
	if err != nil {
		return err
	}
	if l.ArgoCDConfig, err = l.Cluster.Kubeconfig("argocd", argocd); err != nil {
		return err
	}
	source := func(path string) syncagent.Source {
		return syncagent.Source{URL: l.Repository.URL(), Branch: forge.Branch, Path: path}
	}
	if l.Flux, err = syncagent.NewFlux(flux, "flux-system", "shop", source("apps/shop")); err != nil {
		return err
	}
	l.ArgoCD = syncagent.NewArgoCD(l.Cluster, l.ArgoCDConfig, "payments", "payments", source("apps/payments"))
	if l.agents {
		if err := l.addAgents(ctx, source); err != nil {
			return err
		}
	}
	if l.fleet {
		if err := l.addFleet(ctx, source("fleet")); err != nil {
			return err
		}
	}
	l.progress("agents", "Flux for apps/shop, Argo CD for apps/payments", time.Since(began))
	return nil
}

// applySeed applies what stands in the cluster before there is a gate: what the agents need, the gate's kinds, and the rights of both.
func (l *Lab) applySeed(ctx context.Context) error {
	manifests, err := seed.ReadFile("seed/bootstrap.yaml")
	if err != nil {
		return err
	}
	if err := l.applyBootstrap(ctx, string(manifests)); err != nil {
		return err
	}
	for _, file := range l.agentFiles() {
		more, err := seed.ReadFile(file)
		if err != nil {
			return err
		}
		if err := l.applyBootstrap(ctx, string(more)); err != nil {
			return err
		}
	}
	if err := l.install(ctx, "crd"); err != nil {
		return err
	}
	if err := l.install(ctx, "rbac"); err != nil {
		return err
	}
	if l.registration != "" {
		if err := l.apply(ctx, "repair", "rbac.yaml"); err != nil {
			return err
		}
	}
	if l.scans {
		if err := l.apply(ctx, "scan", "rbac.yaml"); err != nil {
			return err
		}
	}
	return nil
}

// agentFiles hold what the agents beside Flux and Argo CD's application-controller are installed with.
func (l *Lab) agentFiles() (files []string) {
	if l.agents {
		files = append(files, "seed/agents.yaml")
	}
	if l.fleet {
		files = append(files, "seed/fleet.yaml")
	}
	return files
}

// definitions are the kinds of those agents.
func (l *Lab) definitions() (string, error) {
	var kinds strings.Builder
	for _, file := range l.agentFiles() {
		text, err := seed.ReadFile(file)
		if err != nil {
			return "", err
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			if strings.Contains(document, "kind: CustomResourceDefinition\n") {
				kinds.WriteString(document + "\n---\n")
			}
		}
	}
	return kinds.String(), nil
}

// addAgents makes the agents of Config.Agents.
func (l *Lab) addAgents(ctx context.Context, source func(string) syncagent.Source) error {
	for account, file := range map[string]*string{
		"flux-system/helm-controller": &l.HelmConfig, "config-management-system/root-reconciler": &l.ConfigSyncConfig,
		"argocd/argocd-applicationset-controller": &l.ApplicationSetConfig,
	} {
		namespace, name, _ := strings.Cut(account, "/")
		config, err := l.Cluster.ServiceAccount(ctx, namespace, name, name+"-0")
		if err != nil {
			return err
		}
		if *file, err = l.Cluster.Kubeconfig(name, config); err != nil {
			return err
		}
		if file == &l.ApplicationSetConfig {
			if l.Regions, err = syncagent.NewApplicationSets(config, "argocd", "regions", source("apps/regions")); err != nil {
				return err
			}
		}
	}
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	l.Helm = syncagent.NewHelmController(filepath.Join(root, "bin"), l.HelmConfig, "flux-system", "web", "released", source("charts/release"))
	l.Billing = syncagent.NewArgoCD(l.Cluster, l.ArgoCDConfig, "billing", "billing", source("apps/billing"))
	l.Billing.ServerSide, l.Billing.NamespaceLabels = true, map[string]string{"team": "billing"}
	l.Sets = syncagent.NewArgoCD(l.Cluster, l.ArgoCDConfig, "sets", "argocd", source("argocd"))
	l.ConfigSync = syncagent.NewConfigSync(l.Cluster, l.ConfigSyncConfig, source("apps/synced"))
	return nil
}

// addFleet makes the three of Config.Fleet.
func (l *Lab) addFleet(ctx context.Context, source syncagent.Source) error {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	who := syncagent.FleetIdentities{}
	for _, account := range []struct {
		namespace, name, pod string
		config               **rest.Config
		file                 *string
	}{
		{"cattle-fleet-local-system", "fleet-agent", "fleet-agent-0", &who.Agent, &l.FleetConfig},
		{"cattle-fleet-system", "fleet-controller", "fleet-controller-0", &who.Controller, &l.FleetControllerConfig},
		{"fleet-local", "git-shop", "shop-0a1b2-c3d4e", &who.Job, nil},
	} {
		if *account.config, err = l.Cluster.ServiceAccount(ctx, account.namespace, account.name, account.pod); err != nil {
			return err
		}
		if account.file == nil {
			continue
		}
		if *account.file, err = l.Cluster.Kubeconfig(account.name, *account.config); err != nil {
			return err
		}
	}
	l.Fleet, err = syncagent.NewFleet(filepath.Join(root, "bin"), l.FleetConfig, who, "shop", source)
	return err
}

// addRunner makes the CI runner: a user with every right that RBAC knows, as runners have them.
func (l *Lab) addRunner(ctx context.Context) error {
	runner, err := l.Cluster.User(RunnerUser)
	if err != nil {
		return err
	}
	if l.RunnerConfig, err = l.Cluster.Kubeconfig("runner", runner); err != nil {
		return err
	}
	_, err = l.Cluster.Kubectl(ctx, l.AdminConfig, "", "create", "clusterrolebinding", "runner", "--clusterrole=cluster-admin", "--user="+RunnerUser)
	return err
}

// install applies a part of what users install: a folder of config/.
func (l *Lab) install(ctx context.Context, part string) error {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	_, err = l.Cluster.Kubectl(ctx, l.AdminConfig, "", "apply", "--kustomize="+filepath.Join(root, "config", part))
	return err
}

// apply applies one file of what users install.
func (l *Lab) apply(ctx context.Context, part, file string) error {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	_, err = l.Cluster.Kubectl(ctx, l.AdminConfig, "", "apply", "--filename="+filepath.Join(root, "config", part, file))
	return err
}

// applyBootstrap tries again while the controllers have not yet made the things that every new namespace gets.
func (l *Lab) applyBootstrap(ctx context.Context, manifests string) error {
	return l.Eventually(ctx, func(ctx context.Context) error {
		_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, manifests, "apply", "--filename=-")
		return err
	})
}

const (
	patience = 3 * time.Minute        // longer than anything here takes on a busy machine: the garbage collector alone looks for new kinds each half minute
	pause    = 100 * time.Millisecond // between two looks
)

// Eventually tries until there is no error, and gives up with the last one after some minutes.
func (l *Lab) Eventually(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}
