// Package audit is the memory of the gate: it writes one record per decision before the decision leaves the
// process, and reads, checks and recovers what it wrote.
//
// The write-ahead log is the only truth; everything else is derived from it. Object bodies are never stored.
// It trusts the disk to keep what fdatasync acknowledged, and nothing else: whoever can write to the log's directory can
// at most destroy it, or replace its unsealed tail; what is sealed (package audit/seal) cannot change unnoticed.
package audit

import (
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
	Type      Type  `json:"type"`
	// Truncated: some text, list or map was longer than a record may hold and ends in a mark that says by how much.
	Truncated bool    `json:"truncated,omitempty"`
	Writer    *Writer `json:"writer,omitempty"`

	Request   *Request   `json:"request,omitempty"`
	Actor     *Actor     `json:"actor,omitempty"`
	Decision  *Decision  `json:"decision,omitempty"`
	Origin    *Origin    `json:"origin,omitempty"`
	Policy    *Policy    `json:"policy,omitempty"`
	Change    *Change    `json:"change,omitempty"`
	Emergency *Emergency `json:"emergency,omitempty"`
	Outcome   *Outcome   `json:"outcome,omitempty"`
	Event     *Event     `json:"event,omitempty"`
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
	TypePolicies   Type = "policy.activated"    // another set of policies decides from here on
	TypeSigners    Type = "signers.changed"     // other signers are trusted from here on
	TypeGrant      Type = "grant.opened"        // a break-glass grant became active
	TypeGrantUsed  Type = "grant.used"          // a request passed by a grant
	TypeGrantEnd   Type = "grant.closed"        // a grant ended, was revoked or used up
	TypeExemption  Type = "exemption.used"      // a request passed by an exemption
	TypeOutcome    Type = "outcome"             // what became of a decision, from the API server's audit stream
	TypeFinding    Type = "finding"             // a change without a decision, or another gap
	TypeRecovered  Type = "log.recovered"       // a torn tail was cut at start; nothing acknowledged was lost
	TypeShard      Type = "log.shard"           // a new shard began
	TypePruned     Type = "log.pruned"          // a shard was removed under the stated retention
	TypeClock      Type = "clock.stepped"       // the wall clock jumped against the monotonic one
	TypeExport     Type = "export.created"      // somebody took a copy
)

// Writer is the process that wrote a record. The log fills it from its Config.
type Writer struct {
	Log     string `json:"log"`               // origin of the log, as in its checkpoints: gate.example/cluster/pod
	Shard   string `json:"shard"`             // period of the log: 2026-Q4
	Name    string `json:"name"`              // pod name or host name
	UID     string `json:"uid,omitempty"`     // of the pod
	Version string `json:"version,omitempty"` // of commitgate
	Image   string `json:"image,omitempty"`   // digest of the image
	Boot    string `json:"boot,omitempty"`    // the kernel's boot id
}

// Request is what was asked, without bodies.
type Request struct {
	UID         string `json:"uid"`
	Operation   string `json:"operation"`
	Group       string `json:"group"`
	Version     string `json:"version"`
	Kind        string `json:"kind"`
	Resource    string `json:"resource"`
	Subresource string `json:"subresource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name"`
	ObjectUID   string `json:"objectUID,omitempty"`
	// OldResourceVersion is that of the object before the change.
	OldResourceVersion string `json:"oldResourceVersion,omitempty"`
	// ObjectDigest and OldDigest are keyed digests (Digester) of the object after and before.
	ObjectDigest string `json:"objectDigest,omitempty"`
	OldDigest    string `json:"oldDigest,omitempty"`
}

