package v1alpha1

// Reason is a stable word for why a request was allowed or refused. The list is append-only.
type Reason string
