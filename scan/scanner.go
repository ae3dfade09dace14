package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/lease"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

const (
	// page is how many objects are asked for at once: what the API server itself takes for its own pages.
	page = 500
	// perSecond bounds the requests of a scan that nobody waits for.
	perSecond = 20
	// maxChain bounds the walk along owners.
	maxChain = 8
	// atMost is how long one scan may take.
	atMost = 30 * time.Minute
)

// ErrNoTruth is returned when there is nothing to compare with: no revision has been verified yet.
var ErrNoTruth = errors.New("no revision has been verified yet")

// Config is what a scanner needs.
type Config struct {
	// Cluster is the API server, with list on whatever is to be looked at.
	Cluster *rest.Config
	// Gate must return what judges now.
	Gate func() *admit.Gate
	// Truth must return what the gate believes now.
	Truth func() *snapshot.Truth
	// Namespace limits a scan to one namespace; "" is the whole cluster.
	Namespace string
	// Interval between scans of Run; an hour if it is 0.
	Interval time.Duration
	// Reports also writes the results as OpenReports, where the cluster has them.
	Reports bool
	// Lease is a Lease (coordination.k8s.io) of whose holders only one scans in Run: NAMESPACE/NAME. Without one, every replica scans.
	Lease string
	// Place is a folder in which a scan keeps how far it has come: one that is interrupted goes on there, in this process or the next. "" keeps nothing.
	Place string
	// Each, if set, is called for every declared object that is not as declared, while the object is at hand. It must not keep the object.
	Each func(f Finding, object map[string]any)
	Log  *slog.Logger
	Now  func() time.Time
}

// Scanner compares a cluster with Git.
type Scanner struct {
	cfg       Config
	discovery discovery.DiscoveryInterface
	objects   dynamic.Interface
	metrics   *metrics
	lease     *lease.Lease // nil: none is needed
	last      atomic.Pointer[Result]
}

// Last is what the last scan of this process found, nil if there was none. It must not be changed.
func (s *Scanner) Last() *Result { return s.last.Load() }

// New prepares a scanner. It does not reach for the cluster.
func New(cfg Config) (*Scanner, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Interval = cmp.Or(cfg.Interval, time.Hour)
	cluster := rest.CopyConfig(cfg.Cluster)
	cluster.QPS, cluster.Burst = perSecond, 2*perSecond
	d, err := discovery.NewDiscoveryClientForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	objects, err := dynamic.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster client: %w", err)
	}
	s := &Scanner{cfg: cfg, discovery: d, objects: objects, metrics: newMetrics()}
	if cfg.Lease != "" {
		if s.lease, err = lease.New(cluster, cfg.Lease, cfg.Log); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run scans at every interval until the context ends, while it holds the lease if there is one. The first scan begins as soon as there is a truth.
func (s *Scanner) Run(ctx context.Context) {
	if s.lease == nil {
		s.loop(ctx)
		return
	}
	s.lease.Hold(ctx, s.loop)
}

func (s *Scanner) loop(ctx context.Context) {
	const untilTruth = time.Second // to look costs nothing
	for {
		wait := s.cfg.Interval
		r, err := s.Once(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrNoTruth):
			wait = untilTruth
		case err != nil:
			s.cfg.Log.Error("scan", "err", err)
		default:
			s.cfg.Log.Info("scanned the cluster", "untraced", r.Count(Untraced), "drifted", r.Count(Drifted), "conflict", r.Count(Conflict),
				"missing", r.Count(Missing), "unread", len(r.Unread), "took", r.Ended.Sub(r.Began))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Once scans the cluster. Kinds that cannot be listed are named in the result; an error means that there is none.
func (s *Scanner) Once(ctx context.Context) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	truth := s.cfg.Truth().Current
	if truth == nil {
		return nil, ErrNoTruth
	}
	p := &pass{
		scanner: s, judge: &Judge{Gate: s.cfg.Gate(), Truth: truth, Now: s.cfg.Now()},
		nodes: make(map[manifest.Key]node), seen: make(map[*snapshot.Entry]bool), listed: make(map[schemaKind]bool), done: make(map[string]string),
		result: &Result{Began: s.cfg.Now(), Revisions: make(map[string]git.ID), Counts: make(map[Group]int), Unread: make(map[string]string)},
	}
	for name, r := range truth.Revisions {
		p.result.Revisions[name] = r.Commit.ID
	}
	resources, err := p.resources()
	if err != nil {
		return nil, fmt.Errorf("discover what the API server serves: %w", err)
	}
	p.resume()
	defer p.leave()
	for _, r := range resources {
		unread, done := p.done[r.String()]
		if !done {
			if err := p.list(ctx, r); err != nil {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				unread = err.Error()
			}
			p.keep(r, unread)
		}
		if unread == "" {
			p.listed[schemaKind{r.kind.Group, r.kind.Kind}] = true
		} else {
			p.result.Unread[r.kind.Kind+suffix(r.kind.Group)] = unread
		}
	}
	p.arrived()
	p.resolve()
	p.missing()
	p.result.sort()
	p.result.Ended = s.cfg.Now()
	s.metrics.took(p.result)
	s.last.Store(p.result)
	if s.cfg.Reports {
		if err := s.report(ctx, p.result); err != nil {
			s.cfg.Log.Warn("write the scan's reports", "err", err)
		}
	}
	return p.result, nil
}

func suffix(group string) string {
	if group == "" {
		return ""
	}
	return "." + group
}

// pass is one scan.
type pass struct {
	scanner *Scanner
	judge   *Judge
	result  *Result
	nodes   map[manifest.Key]node // every object that was seen
	pending []Finding             // undeclared objects with an owner
	seen    map[*snapshot.Entry]bool
	listed  map[schemaKind]bool
	done    map[string]string // resources that were listed to their end, and why they could not be
	fresh   []placed          // of the resource that is being listed
	place   *os.File          // nil: no place is kept
}

// node is what is kept of an object: enough to follow owners.
type node struct {
	uid   string
	state State
	owner *live.Owner
}

type resource struct {
	schema.GroupVersionResource
	kind       schema.GroupVersionKind
	namespaced bool
}

// resources are what the API server serves and can list, each once. Groups whose servers do not answer are named in the result.
func (p *pass) resources() ([]resource, error) {
	lists, err := p.scanner.discovery.ServerPreferredResources()
	var partly *discovery.ErrGroupDiscoveryFailed
	if errors.As(err, &partly) {
		for gv, err := range partly.Groups {
			p.result.Unread[gv.String()] = err.Error()
		}
	} else if err != nil {
		return nil, err
	}
	var out []resource
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range l.APIResources {
			if !slices.Contains(r.Verbs, "list") || passing(gv.Group, r.Kind) || p.scanner.cfg.Namespace != "" && !r.Namespaced {
				continue
			}
			out = append(out, resource{gv.WithResource(r.Name), gv.WithKind(r.Kind), r.Namespaced})
		}
	}
	slices.SortFunc(out, func(a, b resource) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Resource, b.Resource))
	})
	return out, nil
}

