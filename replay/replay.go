package replay

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/webhook"
)

// Result is what the gate would answer to one review.
type Result struct {
	UID         string   `json:"uid"`
	Allowed     bool     `json:"allowed"`
	Code        int      `json:"code"`
	Verdict     string   `json:"verdict"` // what an enforcing gate answers: allow, deny, retry, error
	Reason      string   `json:"reason"`
	Message     string   `json:"message"`
	Warnings    []string `json:"warnings"`
	User        string   `json:"user"`
	Operation   string   `json:"operation"`
	Resource    string   `json:"resource"`
	Subresource string   `json:"subresource"`
	Namespace   string   `json:"namespace"`
	Name        string   `json:"name"`
	DryRun      bool     `json:"dryRun"`
	Repository  string   `json:"repository"`
	Revision    string   `json:"revision"`
	Commit      string   `json:"commit"`
	Path        string   `json:"path"`
	Signer      string   `json:"signer"`
	Fields      []Field  `json:"fields,omitempty"`
	// Policy is what the policies said; nil if they were not asked. It may quote the object.
	Policy *policy.Result `json:"-"`
}

// Field is one leaf of a reviewed object and its reason; Why is "" if it has none.
type Field struct {
	Path string `json:"path"`
	Why  string `json:"reason"`
}

// Player judges the reviews of one recording, in order.
type Player struct {
	Gate  *admit.Gate
	Truth *snapshot.Truth
	Live  *live.Store
	Now   time.Time
	// Inventory is what policies see of the cluster; nil if there is none.
	Inventory *policy.Inventory
	// Fields: also account for each leaf of the objects that Git declares.
	Fields bool
}

// Judge decides one review, as the webhook would, and remembers what it shows of live objects.
func (p *Player) Judge(ctx context.Context, r *admit.Request) Result {
	d := p.Gate.Decide(ctx, r, admit.World{Truth: p.Truth, Live: p.Live, Now: p.Now, Inventory: p.Inventory})
	// Whatever this gate would have said, the recording goes on from what was persisted: most likely what was asked for. If it was not, the
	// next review that shows the object says so.
	webhook.Learn(p.Live, r, admit.Decision{Outcome: admit.Allow})

	key := r.Key()
	out := Result{
		UID: r.UID, Allowed: d.Outcome == admit.Allow, Code: d.Outcome.Code(), Verdict: d.Verdict.String(), Reason: string(d.Reason), Message: d.Message,
		Warnings: slices.Concat([]string{}, d.Warnings), User: r.User.Name, Operation: string(r.Operation),
		Resource: groupResource(r), Subresource: r.Subresource, Namespace: key.Namespace, Name: key.Name, DryRun: r.DryRun,
		Policy: d.Policy,
	}
	if e := d.Entry; e != nil {
		out.Path = string(e.Source.Path)
		if rev := p.Truth.RevisionOf(e); rev != nil {
			out.Repository, out.Revision = rev.Repository, string(rev.Commit.ID)
		}
		if e.Changed != nil {
			out.Commit = string(e.Changed.ID)
		}
		var signers []string
		for _, s := range e.Signatures {
			signers = append(signers, string(s.Principal))
		}
		out.Signer = strings.Join(slices.Compact(signers), ", ")
		if p.Fields && r.Object != nil && r.Subresource == "" && e.Key == key {
			for _, f := range e.Account.Fields(account.Change{Object: r.Object, Old: r.Old}) {
				out.Fields = append(out.Fields, Field{f.Path, string(f.Why)})
			}
		}
	}
	if out.Repository == "" && p.Truth.Current != nil && len(p.Truth.Current.Revisions) == 1 {
		for _, rev := range p.Truth.Current.Revisions {
			out.Repository, out.Revision = rev.Repository, string(rev.Commit.ID)
		}
	}
	return out
}

func groupResource(r *admit.Request) string {
	if r.Resource.Group == "" {
		return r.Resource.Resource
	}
	return r.Resource.Resource + "." + r.Resource.Group
}

// CRDs are the CustomResourceDefinitions that a recording shows: they say how the fields of custom resources compare where Git does not.
func CRDs(items []Item) []map[string]any {
	seen := map[string]map[string]any{}
	for _, it := range items {
		if it.Request == nil || it.Request.Subresource != "" || it.Request.Kind.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, object := range []map[string]any{it.Request.Old, it.Request.Object} {
			if object != nil {
				seen[it.Request.Key().Name] = object
			}
		}
	}
	var out []map[string]any
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		out = append(out, seen[name])
	}
	return out
}
