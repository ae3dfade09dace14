package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Recorded is what a record keeps of a verdict: enough to tell whether it is the same when it is given again.
type Recorded struct {
	Digest   string // of the Set
	Engine   string
	Findings []RecordedFinding
}

// RecordedFinding is a finding as a record keeps it. Msg is "" where the message may quote a secret.
type RecordedFinding struct{ Policy, ID, Msg string }

// Recorded is the result as a record keeps it.
func (r Result) Recorded() Recorded {
	out := Recorded{Digest: r.Digest, Engine: r.Engine}
	for _, f := range slices.Concat(r.Denials, r.Warnings, r.Dryruns) {
		out.Findings = append(out.Findings, RecordedFinding{f.Policy, f.ID, f.Msg})
	}
	return out
}

// Differences compares a record with the same decision made again: the same policies and the same input give the same findings, in
// the same order. Without differences the record is confirmed.
func (r Recorded) Differences(again Recorded) []string {
	var out []string
	differ := func(what string, then, now any) {
		out = append(out, fmt.Sprintf("%s: recorded %v, now %v", what, then, now))
	}
	if again.Digest != r.Digest {
		differ("policies", r.Digest, again.Digest)
	}
	if again.Engine != r.Engine {
		differ("engine", r.Engine, again.Engine)
	}
	if !slices.EqualFunc(r.Findings, again.Findings, func(then, now RecordedFinding) bool {
		return then.Policy == now.Policy && then.ID == now.ID && (then.Msg == "" || then.Msg == now.Msg)
	}) {
		differ("findings", findingIDs(r.Findings), findingIDs(again.Findings))
	}
	return out
}

func findingIDs(fs []RecordedFinding) string {
	if len(fs) == 0 {
		return "none"
	}
	ids := make([]string, len(fs))
	for i, f := range fs {
		ids[i] = strings.TrimSuffix(f.ID+": "+f.Msg, ": ")
	}
	return strings.Join(ids, "; ")
}
