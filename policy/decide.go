package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"sort"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"
)

const (
	// watchAfter is how long a decision may run unobserved: nearly all are done by then, and pay nothing for the watch.
	watchAfter = 5 * time.Millisecond
	// watchEvery is how often the memory of one that is not done is looked at.
	watchEvery = 2 * time.Millisecond
	// patience is how long after being cut off an evaluation may take to notice. A built-in function that runs long does not notice;
	// the decision is then given without it.
	patience = 50 * time.Millisecond
	// maxStray is how many evaluations that did not notice may still be running. While there are more, everything is denied.
	maxStray = 4
)

// Decide asks every rule that applies. An error means that there is no verdict; whatever goes wrong inside a
// rule is a denial instead. The verdict is a function of the Set and the Input, but for the two cut-offs (time and memory),
// which deny.
func (s *Set) Decide(ctx context.Context, in Input) (Result, error) {
	return s.decide(ctx, in, nil)
}

// observer is told how long each rule took.
type observer func(*rule, time.Duration)

func (s *Set) decide(ctx context.Context, in Input, observe observer) (Result, error) {
	if s == nil {
		return Result{}, ErrNoSet
	}
	if in.Time.IsZero() {
		return Result{}, errors.New("policy input has no time")
	}
	if n := s.strays.Load(); n > maxStray {
		return s.refuse(in.Time, fmt.Sprintf("%d evaluations that were cut off are still running", n)), nil
	}
	req, err := newRequest(in)
	if err != nil {
		return Result{}, fmt.Errorf("policy input: %w", err)
	}
	w := &watch{cancel: topdown.NewCancel()}
	limit := s.limits.Time
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(d)-patience, 0))
	}
	ctx, stop := context.WithCancel(ctx) // for what does not know topdown's cancel
	defer stop()
	timer := time.AfterFunc(limit, func() { w.cancel.Cancel(); stop() })
	defer timer.Stop()
	memory := time.AfterFunc(watchAfter, func() { w.memory(s.limits.Memory) })
	defer memory.Stop()
	defer w.done.Store(true)

	verdict := make(chan Result, 1)
	go func() {
		verdict <- s.judge(ctx, req, w, observe)
		if !w.abandoned.CompareAndSwap(running, ended) {
			s.strays.Add(-1) // it was left behind, and is a stray no more
		}
	}()
	late := time.NewTimer(limit + patience)
	defer late.Stop()
	select {
	case r := <-verdict:
		return r, nil
	case <-late.C:
	case <-ctx.Done():
		w.cancel.Cancel()
		select {
		case r := <-verdict:
			return r, nil
		case <-time.After(patience):
		}
	}
	if w.abandoned.CompareAndSwap(running, left) {
		s.strays.Add(1)
	}
	return s.refuse(in.Time, "cut off: "+w.where()), nil
}

// judge asks one rule after the other, and then the constraints about what the object implies.
func (s *Set) judge(ctx context.Context, req *request, w *watch, observe observer) Result {
	out := Result{Digest: s.digest, Engine: Engine(), Time: req.in.Time}
	for _, r := range s.rules {
		if !s.ask(ctx, r, req, w, observe, func(fs []Finding) { out.found(r, fs) }) {
			out.Denials = append(out.Denials, s.cutOff("cut off before "+r.policy+" was asked"))
			break
		}
	}
	if err := s.judgeImplied(ctx, req, w, observe, &out); err != nil {
		out.Denials = append(out.Denials, s.cutOff(err.Error()))
	}
	out.complete = true
	return out
}

func (s *Set) judgeImplied(ctx context.Context, req *request, w *watch, observe observer, out *Result) error {
	object := req.in.Object
	if object == nil {
		object = req.in.OldObject
	}
	made, err := expand(s.expansions, object, 0)
	if err != nil {
		return err
	}
	for _, i := range made {
		one, err := i.requestFor(req)
		if err != nil {
			return err
		}
		for _, r := range s.rules {
			if r.convention != Gatekeeper {
				continue
			}
			if !s.ask(ctx, r, one, w, observe, func(fs []Finding) { out.found(r, i.mark(fs)) }) {
				return errors.New("cut off before " + r.policy + " was asked about what the object implies")
			}
		}
	}
	return nil
}

// ask hands a rule's findings to found, if the rule applies. It is false if there is no time left to ask.
func (s *Set) ask(ctx context.Context, r *rule, req *request, w *watch, observe observer, found func([]Finding)) bool {
	w.current.Store(r)
	if w.cancel.Cancelled() {
		return false
	}
	ok, err := r.applies(req)
	switch {
	case err != nil:
		found(r.failed(err))
	case !ok:
	case observe == nil:
		found(r.ask(ctx, req, w.cancel))
	default:
		start := time.Now()
		found(r.ask(ctx, req, w.cancel))
		observe(r, time.Since(start))
	}
	return true
}

// found takes a rule's answer into the result.
func (r *Result) found(by *rule, fs []Finding) {
	r.Asked++
	r.Referential = r.Referential || len(by.reads()) > 0
	r.add(fs)
}

// add sorts findings into the result: by rule in the Set's order, by message within a rule.
func (r *Result) add(fs []Finding) {
	sort.SliceStable(fs, func(i, j int) bool { return fs[i].Msg < fs[j].Msg })
	for _, f := range fs {
		switch f.Action {
		case Warn:
			r.Warnings = append(r.Warnings, f)
		case Dryrun:
			r.Dryruns = append(r.Dryruns, f)
		default:
			r.Denials = append(r.Denials, f)
		}
	}
}

// refuse is a verdict without having asked.
func (s *Set) refuse(now time.Time, why string) Result {
	return Result{Digest: s.digest, Engine: Engine(), Time: now, Denials: []Finding{s.cutOff(why)}, complete: true}
}

func (s *Set) cutOff(why string) Finding {
	return Finding{ID: "commitgate/cut-off", Msg: why, Policy: "commitgate", Rule: "cut-off", Action: Deny, Failed: true}
}

// watch bounds one decision.
type watch struct {
	cancel  topdown.Cancel
	current atomic.Pointer[rule]
	done    atomic.Bool
	// abandoned is moved once, by whichever comes first: the end of the decision, or the end of patience with it.
	abandoned atomic.Int32
}

// The states of a decision.
const (
	running int32 = iota
	ended         // in time
	left          // behind, and still running
)

func (w *watch) where() string {
	if r := w.current.Load(); r != nil {
		return r.policy + " took too long"
	}
	return "the request took too long"
}

// memory cancels once the process has allocated more than limit since it began to look. What the rules hold is at most what was
// allocated meanwhile; that other requests are counted too errs on the side of refusing.
func (w *watch) memory(limit uint64) {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	start := sample[0].Value.Uint64()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for range tick.C {
		if w.done.Load() || w.cancel.Cancelled() {
			return
		}
		metrics.Read(sample)
		if sample[0].Value.Uint64()-start > limit {
			w.cancel.Cancel()
			return
		}
	}
}
