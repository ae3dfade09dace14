// Package webhook is the edge towards the API server: AdmissionReview in, decision out.
package webhook
