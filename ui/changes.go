package ui

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/commitgate/commitgate/audit"
)

const (
	// pageSize is how many rows one page shows.
	pageSize = 100
	// maxSegments bounds what one page reads of the log: the newest of these files, some hundred thousand records.
	maxSegments = 4
)

// shownTypes are the records that people look for. Heartbeats and the like say that the log is whole, which `audit verify` proves.
var shownTypes = []audit.Type{
	audit.TypeDecision, audit.TypeStart, audit.TypeStop, audit.TypePublished, audit.TypeRefused, audit.TypeGrant, audit.TypeGrantEnd,
	audit.TypeFinding, audit.TypeRecovered, audit.TypePruned, audit.TypeClock,
}

// wish says which records are wanted: those of the filter, and of the requests among them those whose role pleases (nil: all).
type wish struct {
	audit.Filter
	role func(r *audit.Record) bool
}

// page is some records, newest first.
type page struct {
	Records []audit.Record
	// Before is the sequence number below which to go on; 0: there is no more.
	Before uint64
	// Cut: the search ended at its bound, not at the beginning of the log.
	Cut bool
}

// read finds the newest records that are wanted, below a sequence number (0: from the end).
func (v *view) read(ctx context.Context, filter wish, before uint64, limit int) (page, error) {
	select {
	case v.reading <- struct{}{}:
		defer func() { <-v.reading }()
	case <-ctx.Done():
		return page{}, ctx.Err()
	}
	segments, err := audit.Segments(v.AuditLog)
	if err != nil {
		return page{}, err
	}
	if before > 0 {
		for len(segments) > 0 && segments[len(segments)-1].First >= before {
			segments = segments[:len(segments)-1]
		}
	}
	var p page
	for n, segment := range slices.Backward(segments) {
		if len(segments)-n > maxSegments {
			p.Before, p.Cut = segment.First+1, true
			if n+1 < len(segments) {
				p.Before = segments[n+1].First
			}
			return p, nil
		}
		found, err := wanted(ctx, segment, filter, before)
		if errors.Is(err, fs.ErrNotExist) {
			return p, nil // removed under the retention, while we looked
		}
		if err != nil {
			return p, err
		}
		for _, r := range slices.Backward(found) {
			if len(p.Records) == limit {
				p.Before = p.Records[limit-1].Seq
				return p, nil
			}
			p.Records = append(p.Records, r)
		}
	}
	return p, nil
}

// wanted are the newest records of a segment that are wanted, in their order: one more than a page shows.
func wanted(ctx context.Context, segment audit.Segment, filter wish, before uint64) ([]audit.Record, error) {
	var found []audit.Record
	for line, err := range audit.Records([]audit.Segment{segment}) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if !filter.MayMatch(line.Text) {
			continue
		}
		r, err := line.Decode()
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", line.File, line.Number, err)
		}
		if before > 0 && r.Seq >= before {
			break
		}
		if filter.Matches(&r) && (filter.role == nil || r.Actor == nil || filter.role(&r)) {
			if len(found) > 2*pageSize {
				found = slices.Delete(found, 0, pageSize)
			}
			found = append(found, r)
		}
	}
	return found, nil
}

// search is what a reader asked for, as it stands in the page's form.
type search struct {
	Outcome, Namespace, Object, Commit, Person, Path, Type, Role string
}

func parseSearch(q url.Values) (search, wish, error) {
	s := search{
		Outcome: q.Get("outcome"), Namespace: strings.TrimSpace(q.Get("namespace")), Object: strings.TrimSpace(q.Get("object")),
		Commit: strings.TrimSpace(q.Get("commit")), Person: strings.TrimSpace(q.Get("person")), Path: strings.TrimSpace(q.Get("path")), Type: q.Get("type"), Role: q.Get("role"),
	}
	f := wish{Filter: audit.Filter{Outcome: s.Outcome, Namespace: s.Namespace, Commit: s.Commit, Person: s.Person, Path: s.Path, Types: shownTypes}}
	if s.Role != "" {
		f.role = func(r *audit.Record) bool { return r.Actor.Role == s.Role }
		f.Types = []audit.Type{audit.TypeDecision}
	}
	if s.Type != "" {
		if !slices.Contains(shownTypes, audit.Type(s.Type)) {
			return s, f, fmt.Errorf("there are no records of type %q", s.Type)
		}
		f.Types = []audit.Type{audit.Type(s.Type)}
	}
	if s.Object != "" {
		kind, name, ok := strings.Cut(s.Object, "/")
		if !ok {
			kind, name = "", s.Object
		}
		f.Kind, f.Name = kind, name
	}
	return s, f, nil
}

// values is the search as a query, to go on with.
func (s search) values() url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"outcome": s.Outcome, "namespace": s.Namespace, "object": s.Object, "commit": s.Commit, "person": s.Person, "path": s.Path, "type": s.Type, "role": s.Role} {
		if v != "" {
			q.Set(k, v)
		}
	}
	return q
}

func (v *view) changes(w http.ResponseWriter, r *http.Request) {
	s, filter, err := parseSearch(r.URL.Query())
	var before uint64
	if b := r.FormValue("before"); b != "" && err == nil {
		before, err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil {
		v.problem(w, http.StatusBadRequest, err.Error())
		return
	}
	p, err := v.read(r.Context(), filter, before, pageSize)
	if err != nil {
		v.Log.Error("the web view cannot read the audit log", "err", err)
		v.problem(w, http.StatusInternalServerError, "The audit log cannot be read; the gate's log says why.")
		return
	}
	data := struct {
		page
		Search   search
		Types    []audit.Type
		Outcomes []string
		Roles    []string
		Older    string
		Searched bool
	}{page: p, Search: s, Types: shownTypes, Outcomes: []string{"allow", "deny", "retry", "error"},
		Roles: []string{"agent", "other", "controller", "exempt", "grant", "gate"}, Searched: s != search{} || before > 0}
	if p.Before > 0 {
		q := s.values()
		q.Set("before", strconv.FormatUint(p.Before, 10))
		data.Older = "/changes?" + q.Encode()
	}
	v.show(w, http.StatusOK, "changes", "Changes", data)
}

// record is one record, whole.
func (v *view) record(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil || seq == 0 {
		v.problem(w, http.StatusNotFound, "A record is asked for by its sequence number.")
		return
	}
	line, err := v.find(r.Context(), seq)
	var found audit.Record
	if err == nil && line != nil {
		found, err = audit.Line{Text: line}.Decode()
	}
	switch {
	case err != nil:
		v.Log.Error("the web view cannot read the audit log", "err", err)
		v.problem(w, http.StatusInternalServerError, "The audit log cannot be read; the gate's log says why.")
	case line == nil:
		v.problem(w, http.StatusNotFound, fmt.Sprintf("This replica's log does not hold record %d (any more).", seq))
	default:
		v.show(w, http.StatusOK, "record", fmt.Sprintf("Record %d", seq), struct {
			audit.Record
			Line     string
			Controls []string
		}{found, string(line), found.Controls()})
	}
}

// find is the line of one record, nil if the log does not hold it.
func (v *view) find(ctx context.Context, seq uint64) ([]byte, error) {
	select {
	case v.reading <- struct{}{}:
		defer func() { <-v.reading }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	segments, err := audit.Segments(v.AuditLog)
	if err != nil {
		return nil, err
	}
	for line, err := range audit.RecordsAfter(segments, seq-1) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if f, err := audit.ParseFrame(line.Text); err != nil || f.Seq != seq {
			return nil, err
		}
		return slices.Clone(line.Text), nil
	}
	return nil, nil
}
