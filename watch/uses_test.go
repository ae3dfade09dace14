package watch

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/test/cluster"
)

// Replicas that are all asked at once let no more requests pass than a grant says, and a replica that lost its memory lets no more either.
func TestReplicasCountUsesTogether(t *testing.T) {
	c, err := cluster.Start(t.Context(), cluster.Config{Dir: t.TempDir()})
	if errors.Is(err, cluster.ErrNotBuilt) {
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
	client, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "commitgate"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const replicas, limit = 4, 5
	var passed atomic.Int32
	var all sync.WaitGroup
	for i := range replicas {
		uses, err := NewUses(c.Admin(), "commitgate", fmt.Sprintf("commitgate-%d", i), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		uses.within = time.Minute // a busy machine's API server is no reason to count nothing
		all.Go(func() {
			for range limit {
				switch _, err := uses.Claim(t.Context(), "inc-7", 0, limit); {
				case err == nil:
					passed.Add(1)
				case !errors.Is(err, breakglass.ErrExhausted):
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if passed.Load() != limit {
		t.Errorf("a grant of %d uses let %d requests pass", limit, passed.Load())
	}
	leases := client.CoordinationV1().Leases("commitgate")
	lease, err := leases.Get(t.Context(), "commitgate-grants", metav1.GetOptions{})
	if err != nil || lease.Annotations["commitgate.dev/uses"] != `{"inc-7":5}` {
		t.Errorf("the count in the cluster: %v, %v", lease.Annotations, err)
	}

	// Somebody deleted the count: what the replica remembers holds.
	uses, err := NewUses(c.Admin(), "commitgate", "commitgate-0", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	uses.within = time.Minute
	if _, err := uses.Claim(t.Context(), "inc-8", limit, limit); !errors.Is(err, breakglass.ErrExhausted) {
		t.Errorf("a count that is gone: %v", err)
	}
	if n, err := uses.Claim(t.Context(), "inc-8", 2, limit); err != nil || n != 3 {
		t.Errorf("what the replica knows counts: %d, %v", n, err)
	}
	if lease, err = leases.Get(t.Context(), "commitgate-grants", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	lease.Annotations["commitgate.dev/uses"] = "null"
	if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := uses.Claim(t.Context(), "inc-9", 0, limit); err == nil || errors.Is(err, breakglass.ErrExhausted) {
		t.Errorf("a damaged count: %v", err)
	}
}
