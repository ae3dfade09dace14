// Package dryrun learns what this cluster's mutating admission adds to declared objects: it sends them to the API server as server-side
// dry-runs under the gate's own identity, and remembers what came back. It never writes.
package dryrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/snapshot"
)

const (
	// fresh is how long an answer is the last word on a content: an agent that asks again with fields that have no reason costs the API
	// server at most one dry-run in this time.
	fresh = 5 * time.Second
	// patience bounds a dry-run: what takes longer than a webhook may, nobody waits for.
	patience = 5 * time.Second
	// atOnce bounds the dry-runs under way: after a push, an agent applies hundreds of objects in a moment.
	atOnce = 16
	// maxKept bounds the objects whose answers are remembered. When there are more, all are forgotten and asked for again as needed.
	maxKept = 2048
	// manager is the field manager of the dry-runs; nothing is ever persisted under it.
	manager = "commitgate"
)

// Runner makes dry-runs and remembers their answers. It is safe for concurrent use.
type Runner struct {
	client  dynamic.Interface
	log     *slog.Logger
	now     func() time.Time
	flights singleflight.Group
	slots   chan struct{}

	mu   sync.Mutex
	made map[*snapshot.Entry]*answers // an entry is one declared content: snapshots share it while it stays the same
}

// answers are what came back for one content. Objects are never changed once they are here.
type answers struct {
	created, updated map[string]any
	// old is the resourceVersion of the live object that updated was made from.
	old                  string
	createdAt, updatedAt time.Time
}

// New makes a Runner that asks as the given identity, which needs the right to create and patch what it asks about; the gate and a
// ValidatingAdmissionPolicy beside it refuse it everything but dry-runs.
func New(cluster *rest.Config, log *slog.Logger, now func() time.Time) (*Runner, error) {
	client, err := dynamic.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	return &Runner{client: client, log: log, now: now, slots: make(chan struct{}, atOnce), made: map[*snapshot.Entry]*answers{}}, nil
}

// Of lists the answers that hold for a request. What became of the declared object when it was created holds for every request; what becomes
// of a live object holds for that version of it alone: otherwise, what somebody once slipped into it would count as the cluster's own.
func (r *Runner) Of(e *snapshot.Entry, request *admit.Request) []map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.made[e]
	if a == nil {
		return nil
	}
	var out []map[string]any
	if a.created != nil {
		out = append(out, a.created)
	}
	if a.updated != nil && request.Operation == admit.Update && a.old == resourceVersion(request.Old) {
		out = append(out, a.updated)
	}
	return out
}

// Make asks about a declared object, once for all who wait for the same answer. What the API server refuses teaches nothing, and is no
// error: then the fields stay without a reason.
func (r *Runner) Make(ctx context.Context, e *snapshot.Entry, request *admit.Request) (bool, error) {
	if r.known(e, request) {
		return false, nil
	}
	key := fmt.Sprintf("%p %s %s", e, request.Operation, resourceVersion(request.Old))
	flight := r.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if r.known(e, request) { // by a flight that landed in between
			return true, nil
		}
		return r.ask(ctx, e, request)
	})
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case result := <-flight:
		learned, _ := result.Val.(bool)
		return learned, result.Err
	}
}

// known tells whether the last answer that holds for the request is fresh.
func (r *Runner) known(e *snapshot.Entry, request *admit.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.made[e]
	if a == nil {
		return false
	}
	if request.Operation == admit.Create {
		return r.now().Sub(a.createdAt) < fresh
	}
	return a.old == resourceVersion(request.Old) && r.now().Sub(a.updatedAt) < fresh
}

func (r *Runner) ask(ctx context.Context, e *snapshot.Entry, request *admit.Request) (bool, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	object, err := r.send(ctx, e, request)
	if err != nil {
		reason, no := refused(err)
		if !no && reason != "" {
			return false, fmt.Errorf("the API server answered %s", reason)
		}
		if !no {
			return false, err
		}
		// Only the reason: the message of an API server may quote the object.
		r.log.Warn("the API server refused the dry-run of a declared object", "object", e.Key.String(), "reason", reason)
	}
	old := resourceVersion(request.Old)
	if object != nil && request.Operation == admit.Update && object.GetResourceVersion() != old {
		return false, errors.New("the object changed in the meantime")
	}
	r.remember(e, request, old, object)
	return object != nil, nil
}

// send makes the dry-run of what the request does: a creation, or a server-side apply to the live object.
func (r *Runner) send(ctx context.Context, e *snapshot.Entry, request *admit.Request) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{Object: e.Account.Applied()}
	gv, err := schema.ParseGroupVersion(object.GetAPIVersion())
	if err != nil {
		return nil, err
	}
	var client dynamic.ResourceInterface = r.client.Resource(gv.WithResource(request.Resource.Resource))
	if e.Key.Namespace != "" {
		object.SetNamespace(e.Key.Namespace)
		client = r.client.Resource(gv.WithResource(request.Resource.Resource)).Namespace(e.Key.Namespace)
	}
	if request.Operation == admit.Create {
		return client.Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: manager})
	}
	return client.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{DryRun: []string{metav1.DryRunAll}, Force: true, FieldManager: manager})
}

// refused tells whether the API server answered no, rather than not at all, and why.
func refused(err error) (metav1.StatusReason, bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return "", false
	}
	s := status.Status()
	if s.Reason == "" {
		s.Reason = metav1.StatusReasonUnknown // an empty one would let the message through
	}
	return s.Reason, s.Code >= 400 && s.Code < 500 && s.Code != http.StatusRequestTimeout && s.Code != http.StatusTooManyRequests
}

func (r *Runner) remember(e *snapshot.Entry, request *admit.Request, old string, object *unstructured.Unstructured) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.made[e]
	if a == nil {
		if len(r.made) >= maxKept {
			clear(r.made)
		}
		a = &answers{}
		r.made[e] = a
	}
	var content map[string]any
	if object != nil {
		content = object.Object
	}
	if request.Operation == admit.Create {
		a.created, a.createdAt = content, r.now()
		return
	}
	a.updated, a.old, a.updatedAt = content, old, r.now()
}

func resourceVersion(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	s, _ := metadata["resourceVersion"].(string)
	return s
}
