package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/forge"
)

// Gate is `commitgate serve`, as users run it.
type Gate struct {
	Program string // bin/commitgate
	Config  string // the configuration file
	Data    string // mirror, verified revision, certificate authority and audit log
	// FromCluster: the next Start goes by the custom resources of the cluster, not by Config.
	FromCluster bool

	kubeconfig     string   // "" without a cluster
	flags          []string // further ones
	listen, health string   // addresses
	// View is the address of the web view, "" without one.
	View    string
	log     string
	process *cluster.Process
}

// interval between fetches: longer than any test, so that what is fetched in time was fetched on demand.
const interval = time.Hour

// scanInterval is short enough that whoever looks at the web view sees it follow.
const scanInterval = 15 * time.Second

// Guard puts a gate in front of a lab that was started without one. The configuration is that of the caller.
func (l *Lab) Guard(ctx context.Context, configuration []byte) error {
	if err := os.WriteFile(l.gateConfig(), configuration, 0o600); err != nil {
		return err
	}
	if err := l.startGate(ctx, Config{}); err != nil {
		return err
	}
	if err := l.showConfiguration(ctx); err != nil {
		return err
	}
	return l.register(ctx)
}

// gateConfig is the gate's configuration file.
func (l *Lab) gateConfig() string { return filepath.Join(l.Dir, "gate.yaml") }

func (l *Lab) startGate(ctx context.Context, wanted Config) error {
	began, program := time.Now(), wanted.Commitgate
	if program == "" {
		root, err := cluster.ModuleRoot()
		if err != nil {
			return err
		}
		program = filepath.Join(root, "bin", "commitgate")
	}
	g := &Gate{
		Program: program, Config: l.gateConfig(), Data: filepath.Join(l.Dir, "gate"),
		kubeconfig: l.GateConfig, log: filepath.Join(l.Dir, "commitgate.log"),
	}
	var err error
	if g.listen = l.listen; g.listen == "" {
		if g.listen, err = cluster.FreeAddress(); err != nil {
			return err
		}
	}
	if g.health = wanted.Probes; g.health == "" {
		if g.health, err = cluster.FreeAddress(); err != nil {
			return err
		}
	}
	if wanted.View {
		if g.View, err = cluster.FreeAddress(); err != nil {
			return err
		}
	}
	if l.streamToken != "" {
		g.flags = append(g.flags, "--audit-stream-token="+l.streamToken)
	}
	if l.Callers != nil {
		g.flags = append(g.flags, "--client-ca="+l.Callers.File())
	}
	if l.registration != "" {
		g.flags = append(g.flags, "--registration="+l.registration, "--repair=webhook", "--repair-lease=commitgate/commitgate-repair")
	}
	l.Gate = g
	if err := g.Start(ctx); err != nil {
		return err
	}
	l.progress("gate", fmt.Sprintf("commitgate serve --config %s", g.Config), time.Since(began))
	return nil
}

// writeConfig fills in the configuration file of the seed.
func (l *Lab) writeConfig(context.Context) error {
	indent := func(n int, text string) string {
		space := strings.Repeat(" ", n)
		return space + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+space)
	}
	t, err := template.New("gate.yaml.tmpl").Funcs(template.FuncMap{"indent": indent}).ParseFS(seed, "seed/gate.yaml.tmpl")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"URL": l.Repository.URL(), "Branch": forge.Branch, "Interval": interval, "Anchor": l.Anchor,
		"Signers": []v1alpha1.Signer{l.Alice.Signer(), l.Bob.Signer()}, "Pipeline": l.pipeline, "Runner": RunnerUser, "Agents": l.agents,
		"Fleet": l.fleet, "Scope": l.scope,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(l.gateConfig(), out.Bytes(), 0o600)
}

// Start starts the gate on what it already has in its folder, and waits until it is ready.
func (g *Gate) Start(ctx context.Context) error {
	owners := "--no-cluster"
	if g.kubeconfig != "" {
		owners = "--kubeconfig=" + g.kubeconfig
	}
	configuration := "--config=" + g.Config
	if g.FromCluster {
		configuration = "--from-cluster"
	}
	args := []string{"serve", configuration, "--data=" + g.Data, "--listen=" + g.listen, "--probe-listen=" + g.health, owners, "--log-format=text"}
	args = append(args, g.flags...)
	if g.View != "" {
		args = append(args, "--ui-listen="+g.View)
		if g.kubeconfig != "" {
			args = append(args, "--scan-interval="+scanInterval.String())
		}
	}
	p, err := cluster.Run(g.log, g.Program, args...)
	if err != nil {
		return err
	}
	g.process = p
	for {
		missing := g.Missing(ctx)
		if missing == nil {
			return nil
		}
		if err := p.Ended(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), missing)
		case <-time.After(pause):
		}
	}
}

