package ui

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/snapshot"
)

// objectLink is the page about an object, declared or not.
func objectLink(group, kind, namespace, name string) string {
	q := url.Values{"kind": {kind}, "name": {name}}
	if group != "" {
		q.Set("group", group)
	}
	if namespace != "" {
		q.Set("namespace", namespace)
	}
	return "/object?" + q.Encode()
}

// objects lists what Git declares.
func (v *view) objects(w http.ResponseWriter, r *http.Request) {
	data := struct {
		Ready            bool
		Find, Namespace  string
		Entries          []*snapshot.Entry
		Total, Found     int
		Namespaces       []string
		UnfollowedPlaces []string
	}{Find: strings.TrimSpace(r.FormValue("find")), Namespace: strings.TrimSpace(r.FormValue("namespace"))}
	current := v.Truth().Current
	if current == nil {
		v.show(w, http.StatusOK, "objects", "Objects", data)
		return
	}
	data.Ready, data.Total = true, current.Len()
	find := strings.ToLower(data.Find)
	namespaces := map[string]bool{}
	for e := range current.All() {
		if !namespaces[e.Namespace] && e.Namespace != "" {
			namespaces[e.Namespace] = true
			data.Namespaces = append(data.Namespaces, e.Namespace)
		}
		if data.Namespace != "" && e.Namespace != data.Namespace {
			continue
		}
		if find != "" && !strings.Contains(strings.ToLower(e.Kind+"/"+e.Name), find) && !strings.Contains(strings.ToLower(string(e.Source.Path)), find) {
			continue
		}
		data.Entries = append(data.Entries, e)
	}
	slices.Sort(data.Namespaces)
	slices.SortFunc(data.Entries, func(a, b *snapshot.Entry) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name), strings.Compare(a.Group, b.Group))
	})
	data.Found = len(data.Entries)
	data.Entries = data.Entries[:min(len(data.Entries), 5*pageSize)]
	for _, s := range v.Repositories() {
		data.UnfollowedPlaces = append(data.UnfollowedPlaces, s.Unfollowed...)
	}
	v.show(w, http.StatusOK, "objects", "Objects", data)
}

// object is where one object comes from, and what was asked about it lately.
func (v *view) object(w http.ResponseWriter, r *http.Request) {
	k := manifest.Key{Group: r.FormValue("group"), Kind: r.FormValue("kind"), Namespace: r.FormValue("namespace"), Name: r.FormValue("name")}
	if k.Kind == "" || k.Name == "" {
		v.problem(w, http.StatusNotFound, "An object is asked for by kind and name.")
		return
	}
	data := struct {
		manifest.Key
		Entry    *snapshot.Entry
		Revision *snapshot.Revision
		Finding  *scan.Finding
		Scan     *scan.Result
		Changes  page
		LogError string
	}{Key: k}
	truth := v.Truth()
	if truth.Current != nil {
		if data.Entry = truth.Current.Lookup(k); data.Entry != nil {
			data.Revision = truth.RevisionOf(data.Entry)
		}
	}
	if v.Scan != nil {
		if data.Scan = v.Scan(); data.Scan != nil {
			if i := slices.IndexFunc(data.Scan.Findings, func(f scan.Finding) bool { return f.Key == k }); i >= 0 {
				data.Finding = &data.Scan.Findings[i]
			}
		}
	}
	kind := k.Kind
	if k.Group != "" {
		kind += "." + k.Group
	}
	changes, err := v.read(r.Context(), wish{Filter: audit.Filter{Types: []audit.Type{audit.TypeDecision}, Namespace: k.Namespace, Kind: kind, Name: k.Name}}, 0, 50)
	if err != nil {
		v.Log.Error("the web view cannot read the audit log", "err", err)
		data.LogError = "The audit log cannot be read; the gate's log says why."
	}
	data.Changes = changes
	v.show(w, http.StatusOK, "object", k.String(), data)
}
