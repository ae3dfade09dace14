// Package audit is the memory of the gate: it writes one record per decision before the decision leaves the
// process, and reads, checks and recovers what it wrote.
//
// The write-ahead log is the only truth; everything else is derived from it. Object bodies are never stored.
// It trusts the disk to keep what fdatasync acknowledged, and nothing else: whoever can write to the log's directory can
// at most destroy it, or replace its unsealed tail; what is sealed (package audit/seal) cannot change unnoticed.
package audit

import (
	"slices"
	"time"

	"github.com/commitgate/commitgate/git"
)

// Schema is the version of the records that this package writes.
const Schema = 1

// Record is one entry of the log. Every string in it is bounded by the writer; no field ever holds an object body.
// The stored form is canonical JSON (RFC 8785), one line; field names are append-only.
type Record struct {
	Schema int       `json:"schema"` // 1
	Seq    uint64    `json:"seq"`    // contiguous, from 1, over the life of one writer's log
	ID     string    `json:"id"`     // ULID
	Prev   string    `json:"prev"`   // the sum of the line before: the previous record, or the header of the segment
	Sum    string    `json:"sum"`    // SHA-256, hexadecimal, of this line without its sum member
	Time   time.Time `json:"time"`   // UTC, when the record was put in order
	// Monotonic is nanoseconds on the clock that no one sets, since the boot that writer.boot names.
	Monotonic int64 `json:"monotonic"`
	Type      Type  `json:"type"` // what the record tells; the other members depend on it
	// Truncated: some text, list or map was longer than a record may hold and ends in a mark that says by how much.
	Truncated bool       `json:"truncated,omitempty"`
	Writer    *Writer    `json:"writer,omitempty"`    // the process that wrote it
	Request   *Request   `json:"request,omitempty"`   // what was asked
	Actor     *Actor     `json:"actor,omitempty"`     // who asked
	Decision  *Decision  `json:"decision,omitempty"`  // the verdict
	Origin    *Origin    `json:"origin,omitempty"`    // the commit that says so
	Policy    *Policy    `json:"policy,omitempty"`    // the policies that decided
	Change    *Change    `json:"change,omitempty"`    // how the change came to the protected branch
	Emergency *Emergency `json:"emergency,omitempty"` // the break-glass grant under which it was made
	Outcome   *Outcome   `json:"outcome,omitempty"`   // what became of a decision
	Event     *Event     `json:"event,omitempty"`     // what a lifecycle record or a finding tells
}

// Type is what kind of thing a record tells.
type Type string

// The types of record.
const (
	TypeDecision   Type = "decision"            // a request was judged
	TypeSuperseded Type = "decision.superseded" // the decision that event.details.record names was not answered: the caller was refused
	TypeStart      Type = "gate.start"          // the process began to write
	TypeStop       Type = "gate.stop"           // the process ended in good order
	TypeHeartbeat  Type = "heartbeat"           // nothing else was written for a while; the writer lives
	TypePublished  Type = "revision.published"  // a revision became the truth
	TypeRefused    Type = "revision.refused"    // a fetched commit was not accepted; the previous truth stays
	TypePolicies   Type = "policy.activated"    // other policies judge from now on, or none
	TypeSigners    Type = "signers.changed"     // a commit brought another signer list, or the configuration another trust
	TypeGrant      Type = "grant.opened"        // a break-glass grant became active
	TypeGrantEnd   Type = "grant.closed"        // a grant ended, was revoked or used up
	TypeOutcome    Type = "outcome"             // what became of a decision, from the API server's audit stream
	TypeFinding    Type = "finding"             // a change without a decision, or another gap
	TypeRecovered  Type = "log.recovered"       // a torn tail was cut at start; nothing acknowledged was lost
	TypeShard      Type = "log.shard"           // a new shard began
	TypePruned     Type = "log.pruned"          // a shard was removed under the stated retention
	TypeConfigured Type = "gate.configured"     // another configuration is gone by from now on
	TypeClock      Type = "clock.stepped"       // the wall clock jumped against the monotonic one
)

// DetailConfiguration is the detail of a TypeStart or TypeConfigured record that holds the digest of the gate's configuration.
const DetailConfiguration = "configuration"