// Missing asks /readyz: the error names what the gate lacks; nil if nothing.
func (g *Gate) Missing(ctx context.Context) error {
	body, status, err := g.probe(ctx, "/readyz")
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return errors.New(strings.TrimSpace(body))
	}
	return nil
}

// probe asks the gate's probe address.
func (g *Gate) probe(ctx context.Context, path string) (body string, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.health+path, nil)
	if err != nil {
		return "", 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), response.StatusCode, err
}

// Probes is the address of /readyz, /metrics and /status, as a URL.
func (g *Gate) Probes() string { return "http://" + g.health }

// Kill ends the gate with SIGKILL, as a machine that loses power would.
func (g *Gate) Kill() error {
	if g.process == nil {
		return nil
	}
	return g.process.Kill()
}

// Stop asks the gate to end, as a rollout does, and waits until it is gone: its Leases are free then.
func (g *Gate) Stop(ctx context.Context) error {
	if err := g.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-g.process.Done():
		return nil
	}
}

// Run runs another command of commitgate and returns what it printed, both streams, and its exit status.
func (g *Gate) Run(ctx context.Context, args ...string) (string, int, error) {
	out, err := exec.CommandContext(ctx, g.Program, args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}

// Address is where the gate takes reviews, and the authority by which to know it.
func (g *Gate) Address() (url string, ca []byte, err error) {
	ca, err = os.ReadFile(filepath.Join(g.Data, "ca", "ca.crt"))
	return "https://" + g.listen + "/review", ca, err
}

// Pid is the gate's process, while it runs.
func (g *Gate) Pid() int { return g.process.Pid() }

// AuditLog is the folder of the gate's audit log.
func (g *Gate) AuditLog() string { return filepath.Join(g.Data, "audit") }

// Log is the file of what the gate wrote to its standard streams.
func (g *Gate) Log() string { return g.log }

// register puts the gate in front of the API server as users do: the webhook of config/webhook, at the address of this gate, and the
// policies of config/policy, which guard what no webhook is asked about.
func (l *Lab) register(ctx context.Context) error {
	if l.static != "" {
		return l.registerStatic(ctx)
	}
	if err := l.guard(ctx); err != nil {
		return err
	}
	configuration, err := l.webhook()
	if err != nil {
		return err
	}
	if l.registration != "" {
		data, err := yaml.Marshal(configuration)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.registration, "webhook.yaml"), data, 0o600); err != nil {
			return err
		}
	}
	client, err := kubernetes.NewForConfig(l.Cluster.Admin())
	if err != nil {
		return err
	}
	if _, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, configuration, metav1.CreateOptions{}); err != nil {
		return err
	}
	// The API server learns of both by a watch: they are in front of everything once they refuse dry-runs that nobody else would.
	asked := []string{"create", "configmap", "is-the-gate-there"}
	if l.scope == v1alpha1.ScopeDeclared { // of what Git declares, and with an annotation that it does not
		asked = []string{"create", "namespace", "shop", "--save-config"}
	}
	if err := l.refused(ctx, WebhookName, asked...); err != nil {
		return err
	}
	if err := l.refused(ctx, "commitgate guards itself", "delete", "validatingwebhookconfiguration", configuration.Name); err != nil {
		return err
	}
	if err := l.policies(ctx); err != nil || l.registration == "" {
		return err
	}
	return l.Registered(ctx)
}

// Registered waits until the gate, which watches its registration, has found all of it as it should be: the webhook, three policies and their bindings.
func (l *Lab) Registered(ctx context.Context) error {
	return l.Eventually(ctx, func(ctx context.Context) error {
		n, err := l.Gate.Metric(ctx, `gate_registration_objects{state="sound"}`)
		if err == nil && n != "7" {
			err = fmt.Errorf("%q of 7 objects of the registration are sound", n)
		}
		return err
	})
}

