package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

const (
	namespace = "commitgate"
	webhook   = "commitgate"          // the name of the webhook configuration
	backstop  = "commitgate-backstop" // the name of the policy
	patience  = 3 * time.Minute       // for anything to happen on a busy machine
	pause     = 100 * time.Millisecond
)

// installation is what the chart renders, installed: its objects in the API server, and its StatefulSet as processes, since no node runs pods here.
type installation struct {
	lab       *lab.Lab
	installer *rest.Config // a member of commitgate:admins
	client    kubernetes.Interface
	admin     string // its kubeconfig
	program   string
	dir       string
	replicas  []*replica
	balancer  *balancer
	kubelet   func() // ends the loop that brings volumes to the replicas
	settings  settings
}

// settings are what a short and a long run do differently.
type settings struct {
	linger   time.Duration // how long each event and its wake is watched
	drain    time.Duration // serve --drain
	look     time.Duration // between two looks at the readiness of a replica
	caSettle time.Duration // serve --ca-settle
}

// newInstallation installs the chart as docs/install.md says: first without the webhook; then, when every replica is ready, with it.
func newInstallation(ctx context.Context, l *lab.Lab, s settings) (in *installation, err error) {
	root, err := cluster.ModuleRoot()
	if err != nil {
		return nil, err
	}
	in = &installation{lab: l, dir: filepath.Join(l.Dir, "nodes"), program: filepath.Join(root, "bin", "commitgate"), settings: s, kubelet: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.close())
		}
	}()
	if in.installer, err = l.Cluster.User("installer", "system:masters", "commitgate:admins"); err != nil {
		return in, err
	}
	if in.admin, err = l.Cluster.Kubeconfig("installer", in.installer); err != nil {
		return in, err
	}
	if in.client, err = kubernetes.NewForConfig(in.installer); err != nil {
		return in, err
	}
	if in.balancer, err = newBalancer(); err != nil {
		return in, err
	}
	objects, err := in.render(release{mode: "Audit"})
	if err != nil {
		return in, err
	}
	if err := in.apply(ctx, objects); err != nil {
		return in, err
	}
	if err := in.startReplicas(ctx); err != nil {
		return in, err
	}
	if err := in.upgrade(ctx, release{mode: "Audit", registered: true}); err != nil {
		return in, err
	}
	if err := in.seenRegistered(ctx, "default"); err != nil {
		return in, err
	}
	return in, in.sound(ctx, 7) // the webhook, three policies and their bindings
}

