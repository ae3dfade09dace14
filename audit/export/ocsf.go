package export

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/commitgate/commitgate/audit"
)

// OCSFVersion is the version of the Open Cybersecurity Schema Framework whose classes OCSF writes.
const OCSFVersion = "1.8.0"

// OCSF is the decisions as API Activity events (class 6003, with the profile security_control), one JSON object per line;
// other records are left out. A webhook is not told where a request came from: src_endpoint, which the class requires,
// names the API server.
type OCSF struct{}

type ocsfEvent struct {
	ActivityID   int            `json:"activity_id"`
	CategoryUID  int            `json:"category_uid"`
	ClassUID     int            `json:"class_uid"`
	TypeUID      int            `json:"type_uid"`
	Time         int64          `json:"time"` // milliseconds
	SeverityID   int            `json:"severity_id"`
	StatusID     int            `json:"status_id"`
	StatusCode   string         `json:"status_code,omitempty"`
	StatusDetail string         `json:"status_detail,omitempty"`
	ActionID     int            `json:"action_id"`
	Disposition  int            `json:"disposition_id"`
	Message      string         `json:"message,omitempty"`
	Actor        any            `json:"actor"`
	API          any            `json:"api"`
	SrcEndpoint  any            `json:"src_endpoint"`
	Resources    []any          `json:"resources,omitempty"`
	Metadata     any            `json:"metadata"`
	Unmapped     map[string]any `json:"unmapped,omitempty"`
}

// Header implements Format.
func (OCSF) Header(io.Writer) error { return nil }

// Record implements Format.
func (OCSF) Record(out, _ []byte, r *audit.Record) ([]byte, error) {
	if r.Type != audit.TypeDecision || r.Decision == nil || r.Request == nil {
		return out, ErrLeftOut
	}
	d, q := r.Decision, r.Request
	activity := map[string]int{"CREATE": 1, "UPDATE": 3, "DELETE": 4}[q.Operation]
	if activity == 0 {
		activity = 99 // other: CONNECT
	}
	e := ocsfEvent{
		ActivityID: activity, CategoryUID: 6, ClassUID: 6003, TypeUID: 6003*100 + activity,
		Time: r.Time.UnixMilli(), SeverityID: 1, StatusID: 1, ActionID: 1, Disposition: 1, StatusDetail: d.Reason, Message: d.Message,
		Actor: map[string]any{"user": map[string]any{"name": actor(r).Username, "uid": actor(r).UID, "groups": groups(r)}},
		API: map[string]any{
			"operation": strings.ToLower(q.Operation), "version": q.Version,
			"request": map[string]any{"uid": q.UID},
			"group":   map[string]any{"name": q.Group},
		},
		SrcEndpoint: map[string]any{"name": "kube-apiserver"},
		Resources:   []any{map[string]any{"type": q.Kind, "name": q.Name, "namespace": q.Namespace, "uid": q.ObjectUID}},
		Metadata: map[string]any{
			"version": OCSFVersion, "uid": r.ID, "sequence": r.Seq, "log_name": writer(r).Log, "profiles": []string{"security_control"},
			"product": map[string]any{"name": "commitgate", "vendor_name": "commitgate", "version": writer(r).Version},
		},
		Unmapped: map[string]any{
			"commit": origin(r).Commit, "revision": origin(r).Revision, "repository": origin(r).Repository, "path": origin(r).Path,
			"signers": signers(r), "approvers": approvers(r), "tickets": change(r).Tickets, "verdict": d.Verdict, "mode": d.Mode,
		},
	}
	switch {
	case d.Outcome != "allow":
		e.SeverityID, e.StatusID, e.ActionID, e.Disposition = 3, 2, 2, 2
	case d.Verdict != "allow":
		e.SeverityID, e.ActionID, e.Disposition = 2, 3, 17 // observed, logged
	}
	b, err := json.Marshal(e)
	return append(append(out, b...), '\n'), err
}

func groups(r *audit.Record) []any {
	out := []any{}
	for _, g := range actor(r).Groups {
		out = append(out, map[string]any{"name": g})
	}
	return out
}

// Trailer implements Format. OCSF has no place for it: the last line is {"trailer":…}, as in JSONLines.
func (OCSF) Trailer(w io.Writer, t Trailer) error { return JSONLines{}.Trailer(w, t) }
