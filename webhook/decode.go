package webhook

import (
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"

	"github.com/commitgate/commitgate/admit"
)

// Decode reads an AdmissionReview (admission.k8s.io/v1) as JSON. Field names are case-sensitive and integers stay integers, as in the
// API server itself.
func Decode(data []byte) (*admit.Request, error) {
	var review struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Request    *admit.Request `json:"request"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &review); err != nil {
		return nil, errors.New("not JSON of an AdmissionReview") // the decoder's message may quote the object
	}
	if review.Kind != "AdmissionReview" || review.APIVersion != "admission.k8s.io/v1" {
		return nil, fmt.Errorf("want an AdmissionReview of admission.k8s.io/v1, have kind %.40q of %.40q", review.Kind, review.APIVersion)
	}
	if review.Request == nil {
		return nil, errors.New("the review has no request")
	}
	if review.Request.UID == "" {
		return nil, errors.New("the request has no uid")
	}
	return review.Request, nil
}
