package main

import (
	"cmp"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/status"
)

// self is what the gate says of itself on the probe address. lastSeen tells when an agent was last judged.
type self struct {
	g        *gate
	lastSeen func(agent string) time.Time
	started  time.Time
	replica  string
}

func (g *gate) newSelf(lastSeen func(string) time.Time) (*self, error) {
	replica, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return &self{g: g, lastSeen: lastSeen, started: time.Now(), replica: replica}, nil
}

// report is how the gate stands now.
func (s *self) report() *status.Report {
	g, now, cfg := s.g, time.Now(), s.g.now().cfg
	spec := &cfg.Gate.Spec
	r := &status.Report{
		Replica: s.replica, Version: version(), Started: s.started.UTC(), Now: now.UTC(), Ready: true,
		Name: cfg.Gate.Name, Cluster: spec.Cluster, Mode: spec.Mode, Scope: spec.Scope,
		Agents: []status.Agent{}, Repositories: s.repositories(), Grants: []status.Grant{},
		Exemptions: len(spec.Exemptions), Ending: []status.Exemption{}, Audit: s.audit(), Certificates: s.certificates(), Serving: s.serving(), Needs: g.needs(),
	}
	if why := g.invalid.Load(); why != nil {
		r.Invalid = *why
	}
	for _, c := range g.checks(g.now().tracker) {
		missing := c.Missing()
		r.Ready = r.Ready && missing == ""
		r.Checks = append(r.Checks, status.Check{Name: c.Name, Missing: missing})
	}
	for _, a := range spec.Agents {
		r.Agents = append(r.Agents, status.Agent{Name: a.Name, Preset: a.Preset, Users: a.Users, Seen: moment(s.lastSeen(a.Name))})
	}
	if current := g.tracker.Truth().Current; current != nil {
		r.Objects, r.Unlisted = current.Len(), current.Rendered.UnlistedUsers()
	}
	for _, t := range g.tracker.Status() {
		r.Unfollowed += len(t.Unfollowed)
	}
	for _, x := range g.grants.keeper.store.Set().Standings(now) {
		r.Grants = append(r.Grants, status.Grant{Name: x.Name, State: string(x.State), Expires: x.Spec.Until.UTC(), Uses: x.Uses})
	}
	for i := range spec.Exemptions {
		if e := &spec.Exemptions[i]; e.Ended(now) || e.EndsSoon(now, v1alpha1.ExemptionNotice) {
			r.Ending = append(r.Ending, status.Exemption{Name: e.Name, Expires: e.Expires.UTC(), Ended: e.Ended(now)})
		}
	}
	if g.scan != nil {
		r.Scan = lastScan(g.scan.Last())
	}
	if g.watchdog != nil {
		r.Registration = g.watchdog.Status()
	}
	return r
}

func (s *self) repositories() []status.Repository {
	out := []status.Repository{}
	current := s.g.tracker.Truth().Current
	for _, t := range s.g.tracker.Status() {
		row := status.Repository{Name: t.Repository, Branch: t.Branch, Signers: []string{}, Head: t.Head, Heard: moment(t.Heard), FetchError: t.FetchError}
		interval := cmp.Or(s.interval(t.Repository), v1alpha1.DefaultInterval)
		row.IntervalSeconds = int64(interval.Seconds())
		if t.Refused != nil {
			row.Refused = fmt.Sprintf("%s, %s: %s", t.Refused.Commit.Short(), t.Refused.Stage, t.Refused.Why)
		}
		if current != nil && current.Revisions[t.Repository] != nil {
			revision := current.Revisions[t.Repository]
			row.Commit, row.Committed = revision.Commit.ID, moment(revision.Commit.Committer.When)
			for _, signature := range revision.Signatures {
				row.Signers = append(row.Signers, string(signature.Principal))
			}
		}
		out = append(out, row)
	}
	return out
}

// interval is the configured one of a repository, 0 if it has none.
func (s *self) interval(repository string) time.Duration {
	for _, r := range s.g.now().cfg.Repositories {
		if r.Name == repository {
			return r.Spec.Interval.Duration
		}
	}
	return 0
}

func (s *self) audit() status.Audit {
	h := s.g.audit.Health()
	a := status.Audit{
		Log: s.g.sealing.origin, Records: h.Seq, Written: moment(h.LastWrite), FreeBytes: h.FreeBytes, TotalBytes: h.TotalBytes, LowSpace: h.LowSpace,
	}
	if latest := s.g.sealing.sealer.Latest(); latest != nil {
		a.Sealed = latest.Size
	}
	if h.Err != nil {
		a.Error = h.Err.Error()
	}
	return a
}

func (s *self) certificates() []status.Certificate {
	out := []status.Certificate{}
	ends := s.g.certs.ends()
	for _, name := range slices.Sorted(maps.Keys(ends)) {
		if !ends[name].IsZero() { // of which the doctor tells: it compares both
			out = append(out, status.Certificate{Name: name, Ends: ends[name].UTC()})
		}
	}
	return out
}

// serving is the certificate that the API server is shown, in PEM.
func (s *self) serving() string {
	leaf, err := s.g.certs.config.GetCertificate(nil)
	if err != nil {
		return ""
	}
	var out strings.Builder
	for _, der := range leaf.Certificate {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out.String()
}

// lastScan is what a scan found, nil if there was none.
func lastScan(r *scan.Result) *status.Scan {
	if r == nil {
		return nil
	}
	out := &status.Scan{Ended: r.Ended.UTC(), States: map[string]int{}, Unread: len(r.Unread)}
	for _, state := range scan.States() {
		out.States[string(state)] = r.Count(state)
	}
	return out
}

// moment is nil for a time that never was.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
