package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/breakglass"
)

const (
	// grantsLease is the Lease in which all replicas count.
	grantsLease = "commitgate-grants"
	// usesAnnotation holds the counts: a JSON object of numbers, by the names of grants.
	usesAnnotation = "commitgate.dev/uses"
	// claimTimeout bounds how long a request waits for its use to be counted: well below the five seconds that the API server waits for the gate.
	claimTimeout = 2 * time.Second
	// maxClaimTries bounds how often a claim is tried again because another replica was faster: more than there are replicas.
	maxClaimTries = 20
)

// Uses counts the uses of break-glass grants among the replicas of a gate, in a Lease (coordination.k8s.io) in its own namespace. The API server
// accepts one writer of each version of it, so no two replicas count the same use.
type Uses struct {
	leases coordinationclient.LeaseInterface
	holder string
	now    func() time.Time
	within time.Duration // claimTimeout
}

// NewUses prepares counting in a namespace, for the replica named holder. It does not reach for the cluster.
func NewUses(cluster *rest.Config, namespace, holder string, now func() time.Time) (*Uses, error) {
	client, err := coordinationclient.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	return &Uses{client.Leases(namespace), holder, now, claimTimeout}, nil
}

// Claim counts one use of a grant, as breakglass.Counter says. A Lease whose counts cannot be read counts nothing.
func (u *Uses) Claim(ctx context.Context, grant string, known, limit int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, u.within)
	defer cancel()
	var err error
	for range maxClaimTries {
		var lease *coordinationv1.Lease
		lease, err = u.leases.Get(ctx, grantsLease, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return 0, err
		}
		if missing {
			lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: grantsLease}}
		}
		var total int
		if total, err = u.add(lease, grant, known, limit); err != nil {
			return 0, err
		}
		if missing {
			_, err = u.leases.Create(ctx, lease, metav1.CreateOptions{})
		} else {
			_, err = u.leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		if err == nil {
			return total, nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return 0, err
		}
	}
	return 0, err
}

// add counts one use more in the Lease at hand.
func (u *Uses) add(lease *coordinationv1.Lease, grant string, known, limit int) (int, error) {
	uses := map[string]int{}
	if text, ok := lease.Annotations[usesAnnotation]; ok {
		if err := json.Unmarshal([]byte(text), &uses); err != nil || uses == nil {
			return 0, fmt.Errorf("annotation %s of Lease %s is damaged: %v", usesAnnotation, grantsLease, err)
		}
	}
	total := max(uses[grant], known) + 1
	if total > limit {
		return 0, breakglass.ErrExhausted
	}
	uses[grant] = total
	text, err := json.Marshal(uses)
	if err != nil {
		return 0, err
	}
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	at := metav1.NewMicroTime(u.now())
	lease.Annotations[usesAnnotation], lease.Spec.HolderIdentity, lease.Spec.RenewTime = string(text), &u.holder, &at
	return total, nil
}
