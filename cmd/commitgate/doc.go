/*
Commitgate is one binary: the gate (`serve`) and the tools around it. Called kubectl-commitgate it is a kubectl plugin.

# A tour of the code, from the bottom up

Dependencies run one way: words, facts, truth, verdict, memory, edges, programs. A test (test/imports_test.go) holds that, and
that each heavy dependency has one door.

# Words

Package [github.com/commitgate/commitgate/git] holds the values of Git: ids, paths, commits, signature envelopes. It parses bytes and does no
I/O. Package [github.com/commitgate/commitgate/api/v1alpha1] holds the words that users write: the kinds Gate and TrustedRepository, and
the reasons that every denial, record and metric speaks in. Package [github.com/commitgate/commitgate/agent] knows the sync agents: what
Flux, Argo CD and the others add to an object, and how they apply and delete it.

Package [github.com/commitgate/commitgate/trace] is the one door to OpenTelemetry, off by default. Package
[github.com/commitgate/commitgate/compact] keeps what declared objects say in little memory.

# Facts

Package [github.com/commitgate/commitgate/signing] answers who signed a commit, and whether that was enough here. Only it can make a
signing.Verified, and everything that is believed is loaded from one. Package [github.com/commitgate/commitgate/mirror] brings commits here and
trusts nothing; its wire speaks Git's protocol, its objects reads Git's files, and its githubapp gets tokens for a GitHub App. Package [github.com/commitgate/commitgate/sops] opens files that SOPS encrypted, with keys that are at hand.
Package [github.com/commitgate/commitgate/manifest] turns a verified tree into declared objects, hermetically; package
[github.com/commitgate/commitgate/worker] does in a child process what of that could run away.
Package [github.com/commitgate/commitgate/account] is the heart: it gives every leaf field of a change exactly one reason, with the code that the API
server itself runs for defaults. Package [github.com/commitgate/commitgate/policy] evaluates the Rego of the same verified tree.

# Truth

Package [github.com/commitgate/commitgate/snapshot] is what is believed at one moment, and never changes. Package
[github.com/commitgate/commitgate/track] is the loop from a push to the next snapshot (fetch, verify, render, compile, publish) and the
only writer. Package [github.com/commitgate/commitgate/live] remembers the little that must be known of live objects: who owns whom.

# Verdict

Package [github.com/commitgate/commitgate/breakglass] judges grants: signed, counted permissions to change something without Git.
Package [github.com/commitgate/commitgate/admit] decides. Read its steps from top to bottom: that is the way of one request. It is pure; what
it cannot know it says, and whoever can fetch does.

# Memory

Package [github.com/commitgate/commitgate/audit] writes one record per decision before the decision leaves, and lets others verify them. What
records name by digest, signer lists and policies, is kept by audit/exhibit. audit/seal signs the log's Merkle tree and has the other replicas cosign it,
audit/outcome joins the API server's own audit stream, audit/ship copies the log elsewhere; audit/export, audit/report, audit/evidence and audit/attest make
what an auditor is given.

# Edges

Package [github.com/commitgate/commitgate/webhook] is the way of an AdmissionReview through the process. Package
[github.com/commitgate/commitgate/authority] issues the certificates by which the API server knows it, and lets them rotate. Package
[github.com/commitgate/commitgate/watch] keeps package live true to the cluster. Package [github.com/commitgate/commitgate/hook] takes the
push hooks of Git hosts, as hints. Package [github.com/commitgate/commitgate/dryrun] asks the
cluster what its own admission adds to a declared object. Package [github.com/commitgate/commitgate/replay] judges recorded reviews
offline, with the same code. Package [github.com/commitgate/commitgate/controller] shows in the cluster what the gate knows: status and
Events. Package [github.com/commitgate/commitgate/scan] compares what is live with what Git declares: it finds what no
webhook was asked about. Package [github.com/commitgate/commitgate/watchdog] guards the gate's own webhook configuration and policies, and
package [github.com/commitgate/commitgate/guard] makes those that hold without the gate;
package [github.com/commitgate/commitgate/status] is what a gate says of itself, and package
[github.com/commitgate/commitgate/doctor] examines an installation from outside. Package [github.com/commitgate/commitgate/lease] lets one replica of several do what only one should. Package
[github.com/commitgate/commitgate/blame] traces each field of a live object to the commit that put it there. Package
[github.com/commitgate/commitgate/ui] shows people all of this, read-only, in a browser. Package
[github.com/commitgate/commitgate/check] says before a push what the gate would make of it, and package
[github.com/commitgate/commitgate/verify] who signed a branch, and whether that was enough.

# Programs

This package wires: each command is one file, and main.go holds what they share. Under test stand the programs that play the rest of the
world: test/cluster starts a real control plane, test/forge is a real Git host with people who sign, test/demo plays the story of the README.
test/syncagent plays the sync agents, made small; test/agents runs Flux (source-, kustomize- and helm-controller), Argo CD and Fleet themselves.
test/recorder writes down what they ask an API server, and has it judged.
*/
package main
