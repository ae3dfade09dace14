package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Recorded is what a record keeps of a verdict: enough to tell whether it is the same when it is given again.
type Recorded struct {
	Digest  string // of the Set
	Engine  string
	Allowed bool
	// Findings are the denials, warnings and dry-runs, as "policy rule-id message"; without the message where it may quote a secret.
	Findings []string
	// Referential: the verdict depended on the cluster's state of that moment, too.
	Referential bool
}

// Recorded is the result as a record keeps it.
func (r Result) Recorded() Recorded {
	out := Recorded{Digest: r.Digest, Engine: r.Engine, Allowed: r.Allowed(), Referential: r.Referential}
	for _, f := range slices.Concat(r.Denials, r.Warnings, r.Dryruns) {
		out.Findings = append(out.Findings, FindingText(f.Policy, f.ID, f.Msg))
	}
	return out
}

// FindingText names a finding as in Recorded.
func FindingText(policy, id, msg string) string {
	return strings.TrimRight(strings.Join([]string{policy, id, msg}, " "), " ")
}

// Replay decides an input again and compares with what was recorded. Without differences the record is confirmed; otherwise they say in what
// the two differ: policies, engine, verdict, findings. The input must be the recorded one: the review, and the origin and time of the
// record.
func (s *Set) Replay(ctx context.Context, in Input, recorded Recorded) (Result, []string, error) {
	result, err := s.Decide(ctx, in)
	if err != nil {
		return result, nil, err
	}
	now := result.Recorded()
	var differences []string
	differ := func(what string, then, now any) {
		differences = append(differences, fmt.Sprintf("%s: recorded %v, now %v", what, then, now))
	}
	if now.Digest != recorded.Digest {
		differ("policies", recorded.Digest, now.Digest)
	}
	if now.Engine != recorded.Engine {
		differ("engine", recorded.Engine, now.Engine)
	}
	if now.Allowed != recorded.Allowed {
		differ("verdict", word(recorded.Allowed), word(now.Allowed))
	}
	for _, f := range recorded.Findings {
		if !slices.ContainsFunc(now.Findings, func(n string) bool { return n == f || strings.HasPrefix(n, f+" ") }) {
			differ("findings", quoted(f), "none such")
		}
	}
	if len(now.Findings) != len(recorded.Findings) {
		differ("findings", len(recorded.Findings), len(now.Findings))
	}
	return result, differences, nil
}

func word(allowed bool) string {
	if allowed {
		return "allowed"
	}
	return "denied"
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }
