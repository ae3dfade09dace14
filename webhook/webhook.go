// Package webhook is the edge towards the API server: AdmissionReview in, admit's decision out. It decides nothing
// itself; it reads with a limit, keeps the deadline, has the decision recorded before it leaves, and answers.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/compact"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/trace"
)

const (
	// maxBody is the largest review that is read. The API server limits an object to about 3 MiB, and a review of an
	// UPDATE holds two.
	maxBody = 8 << 20
	// maxGrantTries is how often a request may find that somebody else took the last use of a grant, before it is given up.
	maxGrantTries = 8
	// defaultTimeout holds where the API server names no deadline; it is its own default.
	defaultTimeout = 10 * time.Second
	// margin is what is left of the API server's deadline for the answer's way back.
	margin = 250 * time.Millisecond
)

// Source is where the truth comes from.
type Source interface {
	// Truth returns what the gate believes now. It must never be nil, and must not block.
	Truth() *snapshot.Truth
	// Refresh brings the mirror up to date with a fetch that began after the call, once for all who wait for it. It must return
	// an error if it cannot tell within the context's deadline.
	Refresh(ctx context.Context) error
}

// Recorder keeps records.
type Recorder interface {
	// Append must return only when the record is durable, or with an error.
	Append(ctx context.Context, r audit.Record) (audit.Record, error)
}

// Digests makes keyed digests, which tell nothing to who has not the key.
type Digests interface {
	// Digest must not keep or change the object. That of nil is "".
	Digest(object map[string]any) string
	// Declared is the same of what Git declares; that of the zero value is "".
	Declared(content compact.Object) string
	// Text is the digest of a text; that of "" is "".
	Text(text string) string
}

// DryRuns asks the cluster what its admission makes of declared objects, and remembers the answers.
type DryRuns interface {
	admit.Mutations
	// Make asks about a declared object for a request, and tells whether it learned something that Of did not say before. An error says that
	// the cluster could not be asked.
	Make(context.Context, *snapshot.Entry, *admit.Request) (bool, error)
}

// Teller tells people of refusals, where they look.
type Teller interface {
	// Refused must not wait for anything, and must not keep request or decision. No value of an object may leave by it.
	Refused(*admit.Request, admit.Decision)
}

// Handler answers AdmissionReviews.
type Handler struct {
	Gate   *admit.Gate
	Source Source
	Live   *live.Store
	// Inventory is what policies see of the cluster; nil is nothing.
	Inventory *policy.Inventory
	// DryRuns that the configuration asks for; nil is none.
	DryRuns DryRuns
	// Grants are those of break-glass; nil is none.
	Grants *breakglass.Store
	Audit  Recorder
	// Digests for records; nil is none.
	Digests Digests
	// Teller of what was refused; nil is none.
	Teller Teller
	// Tracer of where the time goes; nil is none.
	Tracer  *trace.Tracer
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
}

// ServeHTTP reads a review, has it judged and recorded, and answers.
func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	start := h.Now()
	if req.Method != http.MethodPost {
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	if t, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || t != "application/json" {
		http.Error(w, "want application/json", http.StatusUnsupportedMediaType)
		return
	}
	growStack()
	body, err := readBody(w, req)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			http.Error(w, "review too large", http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "cannot read the review", http.StatusBadRequest)
		return
	}
	ctx, span := h.Tracer.Start(h.Tracer.Remote(req.Context(), req.Header), "review")
	defer span.End(nil)
	r, err := Decode(body)
	if err != nil {
		h.Log.Warn("malformed review", "err", err)
		http.Error(w, "malformed review: "+err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout(req))
	defer cancel()

	d, id := h.Review(ctx, r, start)
	describe(span, r, d, id)
	writeAnswer(w, r, d, id)
}

// readBody reads a review of at most maxBody. The length that the caller names saves growing, and is not believed further.
func readBody(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, min(max(req.ContentLength, 0)+bytes.MinRead, maxBody)))
	_, err := b.ReadFrom(http.MaxBytesReader(w, req.Body, maxBody))
	return b.Bytes(), err
}

// growStack makes room on the stack while little lies on it. Every request comes on a new goroutine, whose stack would else be copied at
// each doubling, in the midst of decoding: a tenth of what a review costs.
//
//go:noinline
func growStack() {
	var room [16 << 10]byte
	runtime.KeepAlive(&room)
}

