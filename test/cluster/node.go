package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// NodeName is the name of the one node.
const NodeName = "node1"

// Node plays the programs that a control plane of processes lacks, by their real names and in their real words: the scheduler binds each
// pod to the one node, and the node's kubelet runs it, on paper.
type Node struct {
	Kubelet          kubernetes.Interface // asks as the node
	admin, scheduler kubernetes.Interface
	logf             func(format string, args ...any)
	seen             map[types.UID]bool // pods whose token was asked for
	renewed          time.Time          // when the node's lease was
	cancel           context.CancelFunc
	done             chan struct{}
}

// StartNode registers the node and works until it is stopped. What goes wrong in its work is logged and tried again.
func (c *Cluster) StartNode(ctx context.Context, logf func(format string, args ...any)) (*Node, error) {
	client := func(user string, groups ...string) (kubernetes.Interface, error) {
		config, err := c.User(user, groups...)
		if err != nil {
			return nil, err
		}
		return kubernetes.NewForConfig(config)
	}
	n := &Node{logf: logf, seen: map[types.UID]bool{}, done: make(chan struct{})}
	var err error
	if n.admin, err = kubernetes.NewForConfig(c.Admin()); err != nil {
		return nil, err
	}
	if n.scheduler, err = client("system:kube-scheduler"); err != nil {
		return nil, err
	}
	if n.Kubelet, err = client("system:node:"+NodeName, "system:nodes"); err != nil {
		return nil, err
	}
	joining, end := context.WithTimeout(ctx, readyTimeout)
	defer end()
	if err := n.join(joining, c); err != nil {
		return nil, err
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx)) // Stop ends it
	n.cancel = cancel
	go func() {
		defer close(n.done)
		for working.Err() == nil {
			n.work(working)
			time.Sleep(poll)
		}
	}()
	return n, nil
}

// Stop ends the work; the node stays registered.
func (n *Node) Stop() { n.cancel(); <-n.done }

func (n *Node) join(ctx context.Context, c *Cluster) error {
	_, err := n.Kubelet.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName, Labels: map[string]string{"kubernetes.io/hostname": NodeName}}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	holder, seconds, now := NodeName, int32(40), metav1.NowMicro()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: NodeName, Namespace: "kube-node-lease"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}}
	if _, err := n.Kubelet.CoordinationV1().Leases("kube-node-lease").Create(ctx, lease, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := c.eventually(ctx, "node ready", n.ready); err != nil { // a controller taints it in the meantime
		return err
	}
	_, err = n.Kubelet.StorageV1().CSINodes().Create(ctx, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: NodeName}}, metav1.CreateOptions{})
	return err
}

// alive says so every ten seconds, as a kubelet does: the controllers take a node for lost that is silent for fifty, and its pods for unready.
func (n *Node) alive(ctx context.Context) error {
	if time.Since(n.renewed) < 10*time.Second {
		return nil
	}
	lease, err := n.Kubelet.CoordinationV1().Leases("kube-node-lease").Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := metav1.NowMicro()
	lease.Spec.RenewTime = &now
	if _, err := n.Kubelet.CoordinationV1().Leases("kube-node-lease").Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		return err
	}
	n.renewed = now.Time
	return n.ready(ctx)
}

// ready puts the node's condition right if it is not.
func (n *Node) ready(ctx context.Context) error {
	node, err := n.Kubelet.CoreV1().Nodes().Get(ctx, NodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	isReady := func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	if slices.ContainsFunc(node.Status.Conditions, isReady) {
		return nil
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(), Reason: "KubeletReady"}}
	_, err = n.Kubelet.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

func (n *Node) work(ctx context.Context) {
	if err := n.alive(ctx); err != nil && ctx.Err() == nil {
		n.logf("node: %v", err)
	}
	pods, err := n.admin.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return // the cluster ends before the machine does
	}
	for i := range pods.Items {
		// What is refused the gate remembers; what fails otherwise (a pod gone in the meantime) is tried again.
		if err := n.next(ctx, &pods.Items[i]); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsForbidden(err) && ctx.Err() == nil {
			n.logf("pod %s: %v", pods.Items[i].Name, err)
		}
	}
}

// next does what a pod waits for.
func (n *Node) next(ctx context.Context, pod *corev1.Pod) error {
	pods := n.Kubelet.CoreV1().Pods(pod.Namespace)
	switch {
	case pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil:
		return n.scheduler.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: NodeName},
		}, metav1.CreateOptions{})
	case pod.DeletionTimestamp != nil:
		now := metav1.NewPreconditionDeleteOptions(string(pod.UID))
		now.GracePeriodSeconds = new(int64)
		return pods.Delete(ctx, pod.Name, *now)
	case pod.Status.Phase == corev1.PodPending, pod.Status.Phase == corev1.PodRunning && !isPodReady(pod): // or somebody else called it unready
		if err := n.token(ctx, pod); err != nil {
			return err
		}
		pod.Status = n.running(pod)
		_, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	}
	return nil
}

func isPodReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// token asks for what the kubelet mounts: a token of the pod's own account, bound to the pod.
func (n *Node) token(ctx context.Context, pod *corev1.Pod) error {
	if n.seen[pod.UID] {
		return nil
	}
	_, err := n.Kubelet.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
	}, metav1.CreateOptions{})
	if err == nil {
		n.seen[pod.UID] = true
	}
	return err
}

func (n *Node) running(pod *corev1.Pod) corev1.PodStatus {
	now := metav1.Now()
	s := corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &now, PodIP: pod.Status.PodIP}
	if s.PodIP == "" {
		s.PodIP = fmt.Sprintf("10.1.0.%d", len(n.seen)%250+1)
	}
	s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	ready := corev1.ConditionTrue
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	if pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		s.Phase, ready = corev1.PodSucceeded, corev1.ConditionFalse
		state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", FinishedAt: now}}
	}
	for _, t := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		c := corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now}
		if t == corev1.ContainersReady || t == corev1.PodReady {
			c.Status = ready
		}
		s.Conditions = append(s.Conditions, c)
	}
	for _, c := range pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: state, Ready: s.Phase == corev1.PodRunning})
	}
	return s
}