// startReplicas starts what the StatefulSet describes, and the address in front.
func (in *installation) startReplicas(ctx context.Context) error {
	set, err := in.client.AppsV1().StatefulSets(namespace).Get(ctx, "commitgate", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := in.volumes(ctx, set); err != nil {
		return err
	}
	var backends []*backend
	for i := range int(*set.Spec.Replicas) {
		r, err := in.newReplica(i, set)
		if err != nil {
			return err
		}
		in.replicas = append(in.replicas, r)
		backends = append(backends, &backend{address: r.listen, probes: r.probes})
	}
	if err := in.witnesses(ctx); err != nil {
		return err
	}
	in.balancer.start(backends, in.settings.look)
	in.runKubelet(set)
	for _, r := range in.replicas {
		if err := r.start(); err != nil {
			return err
		}
	}
	for _, r := range in.replicas {
		if err := r.waitReady(ctx); err != nil {
			return err
		}
	}
	return in.seenReady(ctx)
}

// seenReady waits until the balancer sends to every replica that is ready.
func (in *installation) seenReady(ctx context.Context) error {
	return eventually(ctx, func() error {
		for i, b := range in.balancer.backends {
			if !b.ready.Load() {
				return fmt.Errorf("%s is not seen ready", in.replicas[i].name)
			}
		}
		return nil
	})
}

// seenRegistered waits until the API server asks about a namespace: in mode Audit nothing is refused, but what it was told stands in its audit log. The
// installer asks, whom no policy keeps from the gate.
func (in *installation) seenRegistered(ctx context.Context, namespace string) error {
	offset := 0
	return eventually(ctx, func() error {
		name := fmt.Sprintf("is-the-gate-there-%d", time.Now().UnixNano())
		_, _ = in.lab.Cluster.Kubectl(ctx, in.admin, "", "create", "configmap", name, "--namespace="+namespace, "--dry-run=server")
		events, read, err := in.lab.Cluster.Events(offset)
		if err != nil {
			return err
		}
		offset = read
		if !slices.ContainsFunc(events, func(e cluster.Event) bool { return e.Object.Name == name && e.Annotations[annotation+"verdict"] != "" }) {
			return errors.New("the API server does not ask the gate")
		}
		return nil
	})
}

// sound waits until every replica finds all objects of the registration as they should be.
func (in *installation) sound(ctx context.Context, objects int) error {
	return eventually(ctx, func() error {
		for _, r := range in.replicas {
			n, err := r.metric(ctx, `gate_registration_objects{state="sound"}`)
			if err == nil && n != objects {
				err = fmt.Errorf("%s: %d of %d objects of the registration are sound", r.name, n, objects)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// repairs counts what the replicas put back since each was started.
func (in *installation) repairs(ctx context.Context) (int, error) {
	all := 0
	for _, r := range in.replicas {
		n, err := r.metric(ctx, `gate_registration_repairs_total{outcome="done"}`)
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

// witnesses gives each replica a key for its log and one for those of the others, and lets them cosign each other.
func (in *installation) witnesses(ctx context.Context) error {
	peers := map[string]string{} // the keys of each replica: of its log and of its witness
	for _, r := range in.replicas {
		var keys strings.Builder
		for file, name := range map[string]string{r.logKey(): "commitgate.dev/chaos/" + r.name, r.witnessKey(): "witness.example/" + r.name} {
			vkey, status, err := in.run(ctx, "audit", "keygen", name, "--out", file)
			if err != nil || status != 0 {
				return fmt.Errorf("keygen: status %d: %s: %w", status, vkey, err)
			}
			if err := os.WriteFile(file+".pub", []byte(vkey), 0o600); err != nil {
				return err
			}
		}
		for _, file := range []string{r.logKey(), r.witnessKey()} {
			vkey, err := os.ReadFile(file + ".pub")
			if err != nil {
				return err
			}
			keys.Write(vkey)
		}
		peers[r.name] = filepath.Join(r.dir, "peer.pub")
		if err := os.WriteFile(peers[r.name], []byte(keys.String()), 0o600); err != nil {
			return err
		}
	}
	for _, r := range in.replicas {
		r.args = append(r.args, "--audit-key="+r.logKey(), "--audit-witness-key="+r.witnessKey())
		for _, other := range in.replicas {
			if other != r {
				r.args = append(r.args, "--audit-peer=http://"+other.probes+"="+peers[other.name])
			}
		}
	}
	return nil
}

// roll restarts one replica after the other (SIGTERM), as a rolling update of the StatefulSet does: from the last to the first.
func (in *installation) roll(ctx context.Context) error {
	for _, r := range slices.Backward(in.replicas) {
		if err := r.end(ctx); err != nil {
			return err
		}
		if err := r.start(); err != nil {
			return err
		}
		if err := r.waitReady(ctx); err != nil {
			return err
		}
		if err := in.seenReady(ctx); err != nil { // the controller waits for the same readiness that the Service goes by
			return err
		}
	}
	return nil
}

// run runs another command of commitgate.
func (in *installation) run(ctx context.Context, args ...string) (string, int, error) {
	return (&lab.Gate{Program: in.program}).Run(ctx, args...)
}

// logs are the folders of the audit logs.
func (in *installation) logs() []string {
	var dirs []string
	for _, r := range in.replicas {
		dirs = append(dirs, r.auditLog())
	}
	return dirs
}

func (in *installation) close() error {
	in.kubelet()
	var errs []error
	for _, r := range in.replicas {
		errs = append(errs, r.kill())
	}
	if in.balancer != nil {
		errs = append(errs, in.balancer.close())
	}
	return errors.Join(errs...)
}

// eventually tries until there is no error.
func eventually(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try()
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