// Review judges one request and has the decision recorded. The string is the record's id, "" if none was written.
func (h *Handler) Review(ctx context.Context, r *admit.Request, start time.Time) (admit.Decision, string) {
	d := h.judge(ctx, r)
	took := h.Now().Sub(start)
	id := ""
	if recorded(r, d) {
		rec := newRecord(r, d, h.Source.Truth(), h.Digests, took)
		rec, err := h.record(ctx, rec)
		if err != nil {
			h.Log.Error("audit record not written: request refused", "reason", v1alpha1.ReasonAuditUnavailable, "err", err)
			d = admit.Failure(v1alpha1.ReasonAuditUnavailable, "the audit log cannot be written, so nothing may change.\nNext: see /readyz of the gate; free its disk or replace its volume.")
		}
		id = rec.ID
	}
	h.learn(r, d)
	if h.Teller != nil && d.Outcome == admit.Deny && !r.DryRun {
		h.Teller.Refused(r, d)
	}
	h.Metrics.observe(r, d, start, took)
	h.log(r, d, id)
	return d, id
}

// record makes a record durable.
func (h *Handler) record(ctx context.Context, rec audit.Record) (audit.Record, error) {
	ctx, span := h.Tracer.Start(ctx, "record")
	rec, err := h.Audit.Append(ctx, rec)
	span.End(err)
	return rec, err
}

// describe says on a span what was asked and answered.
func describe(span *trace.Span, r *admit.Request, d admit.Decision, record string) {
	if span == nil {
		return
	}
	k := r.Key()
	span.Set("k8s.operation", string(r.Operation))
	span.Set("k8s.group", k.Group)
	span.Set("k8s.kind", k.Kind)
	span.Set("k8s.namespace", k.Namespace)
	span.Set("k8s.name", k.Name)
	span.Set("k8s.subresource", r.Subresource)
	span.Set("gate.role", string(d.Role))
	span.Set("gate.outcome", d.Outcome.String())
	span.Set("gate.verdict", d.Verdict.String())
	span.Set("gate.reason", string(d.Reason))
	span.Set("gate.record", record)
	if d.Entry != nil && d.Entry.Changed != nil {
		span.Set("git.commit", string(d.Entry.Changed.ID))
	}
}

// refresh brings the mirror up to date.
func (h *Handler) refresh(ctx context.Context) error {
	ctx, span := h.Tracer.Start(ctx, "refresh")
	err := h.Source.Refresh(ctx)
	span.End(err)
	return err
}

// judge decides; if the agent may have seen a commit that the mirror has not, the mirror is brought up to date, once, and the
// request judged again.
func (h *Handler) judge(ctx context.Context, r *admit.Request) admit.Decision {
	d := h.decideMutated(ctx, r)
	if !d.Ahead {
		return d
	}
	switch err := h.refresh(ctx); {
	case err != nil && (d.Mode == v1alpha1.ModeWarn || d.Mode == v1alpha1.ModeAudit):
		h.Log.Warn("fetch on demand", "err", err)
		return d // the mode lets it pass anyway
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return admit.NotYet(v1alpha1.ReasonMirrorBehind, "the mirror could not be brought up to date in time, and the agent may be ahead of it.\nNext: wait; the agent asks again by itself.")
	case err != nil:
		h.Log.Warn("fetch on demand", "err", err)
		return admit.NotYet(v1alpha1.ReasonMirrorBehind, "the Git host does not answer, and the agent may be ahead of the mirror.\nNext: bring the Git host back; see /readyz of the gate.")
	}
	return h.decideMutated(ctx, r)
}

// decideMutated decides; if what is refused may be what this cluster's admission adds, the cluster is asked, once, and the request judged again.
func (h *Handler) decideMutated(ctx context.Context, r *admit.Request) admit.Decision {
	d := h.decide(ctx, r)
	if d.Mutable == nil {
		return d
	}
	asking, span := h.Tracer.Start(ctx, "dry-run")
	learned, err := h.DryRuns.Make(asking, d.Mutable, r)
	span.End(err)
	if err != nil {
		h.Log.Warn("dry-run of a declared object", "object", d.Mutable.Key.String(), "err", err)
		if d.Outcome == admit.Allow { // the mode lets it pass anyway
			return d
		}
		return admit.NotYet(v1alpha1.ReasonDryRunUnanswered, "the API server did not say in time what its admission makes of %s.\nNext: wait; the agent asks again by itself.", d.Mutable.Key)
	}
	if !learned {
		return d
	}
	return h.decide(ctx, r)
}

