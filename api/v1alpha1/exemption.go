package v1alpha1

import (
	"fmt"
	"time"
)

// ExemptionNotice is how long before its end an exemption warns: two working weeks, enough to renew it by a reviewed change.
const ExemptionNotice = 14 * 24 * time.Hour

// Ended tells whether an exemption is over.
func (e *Exemption) Ended(now time.Time) bool { return e.Expires != nil && !now.Before(e.Expires.Time) }

// EndsSoon tells whether an exemption that is not over ends within a time.
func (e *Exemption) EndsSoon(now time.Time, within time.Duration) bool {
	return e.Expires != nil && !e.Ended(now) && !now.Add(within).Before(e.Expires.Time)
}

// ExemptionSummary is the gate's exemptions in a line, as its status shows them, those that have ended apart: "3, next ends 2026-12-01; 1 ended".
func (s *GateSpec) ExemptionSummary(now time.Time) string {
	var next time.Time
	ended := 0
	for i := range s.Exemptions {
		switch e := &s.Exemptions[i]; {
		case e.Ended(now):
			ended++
		case e.Expires != nil && (next.IsZero() || e.Expires.Time.Before(next)):
			next = e.Expires.Time
		}
	}
	line := fmt.Sprint(len(s.Exemptions) - ended)
	if !next.IsZero() {
		line += ", next ends " + next.UTC().Format(time.DateOnly)
	}
	if ended > 0 {
		line += fmt.Sprintf("; %d ended", ended)
	}
	return line
}
