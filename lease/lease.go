// Package lease lets one replica of several do what only one should: write to the cluster in the background. Nothing on the way of a request
// waits for a lease.
package lease

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
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

// The times of a lease. What it guards is in no hurry: a minute without a holder does no harm, and a request every ten seconds is little.
const (
	duration      = time.Minute
	renewDeadline = 40 * time.Second
	retryPeriod   = 10 * time.Second
)

// Lease is a Lease (coordination.k8s.io) that at most one replica holds at a time.
type Lease struct {
	lock *resourcelock.LeaseLock
	log  *slog.Logger
}

// New prepares the lease NAMESPACE/NAME, to be held under the name of this host and process. It does not reach for the cluster.
func New(cluster *rest.Config, lease string, log *slog.Logger) (*Lease, error) {
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
	return &Lease{log: log, lock: &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Client: client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "-" + rand.Text()},
	}}, nil
}

// Hold calls work whenever the lease is held, until the context ends. work's context ends when the lease is lost; a new work begins only after the
// last one has returned. Two replicas may believe for a moment that they hold it: work must be harmless if it is done twice.
func (l *Lease) Hold(ctx context.Context, work func(context.Context)) {
	var working sync.Mutex // an elector does not wait for what it started
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: l.lock, LeaseDuration: duration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
			ReleaseOnCancel: true, Name: l.lock.LeaseMeta.Name,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					working.Lock()
					defer working.Unlock()
					work(ctx)
				},
				OnStoppedLeading: func() { l.log.Info("another replica holds the lease", "lease", l.lock.Describe()) },
			},
		})
		if err != nil { // the times contradict each other: a defect
			l.log.Error("lease", "err", err)
			return
		}
		elector.Run(ctx)
		working.Lock() // until the work has ended
		working.Unlock()
	}
}
