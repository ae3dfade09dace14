// Package admit decides: one table of steps, read from top to bottom. It is pure: no network, no clock but the
// one it is handed, no Kubernetes client.
package admit
