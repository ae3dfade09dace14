package export

import (
	"encoding/json"
	"io"
	"maps"
	"strings"

	"github.com/commitgate/commitgate/audit"
)

// OCSFVersion is the version of the Open Cybersecurity Schema Framework whose classes OCSF writes.
const OCSFVersion = "1.8.0"

// OCSF is the decisions as API Activity events (class 6003, with the profile security_control) and the findings as Detection Findings (class 2004), one
// JSON object per line; other records are left out. A webhook is not told where a request came from: src_endpoint, which API Activity
// requires, names the API server.
type OCSF struct{}

// The numbers that the schema gives to what is written here.
const (
	ocsfAPIActivity      = 6003
	ocsfDetectionFinding = 2004

	ocsfInformational, ocsfLow, ocsfMedium, ocsfHigh, ocsfCritical = 1, 2, 3, 4, 5 // severity_id
	ocsfSuccess, ocsfFailure                                       = 1, 2          // status_id of an activity
	ocsfNew                                                        = 1             // status_id of a finding
	ocsfAllowed, ocsfDenied, ocsfObserved                          = 1, 2, 3       // action_id
	ocsfRule                                                       = 1             // type_id of an analytic
	ocsfCreate, ocsfUpdate, ocsfDelete, ocsfOther                  = 1, 3, 4, 99   // activity_id
)

// disposition_id.
const ocsfDispAllowed, ocsfDispBlocked, ocsfDispLogged, ocsfDispError = 1, 2, 17, 27

// ocsfEvent is an event of either class: what one of them does not know stays empty.
type ocsfEvent struct {
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name,omitempty"` // with ocsfOther
	CategoryUID  int            `json:"category_uid"`
	ClassUID     int            `json:"class_uid"`
	TypeUID      int            `json:"type_uid"`
	Time         int64          `json:"time"` // milliseconds
	SeverityID   int            `json:"severity_id"`
	Severity     string         `json:"severity,omitempty"` // with ocsfOther
	StatusID     int            `json:"status_id"`
	StatusDetail string         `json:"status_detail,omitempty"`
	ActionID     int            `json:"action_id,omitempty"`
	Disposition  int            `json:"disposition_id,omitempty"`
	IsAlert      bool           `json:"is_alert,omitempty"`
	Message      string         `json:"message,omitempty"`
	Actor        *ocsfActor     `json:"actor,omitempty"`
	API          *ocsfAPI       `json:"api,omitempty"`
	SrcEndpoint  *ocsfNamed     `json:"src_endpoint,omitempty"`
	FindingInfo  *ocsfFinding   `json:"finding_info,omitempty"`
	Evidences    []ocsfEvidence `json:"evidences,omitempty"`
	Resources    []ocsfResource `json:"resources,omitempty"`
	Metadata     ocsfMetadata   `json:"metadata"`
	Unmapped     map[string]any `json:"unmapped,omitempty"`
}

type (
	ocsfNamed struct {
		Name string `json:"name,omitempty"`
		UID  string `json:"uid,omitempty"`
	}
	ocsfActor struct {
		User ocsfUser `json:"user"`
	}
	ocsfUser struct {
		Name   string      `json:"name"`
		UID    string      `json:"uid,omitempty"`
		Groups []ocsfNamed `json:"groups,omitempty"`
	}
	ocsfAPI struct {
		Operation string     `json:"operation"`
		Version   string     `json:"version,omitempty"`
		Group     *ocsfNamed `json:"group,omitempty"`
		Request   *ocsfNamed `json:"request,omitempty"`
	}
	ocsfResource struct {
		Type      string `json:"type,omitempty"`
		Name      string `json:"name,omitempty"`
		Namespace string `json:"namespace,omitempty"`
		UID       string `json:"uid,omitempty"`
	}
	ocsfFinding struct {
		UID         string       `json:"uid"`
		Title       string       `json:"title"`
		Desc        string       `json:"desc,omitempty"`
		Types       []string     `json:"types,omitempty"`
		CreatedTime int64        `json:"created_time"`
		Analytic    ocsfAnalytic `json:"analytic"`
		Related     []ocsfNamed  `json:"related_events,omitempty"`
	}
	ocsfAnalytic struct {
		Name   string `json:"name"`
		TypeID int    `json:"type_id"`
	}
	ocsfEvidence struct {
		Actor *ocsfActor `json:"actor,omitempty"`
		API   *ocsfAPI   `json:"api,omitempty"`
	}
	ocsfMetadata struct {
		Version  string      `json:"version"`
		UID      string      `json:"uid"`
		Sequence uint64      `json:"sequence"`
		LogName  string      `json:"log_name"`
		Profiles []string    `json:"profiles,omitempty"`
		Product  ocsfProduct `json:"product"`
	}
	ocsfProduct struct {
		Name       string `json:"name"`
		VendorName string `json:"vendor_name"`
		Version    string `json:"version,omitempty"`
	}
)

// Header implements Format.
func (OCSF) Header(io.Writer) error { return nil }

// Record implements Format.
func (OCSF) Record(out, _ []byte, r *audit.Record) ([]byte, error) {
	var e ocsfEvent
	switch {
	case r.Type == audit.TypeDecision && r.Decision != nil && r.Request != nil:
		e = ocsfDecision(r)
	case r.Type == audit.TypeFinding && r.Event != nil && r.Outcome != nil:
		e = ocsfDetection(r)
	default:
		return out, ErrLeftOut
	}
	e.TypeUID, e.CategoryUID = e.ClassUID*100+e.ActivityID, e.ClassUID/1000
	e.Time = r.Time.UnixMilli()
	e.Metadata.Version, e.Metadata.UID, e.Metadata.Sequence, e.Metadata.LogName = OCSFVersion, r.ID, r.Seq, writer(r).Log
	e.Metadata.Product = ocsfProduct{"commitgate", "commitgate", writer(r).Version}
	b, err := json.Marshal(e)
	return append(append(out, b...), '\n'), err
}

