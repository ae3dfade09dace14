package scan

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The times of the lease. A scan is in no hurry: a minute without one does no harm, and a request every ten seconds is little.
const (
	leaseDuration = time.Minute
	renewDeadline = 40 * time.Second
	retryPeriod   = 10 * time.Second
)

// newLease is the lock on NAMESPACE/NAME, held under the name of this host and process.
func newLease(cluster *rest.Config, lease string) (*resourcelock.LeaseLock, error) {
	namespace, name, ok := strings.Cut(lease, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("lease %q: want NAMESPACE/NAME", lease)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	client, err := coordinationv1.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Client: client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "-" + rand.Text()},
	}, nil
}

// hold scans whenever this scanner holds the lease, until the context ends. Two scans at once would do no harm; the lease only spares the API server.
func (s *Scanner) hold(ctx context.Context) {
	var scanning sync.Mutex // an elector does not wait for what it started
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: s.lease, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
			ReleaseOnCancel: true, Name: "commitgate-scan",
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					scanning.Lock()
					defer scanning.Unlock()
					s.loop(ctx)
				},
				OnStoppedLeading: func() { s.cfg.Log.Info("another replica scans") },
			},
		})
		if err != nil { // the times contradict each other: a defect
			s.cfg.Log.Error("scan", "err", err)
			return
		}
		elector.Run(ctx)
		scanning.Lock() // until the loop has ended
		scanning.Unlock()
	}
}
