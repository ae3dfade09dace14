package export

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/commitgate/commitgate/audit"
)

// column is one column of the population table.
type column struct {
	name  string
	value func(*audit.Record) string
}

// columns of the population: what auditors sample from. The order is stable; new ones come at the end.
var columns = []column{
	{"log", func(r *audit.Record) string { return writer(r).Log }},
	{"seq", func(r *audit.Record) string { return strconv.FormatUint(r.Seq, 10) }},
	{"record", func(r *audit.Record) string { return r.ID }},
	{"time", func(r *audit.Record) string { return r.Time.Format(time.RFC3339Nano) }},
	{"type", func(r *audit.Record) string { return string(r.Type) }},
	{"outcome", func(r *audit.Record) string { return decision(r).Outcome }},
	{"verdict", func(r *audit.Record) string { return decision(r).Verdict }},
	{"mode", func(r *audit.Record) string { return decision(r).Mode }},
	{"reason", func(r *audit.Record) string { return decision(r).Reason }},
	{"noop", func(r *audit.Record) string { return yes(decision(r).Noop) }},
	{"operation", func(r *audit.Record) string { return request(r).Operation }},
	{"kind", func(r *audit.Record) string { return strings.TrimSuffix(request(r).Kind+"."+request(r).Group, ".") }},
	{"subresource", func(r *audit.Record) string { return request(r).Subresource }},
	{"namespace", func(r *audit.Record) string { return request(r).Namespace }},
	{"name", func(r *audit.Record) string { return request(r).Name }},
	{"user", func(r *audit.Record) string { return actor(r).Username }},
	{"role", func(r *audit.Record) string { return actor(r).Role }},
	{"repository", func(r *audit.Record) string { return origin(r).Repository }},
	{"branch", func(r *audit.Record) string { return origin(r).Branch }},
	{"revision", func(r *audit.Record) string { return string(origin(r).Revision) }},
	{"commit", func(r *audit.Record) string { return string(origin(r).Commit) }},
	{"path", func(r *audit.Record) string { return string(origin(r).Path) }},
	{"author", func(r *audit.Record) string { return origin(r).Author }},
	{"committer", func(r *audit.Record) string { return origin(r).Committer }},
	{"commit_time", func(r *audit.Record) string { return date(origin(r).CommitTime) }},
	{"signers", func(r *audit.Record) string { return strings.Join(signers(r), "; ") }},
	{"approvers", func(r *audit.Record) string { return strings.Join(approvers(r), "; ") }},
	{"tickets", func(r *audit.Record) string { return strings.Join(change(r).Tickets, "; ") }},
	{"signer_list", func(r *audit.Record) string { return origin(r).SignerList }},
	{"grant", func(r *audit.Record) string { return emergency(r).Grant }},
	{"exemption", func(r *audit.Record) string { return decision(r).Exemption }},
	{"became_of", func(r *audit.Record) string { return became(r).Of }},
	{"became", func(r *audit.Record) string { return became(r).State }},
	{"event", func(r *audit.Record) string { return event(r).Message }},
	{"controls", func(r *audit.Record) string { return strings.Join(r.Controls(), "; ") }},
	{"policies", func(r *audit.Record) string { return string(policy(r).Commit) }},
}

// The parts of a record, or empty ones.
func writer(r *audit.Record) audit.Writer       { return value(r.Writer) }
func request(r *audit.Record) audit.Request     { return value(r.Request) }
func actor(r *audit.Record) audit.Actor         { return value(r.Actor) }
func decision(r *audit.Record) audit.Decision   { return value(r.Decision) }
func origin(r *audit.Record) audit.Origin       { return value(r.Origin) }
func change(r *audit.Record) audit.Change       { return value(r.Change) }
func emergency(r *audit.Record) audit.Emergency { return value(r.Emergency) }
func became(r *audit.Record) audit.Outcome      { return value(r.Outcome) }
func event(r *audit.Record) audit.Event         { return value(r.Event) }
func policy(r *audit.Record) audit.Policy       { return value(r.Policy) }

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func date(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func signers(r *audit.Record) []string {
	var out []string
	for _, s := range origin(r).Signers {
		out = append(out, s.Principal)
	}
	return out
}

func approvers(r *audit.Record) []string {
	var out []string
	for _, a := range change(r).Approvers {
		out = append(out, a.ID)
	}
	return out
}

// CSV is the population as a table (RFC 4180). The last row begins with "#trailer" and holds the Trailer as JSON.
type CSV struct{}

// Header implements Format.
func (CSV) Header(w io.Writer) error {
	var row []byte
	for i, c := range columns {
		if i > 0 {
			row = append(row, ',')
		}
		row = append(row, c.name...)
	}
	_, err := w.Write(append(row, '\r', '\n'))
	return err
}

// Record implements Format.
func (CSV) Record(out, _ []byte, r *audit.Record) ([]byte, error) {
	for i, c := range columns {
		if i > 0 {
			out = append(out, ',')
		}
		out = cell(out, c.value(r))
	}
	return append(out, '\r', '\n'), nil
}

// cell writes one value, quoted where it must be. What a spreadsheet would run as a formula gets an apostrophe before it:
// a commit's author chooses their own name.
func cell(out []byte, s string) []byte {
	if s == "" {
		return out
	}
	if strings.IndexByte("=+-@\t\r", s[0]) >= 0 {
		s = "'" + s
	}
	if !mustBeQuoted(s) {
		return append(out, s...)
	}
	out = append(out, '"')
	out = append(out, strings.ReplaceAll(s, `"`, `""`)...)
	return append(out, '"')
}

// mustBeQuoted tells whether RFC 4180 wants quotes around s.
func mustBeQuoted(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == '"' || c == ',' || c == '\r' || c == '\n' {
			return true
		}
	}
	return false
}

// Trailer implements Format.
func (CSV) Trailer(w io.Writer, t Trailer) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, err = w.Write(append(cell([]byte("#trailer,"), string(b)), '\r', '\n'))
	return err
}