// Actor is who asked.
type Actor struct {
	Username string   `json:"username"`
	UID      string   `json:"uid,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	Role     string   `json:"role"` // agent, controller, exempt, grant, gate, other
	// ExtraDigest is a keyed digest of the extra claims of the token.
	ExtraDigest string `json:"extraDigest,omitempty"`
	// Impersonated: the request lacks the marks that the real identity's requests carry.
	Impersonated bool `json:"impersonated,omitempty"`
}

// Decision is the verdict.
type Decision struct {
	Outcome string   `json:"outcome"` // allow, deny, retry, error: what was answered
	Verdict string   `json:"verdict"` // what an enforcing gate answers: differs from outcome in modes Warn and Audit
	Mode    string   `json:"mode"`
	Reason  string   `json:"reason"`
	Message string   `json:"message,omitempty"`
	Code    int      `json:"code,omitempty"`
	Fields  []string `json:"fields,omitempty"` // paths only: those that had no reason
	Noop    bool     `json:"noop,omitempty"`
	// Unverified: some value is encrypted in Git and was explained by its shape only.
	Unverified bool  `json:"unverified,omitempty"`
	Micros     int64 `json:"micros"`
	// Exemption names the exemption by which the request passed.
	Exemption  string      `json:"exemption,omitempty"`
	Violations []Violation `json:"violations,omitempty"`
}

// Violation is what one policy said.
type Violation struct {
	Policy string `json:"policy"`
	Rule   string `json:"rule,omitempty"`
	// Message is left out for kinds that hold secrets; MessageDigest (keyed) stands for it then.
	Message       string   `json:"message,omitempty"`
	MessageDigest string   `json:"messageDigest,omitempty"`
	Controls      []string `json:"controls,omitempty"` // as the policy names them: CC8.1, CM-3
}

// Origin ties a change to Git.
type Origin struct {
	Repository string   `json:"repository"`
	Branch     string   `json:"branch"`
	Revision   git.ID   `json:"revision"`         // the verified revision that was the truth
	Commit     git.ID   `json:"commit,omitempty"` // the commit that last changed the object
	Tree       git.ID   `json:"tree,omitempty"`   // of the revision
	Path       git.Path `json:"path,omitempty"`
	Author     string   `json:"author,omitempty"`    // as the commit says; proves nothing
	Committer  string   `json:"committer,omitempty"` // as the commit says; proves nothing
	// CommitTime is as the commit says; proves nothing.
	CommitTime *time.Time `json:"commitTime,omitempty"`
	Signers    []Signer   `json:"signers,omitempty"`
	// ManifestDigest is a keyed digest of the declared object.
	ManifestDigest string `json:"manifestDigest,omitempty"`
}

// Signer is one accepted signature.
type Signer struct {
	Principal string `json:"principal"`
	Kind      string `json:"kind"`
	Key       string `json:"key,omitempty"`
	Issuer    string `json:"issuer,omitempty"` // who vouched for the identity, of keyless signatures
}

// Policy is the set of policies that decided, so that the decision can be made again.
type Policy struct {
	Repository   string `json:"repository,omitempty"`
	Commit       git.ID `json:"commit,omitempty"`
	Digest       string `json:"digest,omitempty"`       // of the modules
	DataDigest   string `json:"dataDigest,omitempty"`   // of the data documents
	ConfigDigest string `json:"configDigest,omitempty"` // of the gate's configuration
	Engine       string `json:"engine,omitempty"`       // name and version
	// Time is what the policies took for now.
	Time *time.Time `json:"time,omitempty"`
	// Referential: the verdict depended on objects of the cluster, too.
	Referential bool `json:"referential,omitempty"`
}

// Change is how the change came to the protected branch, as far as evidence was found.
type Change struct {
	URL              string     `json:"url,omitempty"`
	Number           int        `json:"number,omitempty"`
	Approvers        []Approver `json:"approvers,omitempty"`
	AuthorIsApprover bool       `json:"authorIsApprover,omitempty"`
	RequiredReviews  int        `json:"requiredReviews,omitempty"`
	Checks           []Check    `json:"checks,omitempty"`
	Tickets          []string   `json:"tickets,omitempty"` // from the commit's trailers
	EvidenceDigest   string     `json:"evidenceDigest,omitempty"`
	EvidenceSource   string     `json:"evidenceSource,omitempty"` // signatures, or the forge that was asked
}

// Approver is a person other than the author who let the change in.
type Approver struct {
	ID string     `json:"id"`
	At *time.Time `json:"at,omitempty"`
}

// Check is a test that ran on the change.
type Check struct {
	Name       string `json:"name"`
	Conclusion string `json:"conclusion"`
	URL        string `json:"url,omitempty"`
}

// Emergency is the break-glass grant under which a change was made.
type Emergency struct {
	Grant      string     `json:"grant"`
	OpenedBy   []string   `json:"openedBy,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	Ticket     string     `json:"ticket,omitempty"`
	Expires    *time.Time `json:"expires,omitempty"`
	ReviewDue  *time.Time `json:"reviewDue,omitempty"`
	ReviewedBy string     `json:"reviewedBy,omitempty"`
}

// Outcome is what became of a decision.
type Outcome struct {
	Of              string     `json:"of,omitempty"` // id of the decision's record
	State           string     `json:"state"`        // persisted, rejected, unpersisted, undecided, failed-open
	ResourceVersion string     `json:"resourceVersion,omitempty"`
	At              *time.Time `json:"at,omitempty"`
	Via             string     `json:"via,omitempty"` // audit-webhook, audit-file
	AuditID         string     `json:"auditID,omitempty"`
	Code            int        `json:"code,omitempty"` // what the API server answered
}

// Event is what a lifecycle record tells.
type Event struct {
	Message string            `json:"message"`
	Details map[string]string `json:"details,omitempty"`
}
