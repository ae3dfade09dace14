package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
)

// fieldManager is the field manager of what is written: apart from that of whoever applies the objects.
const fieldManager = "commitgate-status"

// writer compares what the gate knows with what the cluster shows, and writes what differs. What changed is told as an Event: the status before is
// the memory, so that a new leader tells nothing twice. It is used by one goroutine per kind.
type writer struct {
	client client.Client
	state  func() State
	events *Events
	now    func() time.Time
	// told are the exemptions whose end was announced; owned by gate.
	told map[string]bool
}

func (w *writer) repository(ctx context.Context, request ctrl.Request) error {
	var r v1alpha1.TrustedRepository
	if err := w.client.Get(ctx, request.NamespacedName, &r); err != nil {
		return err
	}
	next := repositoryStatus(&r, w.state(), w.now())
	if equality.Semantic.DeepEqual(r.Status, next) {
		return nil
	}
	if err := w.apply(ctx, "TrustedRepository", r.Name, &next); err != nil {
		return err
	}
	about := reference("TrustedRepository", r.Name, &r)
	if next.Revision != "" && next.Revision != r.Status.Revision {
		w.events.tell(about, corev1.EventTypeNormal, "Published", fmt.Sprintf("%s is the truth, signed by %s", next.Commit, signedBy(next.Signer)))
	}
	for _, kind := range []string{v1alpha1.ConditionFetched, v1alpha1.ConditionReady, v1alpha1.ConditionServed} {
		if c := worsened(r.Status.Conditions, next.Conditions, kind); c != nil {
			w.events.tell(about, corev1.EventTypeWarning, c.Reason, c.Message)
		}
	}
	return nil
}

// signedBy names who signed; the anchor is vouched for by the configuration.
func signedBy(signer string) string {
	if signer == "" {
		return "nobody: the configuration vouches for it"
	}
	return signer
}

func (w *writer) gate(ctx context.Context, request ctrl.Request) error {
	var g v1alpha1.Gate
	if err := w.client.Get(ctx, request.NamespacedName, &g); err != nil {
		return err
	}
	state, now := w.state(), w.now()
	about := reference("Gate", g.Name, &g)
	if g.Name == state.Config.Gate.Name {
		w.ending(about, state.Config.Gate.Spec.Exemptions, now)
	}
	next := gateStatus(&g, state, now)
	if equality.Semantic.DeepEqual(g.Status, next) {
		return nil
	}
	if err := w.apply(ctx, "Gate", g.Name, &next); err != nil {
		return err
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionServed} {
		if c := worsened(g.Status.Conditions, next.Conditions, kind); c != nil {
			w.events.tell(about, corev1.EventTypeWarning, c.Reason, c.Message)
		}
	}
	return nil
}

// ending announces, once for each leader, the exemptions that end soon or have ended.
func (w *writer) ending(about *corev1.ObjectReference, exemptions []v1alpha1.Exemption, now time.Time) {
	for i := range exemptions {
		e := &exemptions[i]
		reason, message := "", ""
		switch {
		case e.Ended(now):
			reason, message = "ExemptionEnded", fmt.Sprintf("exemption %s has ended: whoever went by it is refused", e.Name)
		case e.EndsSoon(now, v1alpha1.ExemptionNotice):
			reason, message = "ExemptionEndsSoon", fmt.Sprintf("exemption %s ends %s: renew it by a reviewed change, or let it go", e.Name, e.Expires.UTC().Format(time.RFC3339))
		}
		if key := reason + "/" + e.Name; reason != "" && !w.told[key] {
			w.told[key] = true
			w.events.tell(about, corev1.EventTypeWarning, reason, message)
		}
	}
}

func (w *writer) grant(ctx context.Context, request ctrl.Request) error {
	var g v1alpha1.Grant
	if err := w.client.Get(ctx, request.NamespacedName, &g); err != nil {
		return err
	}
	next := grantStatus(&g, w.state(), w.now())
	if equality.Semantic.DeepEqual(g.Status, next) {
		return nil
	}
	if err := w.apply(ctx, v1alpha1.KindGrant, g.Name, &next); err != nil {
		return err
	}
	about := reference(v1alpha1.KindGrant, g.Name, &g)
	active := string(breakglass.Active)
	switch was := g.Status.State; {
	case next.State == active && was != active:
		w.events.tell(about, corev1.EventTypeWarning, "GrantOpened", "break-glass is open until "+g.Spec.Until.UTC().Format(time.RFC3339))
	case next.State != active && was == active:
		w.events.tell(about, corev1.EventTypeNormal, "GrantClosed", "break-glass is over: "+next.State)
	case next.State == string(breakglass.Refused) && was != next.State:
		w.events.tell(about, corev1.EventTypeWarning, "GrantRefused", "the grant opens nothing: "+next.Message)
	}
	if next.Uses > g.Status.Uses {
		w.events.tell(about, corev1.EventTypeWarning, "GrantUsed", fmt.Sprintf("%d requests have passed by this grant", next.Uses))
	}
	return nil
}

// apply writes a status whole. An object that is gone is not made: the status of nothing cannot be applied.
func (w *writer) apply(ctx context.Context, kind, name string, status any) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.APIVersion, "kind": kind, "metadata": map[string]any{"name": name}, "status": fields,
	}}
	return w.client.Status().Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(fieldManager), client.ForceOwnership)
}

// worsened is a condition that does not hold and did, or for another reason; nil if it is no news.
func worsened(were, are []metav1.Condition, kind string) *metav1.Condition {
	c, was := meta.FindStatusCondition(are, kind), meta.FindStatusCondition(were, kind)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason == v1alpha1.ConditionReasonWaiting {
		return nil
	}
	if was != nil && was.Status == c.Status && was.Reason == c.Reason && was.Message == c.Message {
		return nil
	}
	return c
}

func reference(kind, name string, object metav1.Object) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: v1alpha1.APIVersion, Kind: kind, Name: name, UID: object.GetUID()}
}