// list looks at all objects of a resource, a page at a time.
func (p *pass) list(ctx context.Context, r resource) error {
	var of dynamic.ResourceInterface = p.scanner.objects.Resource(r.GroupVersionResource)
	if p.scanner.cfg.Namespace != "" {
		of = p.scanner.objects.Resource(r.GroupVersionResource).Namespace(p.scanner.cfg.Namespace)
	}
	opts := metav1.ListOptions{Limit: page}
	for {
		list, err := of.List(ctx, opts)
		var status apierrors.APIStatus
		if apierrors.IsResourceExpired(err) && errors.As(err, &status) && status.Status().ListMeta.Continue != "" {
			opts.Continue = status.Status().ListMeta.Continue // goes on from the same name, in a newer state
			continue
		}
		if err != nil {
			return err
		}
		for i := range list.Items {
			object := list.Items[i].Object
			if object["kind"] == nil { // items of some lists leave it to the list
				object["apiVersion"], object["kind"] = r.kind.GroupVersion().String(), r.kind.Kind
			}
			p.look(object)
		}
		if opts.Continue = list.GetContinue(); opts.Continue == "" {
			return nil
		}
	}
}

func (p *pass) look(object map[string]any) {
	if _, there := p.nodes[live.KeyOf(object)]; there {
		return // on two pages, because the list went on in a newer state
	}
	f, owner := p.judge.Object(object)
	uid, _ := metadata(object)["uid"].(string)
	if p.place != nil {
		o := placed{f.Key, uid, f.State, owner, nil, f.Version, f.Why, f.Fields, f.Manager, f.Time}
		if f.Entry != nil {
			o.Entry = &f.Entry.Key
		}
		p.fresh = append(p.fresh, o)
	}
	p.found(f, uid, owner)
	if f.Entry != nil && f.State.Finding() && p.scanner.cfg.Each != nil {
		p.scanner.cfg.Each(f, object)
	}
}

// found takes up what an object was found to be.
func (p *pass) found(f Finding, uid string, owner *live.Owner) {
	p.nodes[f.Key] = node{uid, f.State, owner}
	if f.Entry != nil {
		p.seen[f.Entry] = true
	}
	if owner != nil {
		p.pending = append(p.pending, f)
		return
	}
	p.result.add(f)
}

// resolve follows the owners of what Git does not declare.
func (p *pass) resolve() {
	for _, f := range p.pending {
		if why := p.explains(f.Key); why == "" {
			f.State, f.Why = Derived, ""
		} else {
			f.Why = why
		}
		p.result.add(f)
	}
}

// explains says why the owners of an object do not explain it, "" if they do.
func (p *pass) explains(k manifest.Key) string {
	made := k
	for range maxChain {
		owner := p.nodes[made].owner
		if owner == nil {
			return fmt.Sprintf("%s owns it, and nothing in Git explains that", made)
		}
		n, there := p.nodes[owner.Key]
		switch {
		case !there || owner.UID != "" && n.uid != owner.UID:
			return fmt.Sprintf("%s is said to own it, and is not there", owner.Key)
		case !makes(owner.Key, made):
			return fmt.Sprintf("%s is said to own it, and a %s makes no %s", owner.Key, owner.Kind, made.Kind)
		case n.state != Untraced:
			return ""
		}
		made = owner.Key
	}
	return "its owners make no end"
}

// missing finds what is declared and not live.
func (p *pass) missing() {
	for e := range p.judge.Truth.All() {
		if p.seen[e] || e.Apply.Hook || e.Apply.GenerateName || passing(e.Group, e.Kind) {
			continue
		}
		if ns := p.scanner.cfg.Namespace; ns != "" && e.Namespace != ns {
			continue
		}
		k := schemaKind{e.Group, e.Kind}
		if _, unread := p.result.Unread[e.Kind+suffix(e.Group)]; unread {
			continue
		}
		f := Finding{Key: e.Key, Version: e.Version, State: Missing, Entry: e, Why: "Git declares it, and it is not there"}
		if !p.listed[k] {
			f.Why = "Git declares it, and the API server does not serve its kind"
		}
		p.result.add(f)
	}
}
