package ui

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

// repository is how one trusted repository stands, with the commit that is the truth.
type repository struct {
	track.Status
	Revision *snapshot.Revision // nil: none yet
}

// State is one word, and the class of its colour.
func (r repository) State() string {
	switch {
	case r.Refused != nil:
		return "refused"
	case !r.Ready():
		return "waiting"
	case r.FetchError != "":
		return "unreachable"
	}
	return "current"
}

func (v *view) overview(w http.ResponseWriter, r *http.Request) {
	now := v.Now()
	truth := v.Truth()
	data := struct {
		Repositories []repository
		Objects      int
		Published    time.Time
		Ready        bool
		Scan         *scan.Result
		Scans        bool
		Coverage     []scan.Coverage
		Total        scan.Coverage
		States       []scan.State
		Grants       []breakglass.Standing
		Ending       []v1alpha1.Exemption
		Recent       []audit.Record
		LogError     string
	}{Ready: truth.Current != nil, Scans: v.Scan != nil, States: scan.States()}
	for _, s := range v.Repositories() {
		row := repository{Status: s}
		if truth.Current != nil {
			row.Revision = truth.Current.Revisions[s.Repository]
		}
		data.Repositories = append(data.Repositories, row)
	}
	if truth.Current != nil {
		data.Objects, data.Published = truth.Current.Len(), truth.Current.Published
	}
	if v.Scan != nil {
		if data.Scan = v.Scan(); data.Scan != nil {
			rows := data.Scan.Coverage(scan.ByNamespace)
			data.Coverage, data.Total = rows[:len(rows)-1], rows[len(rows)-1]
			slices.SortStableFunc(data.Coverage, func(a, b scan.Coverage) int { return cmp.Compare(a.Percent(), b.Percent()) })
		}
	}
	for _, g := range v.grants(now) {
		if g.State == breakglass.Active || g.State == breakglass.Pending {
			data.Grants = append(data.Grants, g)
		}
	}
	for _, e := range v.Gate().Spec.Exemptions {
		if e.EndsSoon(now, v1alpha1.ExemptionNotice) && !e.Ended(now) {
			data.Ending = append(data.Ending, e)
		}
	}
	// What controllers do all day would hide what people and agents did.
	busy := func(r *audit.Record) bool {
		return r.Actor.Role != "controller" || r.Decision == nil || r.Decision.Verdict != "allow"
	}
	list, err := v.read(r.Context(), wish{audit.Filter{Types: shownTypes}, busy}, 0, 15)
	if err != nil {
		v.Log.Error("the web view cannot read the audit log", "err", err)
		data.LogError = "The audit log cannot be read; the gate's log says why."
	}
	data.Recent = list.Records
	v.show(w, http.StatusOK, "overview", "Overview", data)
}

func (v *view) grants(now time.Time) []breakglass.Standing {
	if v.Grants == nil {
		return nil
	}
	return v.Grants(now)
}

// exceptions are the ways around Git: grants and exemptions.
func (v *view) exceptions(w http.ResponseWriter, _ *http.Request) {
	now := v.Now()
	type exemption struct {
		v1alpha1.Exemption
		Ended, Soon bool
	}
	data := struct {
		BreakGlass bool
		Grants     []breakglass.Standing
		Exemptions []exemption
	}{BreakGlass: v.Grants != nil, Grants: v.grants(now)}
	for _, e := range v.Gate().Spec.Exemptions {
		data.Exemptions = append(data.Exemptions, exemption{e, e.Ended(now), e.EndsSoon(now, v1alpha1.ExemptionNotice)})
	}
	v.show(w, http.StatusOK, "exceptions", "Exceptions", data)
}

// scanned is what the last scan found.
func (v *view) scanned(w http.ResponseWriter, r *http.Request) {
	data := struct {
		Scans             bool
		Result            *scan.Result
		Findings          []scan.Finding
		More              int
		Namespace, State  string
		Coverage, ByKinds []scan.Coverage
		States            []scan.State
	}{Scans: v.Scan != nil, Namespace: r.FormValue("namespace"), State: r.FormValue("state")}
	for _, s := range scan.States() {
		if s.Finding() {
			data.States = append(data.States, s)
		}
	}
	if v.Scan != nil {
		data.Result = v.Scan()
	}
	if data.Result != nil {
		data.Coverage, data.ByKinds = data.Result.Coverage(scan.ByNamespace), data.Result.Coverage(scan.ByKind)
		for _, f := range data.Result.Findings {
			if data.Namespace != "" && f.Namespace != data.Namespace || data.State != "" && string(f.State) != data.State {
				continue
			}
			if len(data.Findings) == pageSize {
				data.More++
				continue
			}
			data.Findings = append(data.Findings, f)
		}
		if data.Namespace == "" && data.State == "" {
			data.More += data.Result.Omitted
		}
	}
	v.show(w, http.StatusOK, "scan", "Scan", data)
}
