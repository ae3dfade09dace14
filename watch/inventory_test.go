package watch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/watch"
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

// eventually asks until it is so, or fails after three minutes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1800 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// The inventory of a real cluster: what policies ask for and nothing else, as it changes, within its bound.
func TestInventoryFollowsTheClusterAndThePolicies(t *testing.T) {
	ctx := t.Context()
	c := start(t)
	admin, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		t.Fatal(err)
	}
	maps := policy.Kind{Version: "v1", Kind: "ConfigMap"}
	namespaces := policy.Kind{Version: "v1", Kind: "Namespace"}
	var asked atomic.Pointer[[]policy.Kind]
	ask := func(kinds ...policy.Kind) { asked.Store(&kinds) }
	ask()

	into := policy.NewInventory(4 << 20)
	w, err := watch.NewInventory(c.Admin(), into, func() []policy.Kind { return *asked.Load() }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { w.Run(running); close(done) }()

	ask(namespaces, policy.Kind{Kind: "NoSuchThing"})
	eventually(t, "the namespace default is there", func() bool { return into.Namespace("default") != nil })
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": "shop"}}}
	if _, err := admin.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new namespace is there", func() bool { return into.Namespace("shop") != nil })

	before, _ := into.Size()
	ask(namespaces, maps)
	eventually(t, "another kind is there", func() bool { n, _ := into.Size(); return n > before })

	for i := range 40 {
		big := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("big", i)}, Data: map[string]string{"x": string(make([]byte, 16<<10))}}
		if _, err := admin.CoreV1().ConfigMaps("shop").Create(ctx, big, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set, err := policy.LoadUnverified(ctx, os.DirFS("testdata"), "maps", false)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a flood fills it, and rules that need it deny", func() bool {
		r, err := set.Decide(ctx, policy.Input{
			Request: map[string]any{"operation": "CREATE"}, Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"},
			Time: time.Now(), Inventory: into,
		})
		return err == nil && !r.Allowed() && !r.Waiting()
	})
	if _, bytes := into.Size(); bytes > 4<<20 {
		t.Errorf("%d bytes, more than the bound", bytes)
	}

	ask(namespaces)
	eventually(t, "what nobody asks for is forgotten", func() bool { n, _ := into.Size(); return n < 40 })
	if into.Namespace("shop") == nil {
		t.Error("what is asked for is forgotten too")
	}
	stop()
	<-done
	if n, _ := into.Size(); n != 0 {
		t.Errorf("%d objects are left of watches that have ended", n)
	}
}