// ocsfDecision is a decision as API Activity.
func ocsfDecision(r *audit.Record) ocsfEvent {
	d, q := r.Decision, r.Request
	activity, known := map[string]int{"CREATE": ocsfCreate, "UPDATE": ocsfUpdate, "DELETE": ocsfDelete}[q.Operation]
	activityName := ""
	if !known {
		activity, activityName = ocsfOther, strings.ToLower(q.Operation) // connect
	}
	e := ocsfEvent{
		ActivityID: activity, ActivityName: activityName, ClassUID: ocsfAPIActivity, SeverityID: ocsfInformational, StatusID: ocsfSuccess, ActionID: ocsfAllowed, Disposition: ocsfDispAllowed,
		StatusDetail: d.Reason, Message: d.Message, Actor: ocsfActorOf(r),
		API:         &ocsfAPI{Operation: strings.ToLower(q.Operation), Version: q.Version, Group: ocsfName(q.Group), Request: &ocsfNamed{UID: q.UID}},
		SrcEndpoint: ocsfName("kube-apiserver"),
		Resources:   []ocsfResource{ocsfResourceOf(q)},
		Metadata:    ocsfMetadata{Profiles: []string{"security_control"}},
		Unmapped: filled(map[string]any{
			"commit": string(origin(r).Commit), "revision": string(origin(r).Revision), "repository": origin(r).Repository, "path": string(origin(r).Path),
			"signers": signers(r), "approvers": approvers(r), "tickets": change(r).Tickets, "verdict": d.Verdict, "mode": d.Mode,
		}),
	}
	switch {
	case d.Outcome == "error":
		e.SeverityID, e.StatusID, e.ActionID, e.Disposition = ocsfMedium, ocsfFailure, ocsfDenied, ocsfDispError
	case d.Outcome != "allow":
		e.SeverityID, e.StatusID, e.ActionID, e.Disposition = ocsfMedium, ocsfFailure, ocsfDenied, ocsfDispBlocked
	case d.Verdict != "allow":
		e.SeverityID, e.ActionID, e.Disposition = ocsfLow, ocsfObserved, ocsfDispLogged
	}
	return e
}

// ocsfDetection is a finding as Detection Finding. Its evidence is what the API server told.
func ocsfDetection(r *audit.Record) ocsfEvent {
	details, found := r.Event.Details, r.Time
	if r.Outcome.At != nil {
		found = *r.Outcome.At
	}
	severity, known := map[string]int{"critical": ocsfCritical, "high": ocsfHigh, "low": ocsfLow}[details["severity"]]
	label := ""
	if !known {
		severity, label = ocsfOther, details["severity"]
	}
	info := &ocsfFinding{
		UID: r.ID, Title: r.Outcome.State, Desc: r.Event.Message, Types: []string{r.Outcome.State}, CreatedTime: found.UnixMilli(),
		Analytic: ocsfAnalytic{"audit outcomes", ocsfRule},
	}
	for _, uid := range []string{r.Outcome.Of, r.Outcome.AuditID} {
		if uid != "" {
			info.Related = append(info.Related, ocsfNamed{UID: uid})
		}
	}
	e := ocsfEvent{
		ActivityID: ocsfCreate, ClassUID: ocsfDetectionFinding, SeverityID: severity, Severity: label, StatusID: ocsfNew, IsAlert: severity >= ocsfHigh && severity != ocsfOther,
		Message: r.Event.Message, FindingInfo: info,
	}
	if object := details["object"]; object != "" {
		e.Resources = []ocsfResource{{Name: object}}
	}
	if actor(r).Username != "" {
		evidence := ocsfEvidence{Actor: ocsfActorOf(r)}
		if verb := details["verb"]; verb != "" {
			evidence.API = &ocsfAPI{Operation: verb}
		}
		e.Evidences = []ocsfEvidence{evidence}
	}
	return e
}

func ocsfResourceOf(q *audit.Request) ocsfResource {
	res := ocsfResource{Type: q.Kind, Name: q.Name, Namespace: q.Namespace, UID: q.ObjectUID}
	if res.Name == "" && res.UID == "" {
		res.Name = "*" // the API server makes the name, or all of the kind are meant
	}
	return res
}

func ocsfActorOf(r *audit.Record) *ocsfActor {
	u := ocsfUser{Name: actor(r).Username, UID: actor(r).UID}
	for _, g := range actor(r).Groups {
		u.Groups = append(u.Groups, ocsfNamed{Name: g})
	}
	return &ocsfActor{u}
}

// ocsfName is an object with a name, or none.
func ocsfName(name string) *ocsfNamed {
	if name == "" {
		return nil
	}
	return &ocsfNamed{Name: name}
}

// filled leaves out what is empty.
func filled(m map[string]any) map[string]any {
	maps.DeleteFunc(m, func(_ string, v any) bool {
		list, isList := v.([]string)
		return v == "" || isList && len(list) == 0
	})
	return m
}

// Trailer implements Format. OCSF has no place for it: the last line is {"trailer":…}, as in JSONLines.
func (OCSF) Trailer(w io.Writer, t Trailer) error { return JSONLines{}.Trailer(w, t) }
