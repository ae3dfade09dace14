// Package doctor examines an installation from outside: what is wrong with it, and what to do. It asks the API server and the replicas, each question
// by itself, so that it works with half of the installation broken, and changes nothing. What it cannot ask it says it could not tell.
package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/status"
)

const (
	// askTimeout bounds one question.
	askTimeout = 10 * time.Second
	// probePort is that of /status in the pods.
	probePort = "8080"
	// selector finds the pods of the gate.
	selector = "app.kubernetes.io/name=commitgate"
)

// ErrNowhere is returned when neither a cluster nor a probe address is known.
var ErrNowhere = errors.New("neither a cluster nor a probe address to ask")

// Config says where the installation is.
type Config struct {
	// Cluster is the API server; nil: only probe addresses are asked.
	Cluster *rest.Config
	// Probes are probe addresses, such as http://127.0.0.1:8080. Without any the pods are asked through the API server, as far as it lets.
	Probes []string
	// Namespace of the gate, and the name of its webhook configuration.
	Namespace, Webhook string
	Now                func() time.Time
}

// Doctor asks about one installation.
type Doctor struct {
	cfg    Config
	client *kubernetes.Clientset // nil: no cluster
}

// New prepares the questions. It asks none.
func New(cfg Config) (*Doctor, error) {
	if cfg.Cluster == nil && len(cfg.Probes) == 0 {
		return nil, ErrNowhere
	}
	d := &Doctor{cfg: cfg}
	if cfg.Cluster != nil {
		cluster := rest.CopyConfig(cfg.Cluster)
		cluster.Timeout, cluster.QPS = askTimeout, -1
		var err error
		if d.client, err = kubernetes.NewForConfig(cluster); err != nil {
			return nil, fmt.Errorf("cluster client: %w", err)
		}
	}
	return d, nil
}

// Replica is one replica, as far as it could be asked.
type Replica struct {
	// Name is the pod's, or the address that was asked.
	Name string `json:"name"`
	// Phase is what the API server says of the pod, "" for an address.
	Phase  string         `json:"phase,omitempty"`
	Report *status.Report `json:"report,omitempty"`
	// Error says why there is no report.
	Error string `json:"error,omitempty"`
}

// Replicas asks every replica. The error says that it is not known which there are.
func (d *Doctor) Replicas(ctx context.Context) ([]Replica, error) {
	if len(d.cfg.Probes) > 0 {
		client := &http.Client{Timeout: askTimeout}
		out := []Replica{}
		for _, address := range d.cfg.Probes {
			r := Replica{Name: address}
			if report, err := status.Fetch(ctx, client, strings.TrimRight(address, "/")); err != nil {
				r.Error = err.Error()
			} else {
				r.Report = report
			}
			out = append(out, r)
		}
		return out, nil
	}
	pods, err := d.client.CoreV1().Pods(d.cfg.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	out := []Replica{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		r := Replica{Name: pod.Name, Phase: phase(pod)}
		text, err := d.Raw(ctx, pod.Name, status.Path)
		if err == nil {
			r.Report, err = status.Parse(text)
		}
		if err != nil {
			r.Error = err.Error()
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Replica) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Raw asks the probe port of a pod through the API server. It takes the right to proxy to pods of the gate's namespace, which is guarded.
func (d *Doctor) Raw(ctx context.Context, pod, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	text, err := d.client.CoreV1().Pods(d.cfg.Namespace).ProxyGet("http", pod, probePort, path, nil).DoRaw(ctx)
	var refusal metav1.Status
	if err != nil && json.Unmarshal(text, &refusal) == nil && refusal.Message != "" {
		return nil, errors.New(refusal.Message) // which the client leaves out where anything may be the answer
	}
	return text, err
}

// phase is why a pod does not run, or that it does.
func phase(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Waiting != nil && c.State.Waiting.Reason != "" {
			return c.State.Waiting.Reason
		}
		if c.RestartCount > 0 && c.Ready {
			return fmt.Sprintf("%s, %d restarts", pod.Status.Phase, c.RestartCount)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled"
		}
	}
	return string(pod.Status.Phase)
}
