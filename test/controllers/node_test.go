package controllers

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

var corev1ConfigMap = corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "by-hand"}, Data: map[string]string{"a": "b"}}

const node = "node1"

// machine plays the programs that a control plane of processes lacks, by their real names and in their real words: the scheduler binds each
// pod to the one node, and the node's kubelet runs it, on paper.
type machine struct {
	*gate
	admin, scheduler, kubelet kubernetes.Interface
	seen                      map[types.UID]bool // pods whose token was asked for
	renewed                   time.Time          // when the node's lease was
}

// startMachine registers the node and works until the test ends.
func (g *gate) startMachine() *machine {
	g.t.Helper()
	client := func(user string, groups ...string) kubernetes.Interface {
		config, err := g.cluster.User(user, groups...)
		if err != nil {
			g.t.Fatal(err)
		}
		c, err := kubernetes.NewForConfig(config)
		if err != nil {
			g.t.Fatal(err)
		}
		return c
	}
	admin, err := kubernetes.NewForConfig(g.cluster.Admin())
	if err != nil {
		g.t.Fatal(err)
	}
	m := &machine{gate: g, admin: admin, scheduler: client("system:kube-scheduler"), kubelet: client("system:node:"+node, "system:nodes"), seen: map[types.UID]bool{}}
	m.join()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			m.work(ctx)
			time.Sleep(100 * time.Millisecond)
		}
	}()
	g.t.Cleanup(func() { cancel(); <-done })
	return m
}

func (m *machine) join() {
	m.t.Helper()
	ctx := m.t.Context()
	_, err := m.kubelet.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node, Labels: map[string]string{"kubernetes.io/hostname": node}}}, metav1.CreateOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	holder, seconds, now := node, int32(40), metav1.NowMicro()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: node, Namespace: "kube-node-lease"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}}
	if _, err := m.kubelet.CoordinationV1().Leases("kube-node-lease").Create(ctx, lease, metav1.CreateOptions{}); err != nil {
		m.t.Fatal(err)
	}
	m.eventually("the node is ready", func() error { return m.ready(ctx) }) // a controller taints it in the meantime
	if _, err := m.kubelet.StorageV1().CSINodes().Create(ctx, &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{}); err != nil {
		m.t.Fatal(err)
	}
}

// alive says so every ten seconds, as a kubelet does: the controllers take a node for lost that is silent for fifty, and its pods for unready.
func (m *machine) alive(ctx context.Context) error {
	if time.Since(m.renewed) < 10*time.Second {
		return nil
	}
	lease, err := m.kubelet.CoordinationV1().Leases("kube-node-lease").Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := metav1.NowMicro()
	lease.Spec.RenewTime = &now
	if _, err := m.kubelet.CoordinationV1().Leases("kube-node-lease").Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		return err
	}
	m.renewed = now.Time
	return m.ready(ctx)
}

// ready puts the node's condition right if it is not.
func (m *machine) ready(ctx context.Context) error {
	n, err := m.kubelet.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	isReady := func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	if slices.ContainsFunc(n.Status.Conditions, isReady) {
		return nil
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(), Reason: "KubeletReady"}}
	_, err = m.kubelet.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
	return err
}

func (m *machine) work(ctx context.Context) {
	if err := m.alive(ctx); err != nil && ctx.Err() == nil {
		m.t.Logf("node: %v", err)
	}
	pods, err := m.admin.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return // the cluster ends before the machine does
	}
	for i := range pods.Items {
		// What is refused the gate remembers; what fails otherwise (a pod gone in the meantime) is tried again.
		if err := m.next(ctx, &pods.Items[i]); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsForbidden(err) && ctx.Err() == nil {
			m.t.Logf("pod %s: %v", pods.Items[i].Name, err)
		}
	}
}

// next does what a pod waits for.
func (m *machine) next(ctx context.Context, pod *corev1.Pod) error {
	pods := m.kubelet.CoreV1().Pods(pod.Namespace)
	switch {
	case pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil:
		return m.scheduler.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
	case pod.DeletionTimestamp != nil:
		now := metav1.NewPreconditionDeleteOptions(string(pod.UID))
		now.GracePeriodSeconds = new(int64)
		return pods.Delete(ctx, pod.Name, *now)
	case pod.Status.Phase == corev1.PodPending, pod.Status.Phase == corev1.PodRunning && !isPodReady(pod): // or somebody else called it unready
		if err := m.token(ctx, pod); err != nil {
			return err
		}
		pod.Status = m.running(pod)
		_, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
		return err
	}
	return nil
}

func isPodReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

// token asks for what the kubelet mounts: a token of the pod's own account, bound to the pod.
func (m *machine) token(ctx context.Context, pod *corev1.Pod) error {
	if m.seen[pod.UID] {
		return nil
	}
	_, err := m.kubelet.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
	}, metav1.CreateOptions{})
	if err == nil {
		m.seen[pod.UID] = true
	}
	return err
}

func (m *machine) running(pod *corev1.Pod) corev1.PodStatus {
	now := metav1.Now()
	s := corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &now, PodIP: pod.Status.PodIP}
	if s.PodIP == "" {
		s.PodIP = fmt.Sprintf("10.1.0.%d", len(m.seen)%250+1)
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
