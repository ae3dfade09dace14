package webhook

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/commitgate/commitgate/admit"
)

// answer is an AdmissionReview (admission.k8s.io/v1) on its way back: what of it this webhook says.
type answer struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Response   response `json:"response"`
}

type response struct {
	UID         string      `json:"uid"` // of the request
	Allowed     bool        `json:"allowed"`
	Status      *status     `json:"status,omitempty"` // of a refusal
	Annotations annotations `json:"auditAnnotations"`
	Warnings    []string    `json:"warnings,omitempty"`
}

// status is a Status (meta/v1).
type status struct {
	Status  string              `json:"status"`
	Message string              `json:"message"`
	Reason  metav1.StatusReason `json:"reason"`
	Details *details            `json:"details,omitempty"`
	Code    int                 `json:"code"` // HTTP status
}

type details struct {
	RetryAfterSeconds int `json:"retryAfterSeconds"`
}

// annotations go into the API server's own audit log, as WEBHOOK-NAME/KEY: the independent copy of what our record says.
type annotations struct {
	Record     string `json:"record,omitempty"`
	Reason     string `json:"reason"`
	Verdict    string `json:"verdict"`
	Mode       string `json:"mode"`
	Rule       string `json:"rule,omitempty"`
	Path       string `json:"path,omitempty"`
	Repository string `json:"repository,omitempty"`
	Revision   string `json:"revision,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Signer     string `json:"signer,omitempty"`
}

// writeAnswer sends a decision. Whatever the decision is, the HTTP status is 200 and the verdict stands inside the response, so that it
// holds even where somebody set failurePolicy Ignore.
func writeAnswer(w http.ResponseWriter, r *admit.Request, d admit.Decision, record string) {
	a := answer{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview", Response: response{
		UID: r.UID, Allowed: d.Outcome == admit.Allow, Annotations: annotationsOf(d, record), Warnings: d.Warnings,
	}}
	if !a.Response.Allowed {
		a.Response.Status = statusOf(d)
	}
	w.Header().Set("Content-Type", "application/json")
	// An answer that cannot be written reaches nobody; the API server then applies its failurePolicy.
	_ = json.NewEncoder(w).Encode(&a)
}

func statusOf(d admit.Decision) *status {
	s := &status{Status: metav1.StatusFailure, Code: d.Outcome.Code(), Message: d.Message}
	switch d.Outcome {
	case admit.Retry:
		s.Reason = metav1.StatusReasonTooManyRequests
		s.Details = &details{RetryAfterSeconds: int(math.Ceil(d.RetryAfter.Seconds()))}
	case admit.Error:
		s.Reason = metav1.StatusReasonInternalError
	default:
		s.Reason = metav1.StatusReasonForbidden
	}
	return s
}

func annotationsOf(d admit.Decision, record string) annotations {
	a := annotations{Record: record, Reason: string(d.Reason), Verdict: d.Verdict.String(), Mode: string(d.Mode), Rule: d.Rule}
	if e := d.Entry; e != nil {
		a.Path = string(e.Source.Path)
		if d.Revision != nil {
			a.Repository, a.Revision = d.Revision.Repository, string(d.Revision.Commit.ID)
		}
		if e.Changed != nil {
			a.Commit = string(e.Changed.ID)
		}
		a.Signer = signers(d)
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
