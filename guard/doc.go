// Package guard makes what stands in front of the gate inside the API server, from the gate's own configuration and manifests: the identity rule that holds with
// every pod of the gate down (Backstop), and the form of webhook and policies that nobody can remove through the API (Static). It makes objects and files, and
// talks to nobody.
package guard
