package watchdog

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/authority"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/lease"
)

const (
	// interval is the longest that a change stays unnoticed which no watch told of.
	interval = time.Minute
	// askTimeout bounds one request to the API server.
	askTimeout = 10 * time.Second
	// perSecond bounds the requests of somebody who makes changes all the time.
	perSecond = 10
)

// Repair says what is put back.
type Repair string

// What may be repaired.
const (
	Nothing    Repair = "none"
	Webhook    Repair = "webhook" // the webhook configuration
	Everything Repair = "all"     // and the policies
)

// State is how a registered object was found.
type State string

// The states of an object. Nothing else is sound.
const (
	Unknown State = "unknown" // it could not be asked for
	Sound   State = "sound"
	Changed State = "changed"
	Missing State = "missing"
)

// Object is how one object of the registration stands.
type Object struct {
	Kind  string    `json:"kind"`
	Name  string    `json:"name"`
	State State     `json:"state"`
	Since time.Time `json:"since"` // when it was first found so
	// Fields are the paths that are not as they should be.
	Fields []string `json:"fields,omitempty"`
	// Error says why it is unknown, or why it could not be put back.
	Error string `json:"error,omitempty"`
}

// Event is what the watchdog saw or did.
type Event struct {
	Object // how it stands, or stood before it was repaired
	// Repaired tells that this replica has just put the object back.
	Repaired bool
}

// Config is what a watchdog needs.
type Config struct {
	// Cluster is the API server, with get, list and watch on the kinds of the registration; create and update too, for what Repair names.
	Cluster *rest.Config
	// Registration is the file or folder that says what should be there. It is read anew at every look.
	Registration string
	// CABundle is the authority (PEM) by which the API server is to know the gate, whatever the files say; nil if only they may know it.
	CABundle func() []byte
	Types    *account.Types
	// Repair says what is put back; nothing if it is empty. After is how long something must be amiss before: an uninstallation takes the gate and its
	// rights away within that time, and is not undone.
	Repair Repair
	After  time.Duration
	// Lease is a Lease whose holder alone repairs: NAMESPACE/NAME. Without one every replica does.
	Lease string
	// Ready tells whether this replica could answer: one that cannot does not put the webhook back.
	Ready func() bool
	// Observe is told when an object is found changed, missing or sound again, and of every repair; never that one is unknown. It may be nil.
	Observe func(context.Context, Event)
	Log     *slog.Logger
	Now     func() time.Time
}

// Watchdog compares the registration in the cluster with what it should be. Run owns everything but Status.
type Watchdog struct {
	cfg     Config
	objects dynamic.Interface
	changes metadatainformer.SharedInformerFactory
	lease   *lease.Lease // nil: none is needed
	holds   atomic.Bool  // whether the lease is held
	metrics *metrics
	status  atomic.Pointer[Status]
	ours    []*x509.Certificate // the gate's own authorities, also those that another has replaced since the start; Run's own
	known   map[key]Object      // how each object was last found, when it could be asked for; Run's own
	wake    chan struct{}
}

// Status is how the registration stands.
type Status struct {
	// Looked is when the cluster was last asked; zero: never.
	Looked time.Time `json:"looked"`
	// Error says why the registration itself cannot be read.
	Error   string   `json:"error,omitempty"`
	Objects []Object `json:"objects"`
	Repair  Repair   `json:"repair"`
}

// Sound tells whether everything was found as it should be.
func (s *Status) Sound() bool {
	return s.Error == "" && !s.Looked.IsZero() && !slices.ContainsFunc(s.Objects, func(o Object) bool { return o.State != Sound })
}

// New prepares a watchdog. It reads the registration, so that a mistake in it shows at start, and does not reach for the cluster.
func New(cfg Config) (*Watchdog, error) {
	cfg.Repair = cmp.Or(cfg.Repair, Nothing)
	if !slices.Contains([]Repair{Nothing, Webhook, Everything}, cfg.Repair) {
		return nil, fmt.Errorf("repair %q: want %s, %s or %s", cfg.Repair, Nothing, Webhook, Everything)
	}
	if _, err := Load(cfg.Registration); err != nil {
		return nil, fmt.Errorf("registration: %w", err)
	}
	cluster := rest.CopyConfig(cfg.Cluster)
	cluster.QPS, cluster.Burst, cluster.Timeout = perSecond, 2*perSecond, 0
	w := &Watchdog{cfg: cfg, metrics: newMetrics(), known: map[key]Object{}, wake: make(chan struct{}, 1)}
	var err error
	if w.objects, err = dynamic.NewForConfig(cluster); err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	changes, err := metadata.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	w.changes = metadatainformer.NewSharedInformerFactory(changes, 0)
	for kind := range resources() {
		informer := w.changes.ForResource(key{kind: kind}.resource()).Informer()
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { w.Look() }, UpdateFunc: func(any, any) { w.Look() }, DeleteFunc: func(any) { w.Look() },
		}); err != nil {
			return nil, err
		}
	}
	if cfg.Lease != "" && cfg.Repair != Nothing {
		if w.lease, err = lease.New(cluster, cfg.Lease, cfg.Log); err != nil {
			return nil, err
		}
	}
	w.status.Store(&Status{Objects: []Object{}, Repair: cfg.Repair})
	return w, nil
}