// decide asks admit. A defect there is an error of ours, said inside the answer: a broken connection would leave the verdict to
// the failurePolicy.
func (h *Handler) decide(ctx context.Context, r *admit.Request) (d admit.Decision) {
	ctx, span := h.Tracer.Start(ctx, "decide")
	defer span.End(nil)
	defer func() {
		if p := recover(); p != nil {
			h.Log.Error("defect: request refused", "panic", p, "stack", string(debug.Stack()))
			d = admit.Failure(v1alpha1.ReasonInternal, "the gate met a defect of its own.\nNext: report it, with the gate's log of this moment.")
		}
	}()
	world := admit.World{Truth: h.Source.Truth(), Live: h.Live, Now: h.Now(), Mutations: h.DryRuns, Inventory: h.Inventory}
	for range maxGrantTries {
		if h.Grants != nil {
			world.Grants = h.Grants.Set()
		}
		d = h.Gate.Decide(ctx, r, world)
		if d.Grant == nil || r.DryRun {
			return d
		}
		// The use counts before the request passes. Somebody else may have taken the last one: then the grant is none any more.
		switch err := h.Grants.Use(ctx, d.Grant.Name, world.Now); {
		case err == nil:
			return d
		case errors.Is(err, breakglass.ErrUncounted):
			h.Log.Error("the use of a grant cannot be counted among the replicas: request refused", "grant", d.Grant.Name, "err", err)
			return admit.Failure(v1alpha1.ReasonInternal, "the use of grant %s cannot be counted among the replicas: the gate does not reach the API server.\nNext: ask again; if it lasts, have a grant without a count of uses signed.", d.Grant.Name)
		case !errors.Is(err, breakglass.ErrExhausted):
			h.Log.Error("the use of a grant cannot be counted: request refused", "grant", d.Grant.Name, "err", err)
			return admit.Failure(v1alpha1.ReasonInternal, "the use of grant %s cannot be counted.\nNext: see /readyz of the gate; free its disk or replace its volume.", d.Grant.Name)
		}
	}
	return admit.Failure(v1alpha1.ReasonInternal, "others took the last uses of every grant that covered this.\nNext: ask again.")
}

// learn remembers what the review shows of live objects: the old object is what is there, the new one what will be.
func (h *Handler) learn(r *admit.Request, d admit.Decision) { Learn(h.Live, r, d) }

// Learn remembers what a judged review shows of live objects.
func Learn(store *live.Store, r *admit.Request, d admit.Decision) {
	if r.Subresource != "" && r.Subresource != "status" && r.Subresource != "finalize" {
		return // the objects are of another kind (Scale, Binding, Eviction)
	}
	switch {
	case d.Outcome == admit.Allow && !r.DryRun && r.Operation == admit.Delete:
		store.Remove(r.Old)
	case d.Outcome == admit.Allow && !r.DryRun && r.Object != nil:
		store.Observe(r.Object)
	case r.Old != nil:
		store.Observe(r.Old)
	}
}

func (h *Handler) log(r *admit.Request, d admit.Decision, id string) {
	level := slog.LevelDebug
	if d.Verdict != admit.Allow {
		level = slog.LevelInfo
	}
	if d.Outcome == admit.Error {
		level = slog.LevelError
	}
	h.Log.Log(context.Background(), level, "decision", "outcome", d.Outcome.String(), "verdict", d.Verdict.String(), "reason", d.Reason,
		"user", r.User.Name, "operation", r.Operation, "object", r.Key().String(), "subresource", r.Subresource, "dryRun", r.DryRun, "record", id)
}

// timeout is the API server's own deadline (its ?timeout=), less what the answer needs for its way back.
func timeout(req *http.Request) time.Duration {
	t, err := time.ParseDuration(req.URL.Query().Get("timeout"))
	if err != nil || t <= 0 || t > 30*time.Second { // 30s is the largest that the API server accepts
		t = defaultTimeout
	}
	return max(t-margin, t/2)
}