// policies waits until the API server goes by the other two policies of the guard: it takes up each for itself, and a test that came before would find
// them missing. The gate's own identity may dry-run everything, so it asks for a Lease in earnest, which no webhook hears of.
func (l *Lab) policies(ctx context.Context) error {
	lease := `{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "is-the-policy-there", "namespace": "default"}}`
	err := l.Eventually(ctx, func(ctx context.Context) error {
		_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, lease, "create", "--filename=-", "--as=system:serviceaccount:commitgate:commitgate", "--as-group=system:masters")
		if err == nil {
			_, err = l.Cluster.Kubectl(ctx, l.AdminConfig, lease, "delete", "--filename=-", "--as=system:admin", "--as-group=system:masters")
			return errors.Join(errors.New("the gate's own identity is not bound yet"), err)
		}
		if !strings.Contains(err.Error(), "own identity never asks for this") {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.Eventually(ctx, func(ctx context.Context) error {
		_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "annotate", "gate", "--all", "is-the-policy-there=no", "--dry-run=server", "--as=nobody", "--as-group=system:masters")
		if err == nil || !strings.Contains(err.Error(), "commitgate guards its configuration") {
			return fmt.Errorf("the gate's configuration is not guarded yet: %v", err)
		}
		return nil
	})
}

// showConfiguration puts the gate's configuration into the cluster, for kubectl get to show how it stands. The API server serves a kind some time after its
// definition was made.
func (l *Lab) showConfiguration(ctx context.Context) error {
	return l.Eventually(ctx, func(ctx context.Context) error {
		_, err := l.Cluster.Kubectl(ctx, l.AdminConfig, "", "apply", "--server-side", "--filename="+l.Gate.Config)
		return err
	})
}

// guard applies the policies that users apply. Only the address that the gate may put back is another, as that of the webhook.
func (l *Lab) guard(ctx context.Context) error {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(root, "config", "policy", "guard.yaml"))
	if err != nil {
		return err
	}
	url, _, err := l.Gate.Address()
	if err != nil {
		return err
	}
	const service = `!has(w.clientConfig.url) &&
      w.clientConfig.service.namespace == "commitgate" && w.clientConfig.service.name == "commitgate" && w.clientConfig.service.path == "/review"`
	policies := strings.Replace(string(data), service, fmt.Sprintf("w.clientConfig.url == %q", url), 1)
	if policies == string(data) {
		return errors.New("config/policy/guard.yaml does not say where the webhook leads")
	}
	if l.registration != "" {
		if err := os.WriteFile(filepath.Join(l.registration, "guard.yaml"), []byte(policies), 0o600); err != nil {
			return err
		}
	}
	_, err = l.Cluster.Kubectl(ctx, l.AdminConfig, policies, "apply", "--filename=-")
	return err
}

// refused waits until a dry-run of Carol's is refused with a word.
func (l *Lab) refused(ctx context.Context, word string, args ...string) error {
	return l.Eventually(ctx, func(ctx context.Context) error {
		_, err := l.Cluster.Kubectl(ctx, l.CarolConfig, "", append(args, "--dry-run=server")...)
		var refused *cluster.KubectlError
		if errors.As(err, &refused) && strings.Contains(refused.Stderr, word) {
			return nil
		}
		return fmt.Errorf("kubectl %s is not refused yet: %v", strings.Join(args, " "), err)
	})
}

// webhook reads the registration that users apply. Only its address is another: no Service leads to a program beside the cluster.
func (l *Lab) webhook() (*admissionregistrationv1.ValidatingWebhookConfiguration, error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, "config", "webhook", "webhook.yaml"))
	if err != nil {
		return nil, err
	}
	var configuration admissionregistrationv1.ValidatingWebhookConfiguration
	if err := yaml.UnmarshalStrict(data, &configuration); err != nil {
		return nil, err
	}
	url, ca, err := l.Gate.Address()
	if err != nil {
		return nil, err
	}
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: ca}
	}
	return &configuration, nil
}

// Metric asks the gate for one series of /metrics, named with its labels as there; "" if it has none.
func (g *Gate) Metric(ctx context.Context, series string) (string, error) {
	body, _, err := g.probe(ctx, "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", err
}
