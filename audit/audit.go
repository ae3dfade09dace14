// Package audit is the memory of the gate: it writes one record per decision before the decision leaves the
// process, seals them, verifies them, queries and exports them.
//
// The write-ahead log is the only truth; everything else is derived from it. Object bodies are never stored.
package audit

import (
	"time"

	"github.com/commitgate/commitgate/git"
)

// Record is one entry of the log. Every string in it is bounded by the writer; no field ever holds an object body.
// The stored form is canonical JSON (RFC 8785); field names are append-only.
type Record struct {
	Schema int       `json:"schema"` // 1
	Seq    uint64    `json:"seq"`    // contiguous, from 1
	ID     string    `json:"id"`     // ULID
	Prev   string    `json:"prev"`   // SHA-256 of the previous record's line, hexadecimal; of the segment header for the first
	Time   time.Time `json:"time"`
	Type   Type      `json:"type"`

	Request  *Request  `json:"request,omitempty"`
	Actor    *Actor    `json:"actor,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
	Origin   *Origin   `json:"origin,omitempty"`
	Event    *Event    `json:"event,omitempty"`
}

// Type is what kind of thing a record tells.
type Type string

// The types of record.
const (
	TypeDecision  Type = "decision"           // a request was judged
	TypeStart     Type = "gate.start"         // the process began to write
	TypeStop      Type = "gate.stop"          // the process ended in good order
	TypePublished Type = "revision.published" // a revision became the truth
	TypeRefused   Type = "revision.refused"   // a fetched commit was not accepted; the previous truth stays
	TypeRecovered Type = "log.recovered"      // a torn tail was cut at start; nothing acknowledged was lost
)

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
}

// Actor is who asked.
type Actor struct {
	Username string   `json:"username"`
	Groups   []string `json:"groups,omitempty"`
	Role     string   `json:"role"` // agent, controller, exempt, grant, gate, other
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
}

// Origin ties a change to Git.
type Origin struct {
	Repository string   `json:"repository"`
	Branch     string   `json:"branch"`
	Revision   git.ID   `json:"revision"`         // the verified revision that was the truth
	Commit     git.ID   `json:"commit,omitempty"` // the commit that last changed the object
	Path       git.Path `json:"path,omitempty"`
	Author     string   `json:"author,omitempty"` // as the commit says; proves nothing
	Signers    []Signer `json:"signers,omitempty"`
}

// Signer is one accepted signature.
type Signer struct {
	Principal string `json:"principal"`
	Kind      string `json:"kind"`
	Key       string `json:"key,omitempty"`
}

// Event is what a lifecycle record tells.
type Event struct {
	Message string            `json:"message"`
	Details map[string]string `json:"details,omitempty"`
}