// Exhibits are the digests of the documents by which what the record tells was judged: signer lists, trust, policies, configuration.
func (r *Record) Exhibits() []string {
	var all []string
	if o := r.Origin; o != nil {
		all = append(append(all, o.SignerList, o.NextSignerList, o.Trust), o.MergedSignerLists...)
	}
	if r.Policy != nil {
		all = append(all, r.Policy.Digest)
	}
	if (r.Type == TypeStart || r.Type == TypeConfigured) && r.Event != nil {
		all = append(all, r.Event.Details[DetailConfiguration])
	}
	return slices.DeleteFunc(all, func(digest string) bool { return digest == "" })
}

// Writer is the process that wrote a record. The log fills it from its Config.
type Writer struct {
	Log     string `json:"log"`               // origin of the log, as in its checkpoints: gate.example/cluster/pod
	Shard   string `json:"shard"`             // period of the log: 2026-Q4
	Name    string `json:"name"`              // pod name or host name
	Version string `json:"version,omitempty"` // of commitgate
	Boot    string `json:"boot,omitempty"`    // the kernel's boot id
}

// Request is what was asked, without bodies.
type Request struct {
	UID         string `json:"uid"`                   // of the AdmissionReview; the API server makes one per call
	Operation   string `json:"operation"`             // CREATE, UPDATE, DELETE or CONNECT
	Group       string `json:"group"`                 // of the API
	Version     string `json:"version"`               // of the API
	Kind        string `json:"kind"`                  // of the object
	Resource    string `json:"resource"`              // plural, lower case
	Subresource string `json:"subresource,omitempty"` // status, scale, exec …
	Namespace   string `json:"namespace,omitempty"`   // empty for what has none
	Name        string `json:"name"`                  // empty where the API server makes one
	ObjectUID   string `json:"objectUID,omitempty"`   // of the object in the cluster
	// OldResourceVersion is that of the object before the change.
	OldResourceVersion string `json:"oldResourceVersion,omitempty"`
	// ObjectDigest is a keyed digest (Digester) of the object after the change.
	ObjectDigest string `json:"objectDigest,omitempty"`
	OldDigest    string `json:"oldDigest,omitempty"` // of the object before, likewise
}

// Actor is who asked.
type Actor struct {
	Username string   `json:"username"`         // as the API server authenticated it
	UID      string   `json:"uid,omitempty"`    // of the user
	Groups   []string `json:"groups,omitempty"` // of the user
	Role     string   `json:"role"`             // agent, controller, exempt, grant, gate, other
	// ExtraDigest is a keyed digest of the extra claims of the credential, as a JSON object.
	ExtraDigest string `json:"extraDigest,omitempty"`
	// Impersonated: the request lacks the marks that the real identity's requests carry.
	Impersonated bool `json:"impersonated,omitempty"`
}

// Decision is the verdict.
type Decision struct {
	Outcome string   `json:"outcome"`           // allow, deny, retry, error: what was answered
	Verdict string   `json:"verdict"`           // what an enforcing gate answers: differs from outcome in modes Warn and Audit
	Mode    string   `json:"mode"`              // Enforce, Warn or Audit
	Reason  string   `json:"reason"`            // the stable word of docs/reasons.md
	Message string   `json:"message,omitempty"` // what the caller was told
	Code    int      `json:"code,omitempty"`    // HTTP status of a refusal
	Fields  []string `json:"fields,omitempty"`  // paths only: those that had no reason
	Noop    bool     `json:"noop,omitempty"`    // nothing was changed by it
	// Unverified: some value is encrypted in Git and was explained by its shape only.
	Unverified bool `json:"unverified,omitempty"`
	// Decrypted: some value is encrypted in Git and was compared with what Git's decrypts to.
	Decrypted bool  `json:"decrypted,omitempty"`
	Micros    int64 `json:"micros"` // microseconds from the review to the decision
	// Exemption names the exemption by which the request passed.
	Exemption  string      `json:"exemption,omitempty"`
	Violations []Violation `json:"violations,omitempty"` // what policies said
}

// Violation is what one policy said.
type Violation struct {
	Policy string `json:"policy"`         // name of the policy
	Rule   string `json:"rule,omitempty"` // of the policy
	// Message is left out for kinds that hold secrets; MessageDigest (keyed) stands for it then.
	Message       string   `json:"message,omitempty"`
	MessageDigest string   `json:"messageDigest,omitempty"` // keyed, of the message that was left out
	Controls      []string `json:"controls,omitempty"`      // as the policy names them: CC8.1, CM-3
}

