package chaos

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/commitgate/commitgate/test/cluster"
)

// replica is one pod of the StatefulSet, as a process.
type replica struct {
	name, dir      string
	program        string
	listen, probes string
	args           []string
	process        *cluster.Process
}

// newReplica reads what the pod would run, and puts files and addresses of this machine in place of those of a pod.
func (in *installation) newReplica(ordinal int, set *appsv1.StatefulSet) (*replica, error) {
	r := &replica{name: fmt.Sprintf("%s-%d", set.Name, ordinal), program: in.program}
	r.dir = filepath.Join(in.dir, r.name)
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	for _, a := range []*string{&r.listen, &r.probes} {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*a = l.Addr().String()
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	container := set.Spec.Template.Spec.Containers[0]
	for _, arg := range container.Args {
		name, value, _ := strings.Cut(arg, "=")
		for _, m := range container.VolumeMounts {
			if rest, found := strings.CutPrefix(value, m.MountPath); found && (rest == "" || rest[0] == '/') {
				arg = name + "=" + in.mounted(r, m) + rest
			}
		}
		r.args = append(r.args, arg)
	}
	r.args = append(r.args, "--name="+r.name, "--listen="+r.listen, "--probe-listen="+r.probes, "--tls-name=127.0.0.1", "--kubeconfig="+in.lab.GateConfig,
		"--drain="+in.settings.drain.String(), "--ca-settle="+in.settings.caSettle.String())
	return r, nil
}

// mounted is the folder that stands for a mount: the replica's own for what it claims, one for all for what they share.
func (in *installation) mounted(r *replica, m corev1.VolumeMount) string {
	if m.Name == "data" {
		return filepath.Join(r.dir, "data")
	}
	return in.volume(m.Name)
}

func (r *replica) auditLog() string   { return filepath.Join(r.dir, "data", "audit") }
func (r *replica) logKey() string     { return filepath.Join(r.dir, "log.key") }
func (r *replica) witnessKey() string { return filepath.Join(r.dir, "witness.key") }
func (r *replica) output() string     { return filepath.Join(r.dir, "output.log") }

func (r *replica) start() (err error) {
	r.process, err = cluster.Run(r.output(), r.program, r.args...)
	return err
}

// ask asks the probe address.
func (r *replica) ask(ctx context.Context, path string) (string, int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.probes+path, nil)
	if err != nil {
		return "", 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), response.StatusCode, err
}

// metric is a series of /metrics, named with its labels as there, that counts something; 0 if there is none.
func (r *replica) metric(ctx context.Context, series string) (int, error) {
	body, _, err := r.ask(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, nil
}

func (r *replica) waitReady(ctx context.Context) error {
	return eventually(ctx, func() error {
		if err := r.process.Ended(); err != nil {
			return err
		}
		body, status, err := r.ask(ctx, "/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s: %s", r.name, body)
		}
		return err
	})
}

// end asks the replica to end, as a kubelet does, and waits until it has.
func (r *replica) end(ctx context.Context) error {
	if err := r.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-r.process.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s does not end: %w", r.name, ctx.Err())
	}
}

// kill ends the replica at once: SIGKILL.
func (r *replica) kill() error {
	if r.process == nil {
		return nil
	}
	return r.process.Kill()
}
