// Package policy evaluates Rego that lives in the same verified history as the manifests. It is the one door to OPA.
package policy