// Origin ties a change to Git.
type Origin struct {
	Repository string   `json:"repository"`          // name of the trusted repository
	Branch     string   `json:"branch"`              // the protected branch
	Revision   git.ID   `json:"revision"`            // the verified revision that was the truth
	Commit     git.ID   `json:"commit,omitempty"`    // the commit that last changed the object
	Tree       git.ID   `json:"tree,omitempty"`      // of the revision
	Path       git.Path `json:"path,omitempty"`      // of the manifest in the repository
	Base       *Base    `json:"base,omitempty"`      // where the manifest stands, if the one at path takes it from another repository
	Author     string   `json:"author,omitempty"`    // as the commit says; proves nothing
	Committer  string   `json:"committer,omitempty"` // as the commit says; proves nothing
	// CommitTime is as the commit says; proves nothing.
	CommitTime *time.Time `json:"commitTime,omitempty"`
	Signers    []Signer   `json:"signers,omitempty"` // whose signatures on the commit were accepted
	// SignerList is the digest of the signer list by which the commit was judged: that of its first parent, or else the configuration's trust.
	SignerList string `json:"signerList,omitempty"`
	// MergedSignerLists are the digests of the signer lists of a merge's other parents, where they differ: the commit was judged by all of them.
	MergedSignerLists []string `json:"mergedSignerLists,omitempty"`
	// NextSignerList is the digest of the signer list by which the commits after it are judged.
	NextSignerList string `json:"nextSignerList,omitempty"`
	// Trust is the digest of what the configuration says of signers and rules.
	Trust string `json:"trust,omitempty"`
	// ManifestDigest is a keyed digest of the object as Git declares it.
	ManifestDigest string `json:"manifestDigest,omitempty"`
}

// Base is a manifest that a kustomization takes from another trusted repository.
type Base struct {
	Repository string   `json:"repository"` // name of the trusted repository
	Commit     git.ID   `json:"commit"`     // that the kustomization names, of the repository's verified line
	Path       git.Path `json:"path"`       // in that repository
}

// Signer is one accepted signature.
type Signer struct {
	Principal string `json:"principal"`     // the person or machine, as the signer list names it
	Kind      string `json:"kind"`          // of the signature: OpenPGP, SSH, X509, Gitsign; Anchor: the trust anchor itself
	Key       string `json:"key,omitempty"` // fingerprint
}

// Policy is the set of policies in force, so that the decision can be made again.
type Policy struct {
	Repository string `json:"repository,omitempty"` // where the policies come from
	Commit     git.ID `json:"commit,omitempty"`     // the verified commit of the policies
	Digest     string `json:"digest,omitempty"`     // of the text that lists their files, rules and data, with sums
	Engine     string `json:"engine,omitempty"`     // name and version
	// Time is what the policies took for now; nil if they were not asked.
	Time *time.Time `json:"time,omitempty"`
	// Referential: the verdict depended on objects of the cluster, too.
	Referential bool `json:"referential,omitempty"`
}

// Change is how the change came to the protected branch, as far as evidence was found.
type Change struct {
	Approvers      []Approver `json:"approvers,omitempty"`      // people other than the author who let it in
	Tickets        []string   `json:"tickets,omitempty"`        // from the commit's trailers
	EvidenceSource string     `json:"evidenceSource,omitempty"` // signatures: those of the commit
}

// Approver is a person other than the author who let the change in.
type Approver struct {
	ID string `json:"id"` // who
}

// Emergency is the break-glass grant under which a change was made.
type Emergency struct {
	Grant    string     `json:"grant"`              // name of the grant
	OpenedBy []string   `json:"openedBy,omitempty"` // who signed it
	Reason   string     `json:"reason,omitempty"`   // why
	Ticket   string     `json:"ticket,omitempty"`   // where it is discussed
	Expires  *time.Time `json:"expires,omitempty"`  // when the grant ends
}

// Outcome is what became of a decision.
type Outcome struct {
	Of              string     `json:"of,omitempty"`              // id of the decision's record
	State           string     `json:"state"`                     // persisted, rejected, refused, unpersisted; of a finding, its kind
	ResourceVersion string     `json:"resourceVersion,omitempty"` // of the object after the change
	At              *time.Time `json:"at,omitempty"`              // when the API server answered
	Via             string     `json:"via,omitempty"`             // audit-webhook, audit-file, watchdog
	AuditID         string     `json:"auditID,omitempty"`         // of the API server's event; the client may choose it
	Code            int        `json:"code,omitempty"`            // what the API server answered
}

// Event is what a lifecycle record tells.
type Event struct {
	Message string            `json:"message"`           // one sentence
	Details map[string]string `json:"details,omitempty"` // by name
}
