package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// readyTimeout bounds Start: four seconds on an idle machine, much more on a busy one that starts several at once.
	readyTimeout = 3 * time.Minute
	// poll is the pause between two looks at something that is about to become ready.
	poll = 100 * time.Millisecond
)

// Config says where a control plane lives.
type Config struct {
	// Dir holds its keys, data and logs. It must exist and belong to this cluster alone; Stop leaves it in place.
	Dir string
	// Bin is the folder with etcd, kube-apiserver, kube-controller-manager and kubectl: BinDir() if it is empty.
	Bin string
	// SharedCredentials lets all controllers ask by the one name of kube-controller-manager, as few clusters do.
	SharedCredentials bool
	// APIServerFlags are further ones of kube-apiserver.
	APIServerFlags []string
	// Definitions are CustomResourceDefinitions, as YAML, that are there before the controllers start: the garbage collector looks for new kinds each half
	// minute only.
	Definitions string
}

// Cluster is a running control plane.
type Cluster struct {
	dir, bin  string
	url       string
	ca        *Authority
	processes []*Process // in the order of their start
	admin     *rest.Config
	shared    bool     // Config.SharedCredentials
	flags     []string // Config.APIServerFlags
	kinds     string   // Config.Definitions
}

// Start starts a control plane and waits until it serves requests and its controllers work. The caller must Stop it.
func Start(ctx context.Context, config Config) (*Cluster, error) {
	if config.Bin == "" {
		bin, err := BinDir()
		if err != nil {
			return nil, err
		}
		config.Bin = bin
	}
	ca, err := NewAuthority(filepath.Join(config.Dir, "pki"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: config.Dir, bin: config.Bin, ca: ca, shared: config.SharedCredentials, flags: config.APIServerFlags, kinds: config.Definitions}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	tokenKey, err := c.serviceAccountKey()
	if err != nil {
		return err
	}
	server, err := c.ca.server("server")
	if err != nil {
		return err
	}
	if err := c.startEtcd(server, ports[0], ports[1]); err != nil {
		return err
	}
	if err := c.startAPIServer(server, tokenKey, ports[0], ports[2]); err != nil {
		return err
	}
	c.url = fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	if c.admin, err = c.User("admin", "system:masters"); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	// Only a ready API server has the roles by which the controllers may start.
	if err := c.eventually(ctx, "API server ready", func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	if err := c.define(ctx); err != nil {
		return err
	}
	if err := c.startControllers(server, tokenKey, ports[3]); err != nil {
		return err
	}
	// The service account that every namespace gets is made by a controller.
	return c.eventually(ctx, "controllers ready", func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// define makes the kinds of Config.Definitions, and waits until the API server tells of them.
func (c *Cluster) define(ctx context.Context) error {
	if c.kinds == "" {
		return nil
	}
	kubeconfig, err := c.Kubeconfig("admin", c.admin)
	if err != nil {
		return err
	}
	made, err := c.Kubectl(ctx, kubeconfig, c.kinds, "apply", "--filename=-", "--output=name")
	if err != nil {
		return err
	}
	for name := range strings.Lines(made) {
		_, resource, _ := strings.Cut(strings.TrimSpace(name), "/") // a definition is called PLURAL.GROUP
		if err := c.eventually(ctx, resource+" served", func(ctx context.Context) error {
			_, err := c.Kubectl(ctx, kubeconfig, "", "get", resource, "--all-namespaces")
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startEtcd(server *pair, client, peer int) error {
	clients, peers := fmt.Sprintf("https://127.0.0.1:%d", client), fmt.Sprintf("https://127.0.0.1:%d", peer)
	return c.run("etcd",
		"--data-dir="+filepath.Join(c.dir, "etcd"),
		"--unsafe-no-fsync", // the data is thrown away with the cluster
		"--listen-client-urls="+clients, "--advertise-client-urls="+clients,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers,
		"--client-cert-auth", "--trusted-ca-file="+c.ca.File(), "--cert-file="+server.certFile, "--key-file="+server.keyFile,
		"--peer-client-cert-auth", "--peer-trusted-ca-file="+c.ca.File(), "--peer-cert-file="+server.certFile, "--peer-key-file="+server.keyFile,
		"--log-level=warn",
	)
}

// auditPolicy records every write with who and what, never a body: a body may be a Secret or a token.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: None
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: Metadata
`

func (c *Cluster) startAPIServer(server *pair, tokenKey string, etcd, port int) error {
	policy := filepath.Join(c.dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	return c.run("kube-apiserver", append([]string{
		fmt.Sprintf("--etcd-servers=https://127.0.0.1:%d", etcd),
		"--etcd-cafile=" + c.ca.File(), "--etcd-certfile=" + server.certFile, "--etcd-keyfile=" + server.keyFile,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		// An Endpoints object must not hold a loopback address; so there is none for the API server itself.
		"--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + server.certFile, "--tls-private-key-file=" + server.keyFile, "--client-ca-file=" + c.ca.File(),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + tokenKey, "--service-account-signing-key-file=" + tokenKey,
		"--service-cluster-ip-range=10.96.0.0/16",
		"--audit-policy-file=" + policy, "--audit-log-path=" + c.AuditLog(),
	}, c.flags...)...)
}

func (c *Cluster) startControllers(server *pair, tokenKey string, port int) error {
	var groups []string
	if c.shared {
		groups = []string{"system:masters"} // by that one name it needs the rights of all of them
	}
	user, err := c.User("system:kube-controller-manager", groups...)
	if err != nil {
		return err
	}
	kubeconfig, err := c.Kubeconfig("kube-controller-manager", user)
	if err != nil {
		return err
	}
	return c.run("kube-controller-manager",
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file="+server.certFile, "--tls-private-key-file="+server.keyFile,
		fmt.Sprintf("--use-service-account-credentials=%t", !c.shared), // each controller by its own name, as in nearly every cluster
		"--service-account-private-key-file="+tokenKey, "--root-ca-file="+c.ca.File(),
		"--leader-elect=false",
		"--kube-api-qps=200", "--kube-api-burst=400",
	)
}

func (c *Cluster) run(name string, args ...string) error {
	p, err := Run(filepath.Join(c.dir, name+".log"), filepath.Join(c.bin, name), args...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

// serviceAccountKey makes the key that signs service account tokens.
func (c *Cluster) serviceAccountKey() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.ca.dir, "service-account.key")
	return file, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// eventually tries until it succeeds, a process of the control plane ends, or the context does; the error then says what was last wrong.
func (c *Cluster) eventually(ctx context.Context, what string, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			if err := p.Ended(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; last: %w", what, ctx.Err(), err)
		case <-time.After(poll):
		}
	}
}

// grace is how long an API server that was asked to end may wait for requests that never do: watches.
const grace = 5 * time.Second

// RestartAPIServer ends the API server as a node does (SIGTERM, and after a grace SIGKILL), starts it again, and waits until it is ready.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	i := slices.IndexFunc(c.processes, func(p *Process) bool { return p.name == "kube-apiserver" })
	old := c.processes[i]
	if err := old.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-old.Done():
	case <-time.After(grace):
		if err := old.Kill(); err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	fresh, err := Run(old.log, old.cmd.Path, old.cmd.Args[1:]...)
	if err != nil {
		return err
	}
	c.processes[i] = fresh
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return err
	}
	return c.eventually(ctx, "API server ready", func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// Stop ends every program of the control plane at once: nothing that it holds outlives it, so there is nothing to end in good order.
func (c *Cluster) Stop() error {
	var errs []error
	for i := len(c.processes) - 1; i >= 0; i-- {
		errs = append(errs, c.processes[i].Kill())
	}
	c.processes = nil
	return errors.Join(errs...)
}

// URL is where the API server serves.
func (c *Cluster) URL() string { return c.url }

// AuditLog is the file of the API server's own audit log: a JSON event a line, without bodies.
func (c *Cluster) AuditLog() string { return filepath.Join(c.dir, "kube-apiserver-audit.log") }

// Programs of a control plane, as `make controlplane` builds them.
var programs = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"}

// ErrShared is returned when tests run in the network of the machine: the kernel gave them none of their own.
var ErrShared = errors.New("the tests have no network of their own: an address for a pod cannot be added")

// ErrNotBuilt is returned when a program of the control plane is missing.
var ErrNotBuilt = errors.New("the control plane is not built: run `make controlplane`")

// BinDir finds bin/ of this module, from any folder in it. It returns ErrNotBuilt if a program is missing there.
func BinDir() (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	var missing []string
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("%w (missing: %s)", ErrNotBuilt, strings.Join(missing, ", "))
	}
	return bin, nil
}

// ModuleRoot is the folder of commitgate's go.mod, found upwards from the working folder.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module github.com/commitgate/commitgate\n") {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("not inside the commitgate module")
		}
		dir = up
	}
}
