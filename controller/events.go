package controller

import (
	"context"
	"fmt"
	"path"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/webhook"
)

// The bounds of Events. They are for people who look at an object, not for counting: records and metrics count.
const (
	objectBurst = 5        // at once, about one object; the same Event again is only counted in it
	objectRate  = 1. / 300 // afterwards, a second
	totalBurst  = 50       // at once, about everything
	totalRate   = 5        // afterwards, a second
	groupAfter  = 5        // different ones about one object, for one reason: from here on they are combined into one
)

// Events tells people in the cluster what the gate did, where they look: on the object. Telling never waits: what is too much is dropped and counted.
// A nil *Events tells nothing.
type Events struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
	sink        typedv1.EventsGetter
	limit       flowcontrol.RateLimiter
	gate        string // the name of the Gate, for what has no other place
	dropped     atomic.Uint64
}

// NewEvents prepares the telling; Run sends. gate is the name of the Gate.
func NewEvents(cluster *rest.Config, gate string) (*Events, error) {
	sink, err := typedv1.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	e := &Events{sink: sink, gate: gate, limit: flowcontrol.NewTokenBucketRateLimiter(totalRate, totalBurst)}
	e.broadcaster = record.NewBroadcaster(record.WithCorrelatorOptions(record.CorrelatorOptions{BurstSize: objectBurst, QPS: objectRate, MaxEvents: groupAfter}))
	e.recorder = e.broadcaster.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: "commitgate"})
	return e, nil
}

// Run sends Events until the context ends.
func (e *Events) Run(ctx context.Context) {
	e.broadcaster.StartRecordingToSink(&typedv1.EventSinkImpl{Interface: e.sink.Events("")})
	<-ctx.Done()
	e.broadcaster.Shutdown()
}

// Metrics are the metrics of Events.
func (e *Events) Metrics() []prometheus.Collector {
	return []prometheus.Collector{prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "gate_events_dropped_total", Help: "Kubernetes Events that were not sent because there were too many at once. Records and decisions are counted elsewhere; none of them is lost.",
	}, func() float64 { return float64(e.dropped.Load()) })}
}

// Refused implements webhook.Teller: whoever looks at the object, or at the namespace in which it was to be, sees who was refused what, and why.
func (e *Events) Refused(r *admit.Request, d admit.Decision) {
	place := ""
	if d.Entry != nil {
		place = fmt.Sprintf("; it is declared in %s", d.Entry.Source.Path)
		if d.Revision != nil {
			place += " @ " + d.Revision.Commit.ID.Short()
		}
	}
	e.tell(e.about(r), corev1.EventTypeWarning, string(d.Reason), fmt.Sprintf("%s by %s was refused%s", operation(r), r.User.Name, place))
}

var _ webhook.Teller = (*Events)(nil)

// operation is what was asked for, without any value.
func operation(r *admit.Request) string {
	key := r.Key()
	if r.Subresource != "" {
		return fmt.Sprintf("%s of %s/%s", r.Operation, key, r.Subresource)
	}
	return fmt.Sprintf("%s of %s", r.Operation, key)
}

// about is the object if it is there, else its namespace, else the Gate.
func (e *Events) about(r *admit.Request) *corev1.ObjectReference {
	key := r.Key()
	if r.Operation != admit.Create || r.Subresource != "" {
		ref := &corev1.ObjectReference{APIVersion: path.Join(key.Group, r.Resource.Version), Kind: key.Kind, Name: key.Name, Namespace: key.Namespace}
		meta, _ := r.Old["metadata"].(map[string]any)
		uid, _ := meta["uid"].(string)
		ref.UID = types.UID(uid)
		return ref
	}
	if key.Namespace != "" {
		return &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: key.Namespace, Namespace: key.Namespace}
	}
	return &corev1.ObjectReference{APIVersion: v1alpha1.APIVersion, Kind: "Gate", Name: e.gate}
}

// tell queues an Event. It never waits.
func (e *Events) tell(about *corev1.ObjectReference, kind, reason, message string) {
	if e == nil {
		return
	}
	if !e.limit.TryAccept() {
		e.dropped.Add(1)
		return
	}
	e.recorder.Event(about, kind, reason, short(message))
}