// Status tells how the registration stood at the last look. It must not be changed.
func (w *Watchdog) Status() *Status { return w.status.Load() }

// Look asks for a look soon. It does not wait.
func (w *Watchdog) Look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run looks whenever something may have changed, and every minute, until the context ends.
func (w *Watchdog) Run(ctx context.Context) {
	if w.lease != nil {
		released := make(chan struct{})
		go func() {
			defer close(released)
			w.lease.Hold(ctx, func(ctx context.Context) {
				w.holds.Store(true)
				w.Look()
				<-ctx.Done()
				w.holds.Store(false)
			})
		}()
		defer func() { <-released }()
	}
	w.changes.Start(ctx.Done())
	defer w.changes.Shutdown()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		w.look(ctx)
		if w.repair(ctx) {
			w.look(ctx)
		}
		timer.Reset(w.next())
	}
}

// next is how long until the next look that nothing asks for: sooner while there is something to repair.
func (w *Watchdog) next() time.Duration {
	if w.cfg.Repair == Nothing || w.Status().Sound() {
		return interval
	}
	return min(interval, max(w.cfg.After, time.Second))
}

// look compares the cluster with the registration, and tells of what is new.
func (w *Watchdog) look(ctx context.Context) {
	was := w.Status()
	now := &Status{Looked: w.cfg.Now(), Objects: []Object{}, Repair: w.cfg.Repair}
	registration, err := Load(w.cfg.Registration)
	if err != nil {
		now.Error = err.Error()
		w.cfg.Log.Error("the registration cannot be read", "err", err)
	}
	for _, want := range registration {
		now.Objects = append(now.Objects, w.compare(ctx, want))
	}
	if ctx.Err() != nil {
		return
	}
	for i := range now.Objects {
		o := &now.Objects[i]
		o.Since = now.Looked
		at := slices.IndexFunc(was.Objects, func(x Object) bool { return x.Kind == o.Kind && x.Name == o.Name })
		if at >= 0 && was.Objects[at].State == o.State {
			o.Since = was.Objects[at].Since
			o.Error = cmp.Or(o.Error, was.Objects[at].Error) // of a repair
		}
		if o.State == Unknown {
			if o.Since.Equal(now.Looked) {
				w.cfg.Log.Error("the registration of the gate cannot be read from the cluster", "object", o.Kind+" "+o.Name, "err", o.Error)
			}
			continue
		}
		k := key{o.Kind, o.Name}
		known, ok := w.known[k]
		w.known[k] = *o
		if ok && known.State == o.State && slices.Equal(known.Fields, o.Fields) || !ok && o.State == Sound {
			continue
		}
		w.tell(ctx, *o)
	}
	w.status.Store(now)
	w.metrics.count(now.Objects)
}

// tell says that an object is not as it was known.
func (w *Watchdog) tell(ctx context.Context, o Object) {
	attrs := []any{"object", o.Kind + " " + o.Name, "state", o.State, "fields", o.Fields}
	if o.State == Sound {
		w.cfg.Log.Info("the registration of the gate is as it should be again", attrs...)
	} else {
		w.metrics.changes.WithLabelValues(string(o.State)).Inc()
		w.cfg.Log.Error("the registration of the gate is not as it should be", attrs...)
	}
	w.observe(ctx, Event{Object: o})
}

func (w *Watchdog) observe(ctx context.Context, e Event) {
	if w.cfg.Observe != nil {
		w.cfg.Observe(ctx, e)
	}
}

// compare asks for one object, and for how it differs.
func (w *Watchdog) compare(ctx context.Context, want *unstructured.Unstructured) Object {
	k := keyOf(want)
	o := Object{Kind: k.kind, Name: k.name}
	have, err := w.get(ctx, k)
	if apierrors.IsNotFound(err) {
		o.State = Missing
		return o
	}
	if err == nil {
		o.Fields, err = w.differences(want, have)
	}
	switch {
	case err != nil:
		o.State, o.Error = Unknown, err.Error()
	case len(o.Fields) > 0:
		o.State = Changed
	default:
		o.State = Sound
	}
	return o
}

