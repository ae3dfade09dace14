package webhook

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/snapshot"
)

// writeAnswer sends a decision. Whatever the decision is, the HTTP status is 200 and the verdict stands inside the response, so that it
// holds even where somebody set failurePolicy Ignore.
func writeAnswer(w http.ResponseWriter, r *admit.Request, d admit.Decision, record string, truth *snapshot.Truth) {
	response := &admissionv1.AdmissionResponse{
		UID:              types.UID(r.UID),
		Allowed:          d.Outcome == admit.Allow,
		Warnings:         d.Warnings,
		AuditAnnotations: annotations(d, record, truth),
	}
	if !response.Allowed {
		response.Result = status(d)
	}
	w.Header().Set("Content-Type", "application/json")
	// An answer that cannot be written reaches nobody; the API server then applies its failurePolicy.
	_ = json.NewEncoder(w).Encode(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Response: response,
	})
}

func status(d admit.Decision) *metav1.Status {
	s := &metav1.Status{Status: metav1.StatusFailure, Code: int32(d.Outcome.Code()), Message: d.Message}
	switch d.Outcome {
	case admit.Retry:
		s.Reason = metav1.StatusReasonTooManyRequests
		s.Details = &metav1.StatusDetails{RetryAfterSeconds: int32(math.Ceil(d.RetryAfter.Seconds()))}
	case admit.Error:
		s.Reason = metav1.StatusReasonInternalError
	default:
		s.Reason = metav1.StatusReasonForbidden
	}
	return s
}

// annotations go into the API server's own audit log, as WEBHOOK-NAME/KEY: the independent copy of what our record says.
func annotations(d admit.Decision, record string, truth *snapshot.Truth) map[string]string {
	a := map[string]string{"reason": string(d.Reason), "verdict": d.Verdict.String(), "mode": string(d.Mode)}
	set := func(key, value string) {
		if value != "" {
			a[key] = value
		}
	}
	set("record", record)
	set("rule", d.Rule)
	if e := d.Entry; e != nil {
		set("path", string(e.Source.Path))
		if d.Revision != nil {
			set("repository", d.Revision.Repository)
			set("revision", string(d.Revision.Commit.ID))
		}
		if e.Changed != nil {
			set("commit", string(e.Changed.ID))
		}
		set("signer", signers(d))
	}
	return a
}

// signers are the principals behind the commit that last changed the object, once each.
func signers(d admit.Decision) string {
	var names []string
	for _, s := range d.Entry.Signatures {
		if s.Principal != "" && !slices.Contains(names, string(s.Principal)) {
			names = append(names, string(s.Principal))
		}
	}
	return strings.Join(names, ", ")
}
