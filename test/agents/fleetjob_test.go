package agents

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/test/cluster"
)

const jobNode = "node1"

// jobRunner plays the scheduler and the kubelet, by their real names, for the pods of the Jobs that Fleet makes: it binds them, asks for the token that a
// kubelet mounts, and runs the containers' own command lines, with folders in the place of volumes. That there is no image, and no container around
// them, is all that differs.
type jobRunner struct {
	cluster                   *cluster.Cluster
	dir, program              string // where the volumes lie, and Fleet's program
	admin, scheduler, kubelet kubernetes.Interface

	mu  sync.Mutex
	log []string // what failed
}

// startJobRunner registers the node and works until the test ends.
func startJobRunner(t *testing.T, c *cluster.Cluster, namespace string) *jobRunner {
	t.Helper()
	client := func(config *rest.Config, err error) kubernetes.Interface {
		check(t, err)
		k, err := kubernetes.NewForConfig(config)
		check(t, err)
		return k
	}
	r := &jobRunner{
		cluster: c, dir: t.TempDir(), program: bin(t, "fleetcli"), admin: client(c.Admin(), nil),
		scheduler: client(c.User("system:kube-scheduler")), kubelet: client(c.User("system:node:"+jobNode, "system:nodes")),
	}
	_, err := r.kubelet.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: jobNode}}, metav1.CreateOptions{})
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			r.work(ctx, namespace)
			time.Sleep(100 * time.Millisecond)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if t.Failed() {
			t.Logf("what failed of Fleet's Jobs:\n%s", strings.Join(r.failures(), "\n"))
		}
	})
	return r
}

func (r *jobRunner) failures() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log
}

// work does what each pod of a Job waits for. What fails is tried again.
func (r *jobRunner) work(ctx context.Context, namespace string) {
	pods, err := r.admin.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "job-name"})
	if err != nil {
		return // the cluster ends before its node does
	}
	for i := range pods.Items {
		if err := r.next(ctx, &pods.Items[i]); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
			r.mu.Lock()
			r.log = append(r.log, fmt.Sprintf("%s: %v", pods.Items[i].Name, err))
			r.mu.Unlock()
		}
	}
}

func (r *jobRunner) next(ctx context.Context, pod *corev1.Pod) error {
	switch {
	case pod.DeletionTimestamp != nil && pod.Spec.NodeName != "":
		now := metav1.NewPreconditionDeleteOptions(string(pod.UID))
		now.GracePeriodSeconds = new(int64)
		return r.kubelet.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *now)
	case pod.DeletionTimestamp != nil, pod.Status.Phase != corev1.PodPending:
		return nil
	case pod.Spec.NodeName == "":
		return r.scheduler.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: jobNode},
		}, metav1.CreateOptions{})
	}
	if err := r.run(ctx, pod); err != nil {
		return err
	}
	now := metav1.Now()
	pod.Status = corev1.PodStatus{Phase: corev1.PodSucceeded, StartTime: &now}
	for _, c := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", FinishedAt: now}},
		})
	}
	_, err := r.kubelet.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// run runs the containers of a pod, one after the other.
func (r *jobRunner) run(ctx context.Context, pod *corev1.Pod) (err error) {
	dir, err := os.MkdirTemp(r.dir, "pod")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	volumes := map[string]string{}
	for _, v := range pod.Spec.Volumes {
		if volumes[v.Name], err = r.volume(ctx, dir, pod.Namespace, v); err != nil {
			return err
		}
	}
	kubeconfig, err := r.kubeconfig(ctx, pod)
	if err != nil {
		return err
	}
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		var places []string
		for _, m := range c.VolumeMounts {
			places = append(places, m.MountPath, volumes[m.Name])
		}
		inside := strings.NewReplacer(places...)
		if len(c.Args) == 0 || c.Args[0] != "fleet" {
			return fmt.Errorf("container %s runs %q %q", c.Name, c.Command, c.Args)
		}
		var args []string
		for _, a := range c.Args[1:] {
			args = append(args, inside.Replace(a))
		}
		cmd := exec.CommandContext(ctx, r.program, args...)
		cmd.Dir = inside.Replace(c.WorkingDir)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "KUBECONFIG=" + kubeconfig}
		for _, e := range c.Env {
			cmd.Env = append(cmd.Env, e.Name+"="+inside.Replace(e.Value))
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("fleet %s: %w\n%s", args[0], err, out)
		}
	}
	return nil
}

// volume is a folder with what a volume holds: nothing, or a ConfigMap.
func (r *jobRunner) volume(ctx context.Context, dir, namespace string, v corev1.Volume) (string, error) {
	path := filepath.Join(dir, v.Name)
	if err := os.Mkdir(path, 0o700); err != nil || v.ConfigMap == nil {
		return path, err
	}
	c, err := r.admin.CoreV1().ConfigMaps(namespace).Get(ctx, v.ConfigMap.Name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for name, data := range c.BinaryData {
		if err := os.WriteFile(filepath.Join(path, name), data, 0o600); err != nil {
			return "", err
		}
	}
	return path, nil
}

// kubeconfig has a token of the pod's own account that is bound to the pod.
func (r *jobRunner) kubeconfig(ctx context.Context, pod *corev1.Pod) (string, error) {
	token, err := r.kubelet.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	who := r.cluster.Admin()
	who.CertData, who.KeyData, who.CertFile, who.KeyFile, who.BearerToken = nil, nil, "", "", token.Status.Token
	return r.cluster.Kubeconfig(pod.Name, who)
}