func (w *Watchdog) get(ctx context.Context, k key) (*unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return w.objects.Resource(k.resource()).Get(ctx, k.name, metav1.GetOptions{})
}

// differences are the fields in which a live object is not what it should be, with the API server's own defaults. Labels and annotations decide
// nothing, and belong to whoever installs.
func (w *Watchdog) differences(want, have *unstructured.Unstructured) ([]string, error) {
	exempt := []account.Pattern{"metadata.labels**", "metadata.annotations**", "status**"}
	want = want.DeepCopy()
	if want.GetKind() == webhookKind && (!trust(want, w.bundle()) || trusts(have, w.authorities())) {
		exempt = append(exempt, "webhooks[*].clientConfig.caBundle") // of an injector, who knows what we do not; or of ours
	}
	declared, err := w.cfg.Types.Declare(account.Declaration{Content: compact.Of(want.Object)})
	if err != nil {
		return nil, err
	}
	result := declared.Explain(account.Change{Object: have.Object, Exempt: exempt})
	fields := slices.Concat(result.Unexplained, result.Missing)
	if have.GetDeletionTimestamp() != nil {
		fields = append(fields, "metadata.deletionTimestamp")
	}
	slices.Sort(fields)
	return slices.Compact(fields), nil
}

// authorities are the gate's own, as far as this process has seen: the old one is trusted for a while after nothing is issued from it any more.
func (w *Watchdog) authorities() []*x509.Certificate {
	if w.cfg.CABundle == nil {
		return nil
	}
	certs, err := authority.Certificates(w.cfg.CABundle())
	if err != nil {
		return w.ours
	}
	for _, c := range certs {
		if !slices.ContainsFunc(w.ours, c.Equal) {
			w.ours = append(w.ours, c)
		}
	}
	return w.ours
}

// bundle is the authority as a manifest holds it, "" if it is not known.
func (w *Watchdog) bundle() string {
	if w.cfg.CABundle == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(w.cfg.CABundle())
}

// repair puts back what has been amiss for long enough, and tells whether it tried.
func (w *Watchdog) repair(ctx context.Context) bool {
	if w.cfg.Repair == Nothing || w.lease != nil && !w.holds.Load() || !w.cfg.Ready() {
		return false
	}
	registration, err := Load(w.cfg.Registration)
	if err != nil {
		return false // look has said so
	}
	status, tried := *w.Status(), false
	status.Objects = slices.Clone(status.Objects)
	for i, o := range status.Objects {
		at := slices.IndexFunc(registration, func(u *unstructured.Unstructured) bool { return keyOf(u) == key{o.Kind, o.Name} })
		if at < 0 || o.State != Changed && o.State != Missing || w.cfg.Repair == Webhook && o.Kind != webhookKind || w.cfg.Now().Sub(o.Since) < w.cfg.After {
			continue
		}
		tried = true
		status.Objects[i].Error = ""
		if err := w.put(ctx, registration[at]); err != nil {
			w.metrics.repairs.WithLabelValues(failed).Inc()
			w.cfg.Log.Error("the registration of the gate cannot be put back", "object", o.Kind+" "+o.Name, "err", err)
			status.Objects[i].Error = err.Error()
			continue
		}
		w.metrics.repairs.WithLabelValues(done).Inc()
		w.cfg.Log.Warn("the registration of the gate was put back", "object", o.Kind+" "+o.Name)
		w.observe(ctx, Event{Object: o, Repaired: true})
	}
	w.status.Store(&status)
	return tried
}

// put makes an object what it should be. Labels and annotations of the live one stay.
func (w *Watchdog) put(ctx context.Context, want *unstructured.Unstructured) error {
	want = want.DeepCopy()
	if want.GetKind() == webhookKind && !trust(want, w.bundle()) {
		return errors.New("neither the registration nor the gate says by which authority the API server is to know it")
	}
	k := keyOf(want)
	have, err := w.get(ctx, k)
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client := w.objects.Resource(k.resource())
	if apierrors.IsNotFound(err) {
		_, err = client.Create(ctx, want, metav1.CreateOptions{FieldManager: "commitgate"})
		return err
	}
	if err != nil {
		return err
	}
	want.SetResourceVersion(have.GetResourceVersion())
	want.SetLabels(merged(have.GetLabels(), want.GetLabels()))
	want.SetAnnotations(merged(have.GetAnnotations(), want.GetAnnotations()))
	_, err = client.Update(ctx, want, metav1.UpdateOptions{FieldManager: "commitgate"})
	return err
}

func merged(a, b map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, a)
	maps.Copy(out, b)
	return out
}
