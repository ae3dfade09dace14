package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/test/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }

// start starts a control plane, or skips where nobody has built one; in CI that is a failure.
func start(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Config{Dir: t.TempDir()})
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func client(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIdentitiesAreRealOnes(t *testing.T) {
	ctx := t.Context()
	c := start(t)
	admin := client(t, c.Admin())

	aliceConfig, err := c.User("alice@example.com", "developers")
	if err != nil {
		t.Fatal(err)
	}
	alice := client(t, aliceConfig)
	if _, err := alice.CoreV1().Pods("default").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Fatalf("a user whom RBAC does not know lists pods: %v", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "alice"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "alice@example.com"}},
	}
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: "default"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: "agent"}}},
	}
	eventually(t, "a bound user creates a pod", func() error { // the authorizer learns of the binding by a watch
		_, err := alice.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		return err
	})

	agent, err := c.ServiceAccount(ctx, "default", "default", "agent")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := c.Kubeconfig("agent", agent)
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.Kubectl(ctx, kubeconfig, "", "auth", "whoami", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"username: system:serviceaccount:default:default", "authentication.kubernetes.io/pod-name"} {
		if !strings.Contains(who, want) {
			t.Errorf("kubectl auth whoami with the token of a pod: no %q in\n%s", want, who)
		}
	}
	var refused *cluster.KubectlError
	if _, err := c.Kubectl(ctx, kubeconfig, "", "get", "secrets"); !errors.As(err, &refused) || !strings.Contains(refused.Stderr, "Forbidden") {
		t.Errorf("a service account without rights reads secrets: %v", err)
	}

	var log []byte
	eventually(t, "the audit log names alice", func() error { // an event is written once the request was answered
		log, err = os.ReadFile(c.AuditLog())
		if err == nil && !strings.Contains(string(log), `"username":"alice@example.com"`) {
			err = fmt.Errorf("it holds %d bytes without her", len(log))
		}
		return err
	})
	if strings.Contains(string(log), "requestObject") || strings.Contains(string(log), agent.BearerToken) {
		t.Error("the audit log holds bodies")
	}
}

// eventually tries until there is no error, for minutes.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	const patience = 3 * time.Minute
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%s: not in %s: %v", what, patience, err)
		}
	}
}

func TestAProcessThatEndsSaysWhy(t *testing.T) {
	log := t.TempDir() + "/sh.log"
	p, err := cluster.Run(log, "/bin/sh", "-c", "echo no such luck; exit 7")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		t.Fatal("sh does not end")
	}
	err = p.Ended()
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("got %v, want the status and the last words", err)
	}
}
