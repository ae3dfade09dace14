package audit

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/git"
)

// Between narrows segments to those that can hold records from from to to (zero: no bound). It reads their headers only.
func Between(segments []Segment, from, to time.Time) ([]Segment, error) {
	begins := make([]time.Time, len(segments))
	for i, s := range segments {
		h, err := readHeader(s.Path)
		if err != nil {
			return nil, err
		}
		begins[i] = h.Time
	}
	var out []Segment
	for i, s := range segments {
		if !to.IsZero() && begins[i].After(to) {
			continue
		}
		if !from.IsZero() && i+1 < len(segments) && begins[i+1].Before(from) {
			continue
		}
		out = append(out, s)
	}
	return out, nil
}

// RecordsAfter reads the records of the segments as Records does, but for those up to and including seq.
func RecordsAfter(segments []Segment, seq uint64) iter.Seq2[Line, error] {
	for len(segments) > 1 && segments[1].First <= seq+1 {
		segments = segments[1:]
	}
	if len(segments) == 0 || segments[0].First > seq {
		return Records(segments)
	}
	return func(yield func(Line, error) bool) {
		skipping := true
		for line, err := range Records(segments) {
			if skipping && err == nil {
				var f Frame
				if f, err = ParseFrame(line.Text); err == nil && f.Seq <= seq {
					continue
				}
				skipping = false
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// Merge reads the records of several logs by time, each log in its own order.
func Merge(logs ...iter.Seq2[Line, error]) iter.Seq2[Line, error] {
	if len(logs) == 1 {
		return logs[0]
	}
	return func(yield func(Line, error) bool) {
		type source struct {
			next func() (Line, error, bool)
			line Line
			at   time.Time
			done bool
		}
		sources := make([]*source, len(logs))
		advance := func(s *source) error {
			line, err, ok := s.next()
			if !ok || err != nil {
				s.done = true
				return err
			}
			f, err := ParseFrame(line.Text)
			s.line, s.at = line, f.Time
			return err
		}
		for i, log := range logs {
			next, stop := iter.Pull2(log)
			defer stop()
			sources[i] = &source{next: next}
			if err := advance(sources[i]); err != nil {
				yield(sources[i].line, err)
				return
			}
		}
		for {
			var first *source
			for _, s := range sources {
				if !s.done && (first == nil || s.at.Before(first.at)) {
					first = s
				}
			}
			if first == nil || !yield(first.line, nil) {
				return
			}
			if err := advance(first); err != nil {
				yield(first.line, err)
				return
			}
		}
	}
}

// Filter says which records are wanted. Empty fields want all; all fields that are set must hold.
type Filter struct {
	From, To  time.Time // From included, To not
	Namespace string
	Kind      string // Deployment, or Deployment.apps
	Name      string
	Commit    string // a prefix, of the commit that last changed the object or of the revision
	Path      string // of the manifest, or of a folder above it
	Person    string // user who asked, or author, signer or approver of the commit; part of the name, whatever its case
	Outcome   string // allow, deny, retry, error
	Reason    string
	Control   string // a control that the record is evidence for, as in controls.go: CC8.1
	Types     []Type
}

// All tells whether every record is wanted.
func (f *Filter) All() bool {
	return f.From.IsZero() && f.To.IsZero() && len(f.Types) == 0 && f.Namespace == "" && f.Kind == "" && f.Name == "" && f.Commit == "" &&
		f.Path == "" && f.Person == "" && f.Outcome == "" && f.Reason == "" && f.Control == ""
}

// MayMatch tells, without decoding it, whether the record of a line can be wanted: false is certain.
func (f *Filter) MayMatch(line []byte) bool {
	for _, v := range []string{f.Namespace, f.Name, f.Reason} {
		if v != "" && plainWord(v) && !bytes.Contains(line, []byte(`"`+v+`"`)) {
			return false
		}
	}
	return f.Commit == "" || !plainWord(f.Commit) || bytes.Contains(line, []byte(`"`+f.Commit))
}

// plainWord tells whether JSON writes s as it is.
func plainWord(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c > '~' || strings.ContainsRune("\"\\<>&/", c) }) < 0
}

// Matches tells whether r is wanted.
func (f *Filter) Matches(r *Record) bool {
	if !f.From.IsZero() && r.Time.Before(f.From) || !f.To.IsZero() && !r.Time.Before(f.To) {
		return false
	}
	if len(f.Types) > 0 && !slices.Contains(f.Types, r.Type) {
		return false
	}
	return f.matchesRequest(r.Request) && f.matchesDecision(r.Decision) && f.matchesOrigin(r.Origin) &&
		(f.Person == "" || f.matchesPerson(r)) && (f.Control == "" || slices.Contains(r.Controls(), f.Control))
}

func (f *Filter) matchesRequest(q *Request) bool {
	if f.Namespace == "" && f.Kind == "" && f.Name == "" {
		return true
	}
	return q != nil && (f.Namespace == "" || f.Namespace == q.Namespace) && (f.Name == "" || f.Name == q.Name) &&
		(f.Kind == "" || strings.EqualFold(f.Kind, q.Kind) || strings.EqualFold(f.Kind, q.Kind+"."+q.Group))
}

func (f *Filter) matchesDecision(d *Decision) bool {
	if f.Outcome == "" && f.Reason == "" {
		return true
	}
	return d != nil && (f.Outcome == "" || f.Outcome == d.Outcome) && (f.Reason == "" || f.Reason == d.Reason)
}

func (f *Filter) matchesOrigin(o *Origin) bool {
	if f.Commit == "" && f.Path == "" {
		return true
	}
	return o != nil && (f.Commit == "" || strings.HasPrefix(string(o.Commit), f.Commit) || strings.HasPrefix(string(o.Revision), f.Commit)) &&
		(f.Path == "" || git.Path(f.Path).Contains(o.Path))
}

func (f *Filter) matchesPerson(r *Record) bool {
	want := strings.ToLower(f.Person)
	is := func(s string) bool { return strings.Contains(strings.ToLower(s), want) }
	if r.Actor != nil && is(r.Actor.Username) {
		return true
	}
	if o := r.Origin; o != nil {
		if is(o.Author) || is(o.Committer) || slices.ContainsFunc(o.Signers, func(s Signer) bool { return is(s.Principal) }) {
			return true
		}
	}
	return r.Change != nil && slices.ContainsFunc(r.Change.Approvers, func(a Approver) bool { return is(a.ID) })
}
