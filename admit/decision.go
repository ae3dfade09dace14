package admit

import (
	"fmt"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/snapshot"
)

// Outcome is the kind of an answer. The zero value is a denial.
type Outcome int

// The outcomes. Only Allow lets a request pass.
const (
	Deny  Outcome = iota // we looked; the answer is no
	Retry                // we cannot know yet
	Error                // something of ours broke
	Allow
)

func (o Outcome) String() string {
	switch o {
	case Allow:
		return "allow"
	case Retry:
		return "retry"
	case Error:
		return "error"
	}
	return "deny"
}

// Code is the HTTP status of the answer. A denial is 403 and nothing else: 409, 422 make Flux and kubectl
// delete and re-create the object.
func (o Outcome) Code() int {
	switch o {
	case Allow:
		return 200
	case Retry:
		return 429
	case Error:
		return 500
	}
	return 403
}

// Decision is the answer to one request and everything that a record of it needs.
type Decision struct {
	// Outcome is what is answered, Verdict what an enforcing gate answers: they differ in the modes Warn and Audit.
	Outcome, Verdict Outcome
	Mode             v1alpha1.Mode
	Reason           v1alpha1.Reason
	// Message is at most three lines: what happened, where the truth is, what to do next. "" for an allow.
	Message  string
	Warnings []string

	// Role is in what quality the user asked: agent, controller, exempt, gate, other.
	Role Role
	// Agent is the name of the sync agent, if the user is one.
	Agent string
	// Rule names the row of a table, the exemption or the grant that decided; "" if none did.
	Rule string
	// Grant is the break-glass grant that let the request pass, nil if none did. Whoever answers counts its use before.
	Grant *breakglass.Grant
	// Entry is the declared object that the request was judged against, nil if there is none.
	Entry *snapshot.Entry
	// Revision is the verified revision that Entry was found in: the truth that was looked at.
	Revision *snapshot.Revision
	// Policy is what the policies said, nil if none was asked.
	Policy *policy.Result
	// Fields are the paths that had no reason, or are declared and missing.
	Fields []string
	// Noop: the write changes nothing.
	Noop bool
	// Unverified: some value is encrypted in Git and was explained by its shape only.
	Unverified bool
	// Decrypted: some value is encrypted in Git and is what Git's decrypts to.
	Decrypted bool
	// Ahead: a newer revision could change this refusal. Whoever can fetch should, once, and decide again.
	Ahead bool
	// Mutable is the declared object whose dry-run could explain the refused fields; nil if none is configured. Whoever can ask the cluster
	// should, once, and decide again.
	Mutable *snapshot.Entry
	// RetryAfter goes with the outcome Retry.
	RetryAfter time.Duration
}

// retryAfter is how long a client waits before it asks again: long enough for a fetch, short enough for a person.
const retryAfter = 2 * time.Second

func allow(reason v1alpha1.Reason) *Decision {
	return &Decision{Outcome: Allow, Reason: reason}
}

func deny(reason v1alpha1.Reason, format string, args ...any) *Decision {
	return &Decision{Outcome: Deny, Reason: reason, Message: string(reason) + ": " + fmt.Sprintf(format, args...)}
}

func retry(reason v1alpha1.Reason, format string, args ...any) *Decision {
	return &Decision{Outcome: Retry, Reason: reason, Message: string(reason) + ": " + fmt.Sprintf(format, args...), RetryAfter: retryAfter}
}

// Failure is the decision for something of ours that broke: never an allow, in any mode.
func Failure(reason v1alpha1.Reason, format string, args ...any) Decision {
	return Decision{Outcome: Error, Verdict: Error, Reason: reason, Message: string(reason) + ": " + fmt.Sprintf(format, args...)}
}

// NotYet is the decision for what cannot be known yet: never an allow, in any mode.
func NotYet(reason v1alpha1.Reason, format string, args ...any) Decision {
	d := retry(reason, format, args...)
	d.Verdict = Retry
	return *d
}
