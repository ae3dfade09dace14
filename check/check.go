// Package check says what a gate would make of a revision before it is pushed: whether it is signed enough, whether it renders, which objects it
// changes, and what the policies say of them. It runs the code of the gate, on repositories of this machine, and touches no cluster.
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/mirror"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

// Options say what to check against what.
type Options struct {
	// At names the configuration, the repositories on this machine and the revisions to check.
	At track.AtConfig
	// Base are revisions by repository, vouched for: what is on the protected branch already. A repository that is left out is checked from its
	// trust anchor, and everything that it declares is new.
	Base map[string]string
}

// Level is how much a finding weighs.
type Level string

// The levels.
const (
	Error   Level = "error"   // the gate would refuse the revision, or an object of it
	Warning Level = "warning" // something will not be as it seems
)

// Rule is what found something: signature, render, policies, not-followed, unlisted, or the id of a policy's rule.
type Rule string

// The rules of the gate itself.
const (
	RuleSignature   Rule = "signature"    // a commit is not signed by whom it takes
	RuleRender      Rule = "render"       // the tree does not render
	RulePolicies    Rule = "policies"     // the policies do not compile, or their tests fail
	RuleNotFollowed Rule = "not-followed" // something that Git asks for will not be declared
	RuleUnlisted    Rule = "unlisted"     // an agent is to act as somebody whom its entry in the configuration does not list
)

// Finding is one thing that somebody should know before the push.
type Finding struct {
	Level      Level    `json:"level"`
	Rule       Rule     `json:"rule"`
	Object     string   `json:"object,omitempty"`
	Repository string   `json:"repository,omitempty"`
	Path       git.Path `json:"path,omitempty"`
	Line       int      `json:"line,omitempty"` // from 1; 0 if it concerns no line in particular
	Message    string   `json:"message"`
}

// Place is repository:path:line, as far as it is known.
func (f Finding) Place() string {
	if f.Path == "" {
		return f.Repository
	}
	return manifest.Source{Repository: f.Repository, Path: f.Path, Line: f.Line}.String()
}

// Action is what the revision does to an object.
type Action string

// The actions.
const (
	Create Action = "create"
	Change Action = "change"
	Remove Action = "remove"
)

// ObjectChange is one object that the revision changes.
type ObjectChange struct {
	Action     Action   `json:"action"`
	Object     string   `json:"object"`
	Repository string   `json:"repository"`
	Path       git.Path `json:"path"`
	Line       int      `json:"line,omitempty"`
	Agent      string   `json:"agent"`
	Owner      string   `json:"owner,omitempty"`
	Fields     []string `json:"fields,omitempty"` // that change, by path; values are not shown
	Allowed    bool     `json:"allowed"`
}

// Place is repository:path:line.
func (c ObjectChange) Place() string {
	return manifest.Source{Repository: c.Repository, Path: c.Path, Line: c.Line}.String()
}

// Report is what the gate would say.
type Report struct {
	Base     map[string]git.ID `json:"base"` // by repository
	Head     map[string]git.ID `json:"head"`
	Changes  []ObjectChange    `json:"changes"`
	Findings []Finding         `json:"findings"`
}

// Allowed tells whether nothing found is an error.
func (r *Report) Allowed() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Level == Error })
}

// Check checks a revision. An error says that it could not be told; what the gate would refuse is in the report.
func Check(ctx context.Context, o Options) (*Report, error) {
	if o.At.Now.IsZero() {
		o.At.Now = time.Now()
	}
	report := &Report{Base: map[string]git.ID{}, Head: map[string]git.ID{}, Changes: []ObjectChange{}, Findings: []Finding{}}
	if err := report.resolve(ctx, &o); err != nil {
		return nil, err
	}
	base, err := o.base(ctx)
	if err != nil {
		return nil, err
	}
	head, err := report.head(ctx, o)
	if err != nil {
		return nil, err
	}
	if head == nil {
		return report, nil
	}
	if err := report.compare(ctx, o.At, base, head); err != nil {
		return nil, err
	}
	slices.SortStableFunc(report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line))
	})
	return report, nil
}

// resolve finds the commits, and begins the verification at the base: what is there is vouched for, what comes on top of it is judged.
func (r *Report) resolve(ctx context.Context, o *Options) error {
	o.At.Repositories = slices.Clone(o.At.Repositories)
	revisions := maps.Clone(o.At.Revisions)
	if revisions == nil {
		revisions = map[string]string{}
	}
	for i := range o.At.Repositories {
		t := &o.At.Repositories[i]
		repository, err := mirror.OpenRepository(ctx, cmp.Or(o.At.Paths[t.Name], t.Spec.URL))
		if err != nil {
			return fmt.Errorf("repository %s: %w", t.Name, err)
		}
		err = r.resolveOne(ctx, repository, t, o.Base[t.Name], cmp.Or(revisions[t.Name], "HEAD"))
		if err := errors.Join(err, repository.Close()); err != nil {
			return fmt.Errorf("repository %s: %w", t.Name, err)
		}
		revisions[t.Name] = string(r.Head[t.Name])
	}
	o.At.Revisions = revisions
	return nil
}

func (r *Report) resolveOne(ctx context.Context, repository *mirror.Repository, t *v1alpha1.TrustedRepository, base, head string) error {
	id, err := repository.Resolve(ctx, head)
	if err != nil {
		return err
	}
	r.Head[t.Name] = id
	if base == "" {
		return nil
	}
	if id, err = repository.Resolve(ctx, base); err != nil {
		return err
	}
	r.Base[t.Name] = id
	t.Spec.Anchor.Commit = string(id)
	return nil
}

// base is the truth before, nil if no base is named for every repository.
func (o Options) base(ctx context.Context) (*snapshot.Truth, error) {
	at := o.At
	at.Vouch, at.Revisions = true, map[string]string{}
	for _, t := range at.Repositories {
		if o.Base[t.Name] == "" {
			return nil, nil
		}
		at.Revisions[t.Name] = t.Spec.Anchor.Commit
	}
	truth, err := track.At(ctx, at)
	var refused *track.Refusal
	if errors.As(err, &refused) {
		return nil, nil // the base does not render either: everything is new
	}
	return truth, err
}

// head is the truth that the revision would be, nil if it would be none. Without enough signatures it is shown all the same.
func (r *Report) head(ctx context.Context, o Options) (*snapshot.Truth, error) {
	truth, err := track.At(ctx, o.At)
	var refused *track.Refusal
	if errors.As(err, &refused) && (refused.Stage == track.StageVerify || refused.Stage == track.StageFetch) {
		r.Findings = append(r.Findings, Finding{Level: Error, Rule: RuleSignature, Repository: refused.Repository,
			Message: fmt.Sprintf("commit %s: %s", refused.Commit.Short(), refused.Why)})
		at := o.At
		at.Vouch = true
		truth, err = track.At(ctx, at)
	}
	if !errors.As(err, &refused) || err == nil {
		return truth, err
	}
	var problems manifest.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			r.Findings = append(r.Findings, Finding{Level: Error, Rule: RuleRender, Repository: p.Repository, Path: p.Path, Line: p.Line, Message: p.What})
		}
	case refused.Stage == track.StagePolicy:
		r.Findings = append(r.Findings, Finding{Level: Error, Rule: RulePolicies, Repository: refused.Repository, Message: refused.Why})
	default:
		r.Findings = append(r.Findings, Finding{Level: Error, Rule: RuleRender, Repository: refused.Repository, Message: refused.Why})
	}
	return nil, nil
}

// compare lists what changes, and asks the policies.
func (r *Report) compare(ctx context.Context, at track.AtConfig, base, head *snapshot.Truth) error {
	before := map[manifest.Key]*manifest.Object{}
	var unfollowed []manifest.Problem
	if base != nil {
		for _, o := range base.Current.Rendered.Objects {
			before[o.Key] = o
		}
		unfollowed = base.Current.Rendered.Unfollowed
	}
	for _, o := range head.Current.Rendered.Objects {
		old := before[o.Key]
		delete(before, o.Key)
		if old != nil && same(old, o) {
			continue
		}
		if err := r.changed(ctx, at, head, old, o); err != nil {
			return err
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(before), func(a, b manifest.Key) int { return cmp.Compare(a.String(), b.String()) }) {
		r.Changes = append(r.Changes, changeOf(Remove, before[k]))
	}
	for i := range r.Changes {
		if r.Changes[i].Action == Remove {
			r.Changes[i].Allowed = true
		}
	}
	r.unlisted(base, head)
	known := map[string]bool{}
	for _, p := range unfollowed {
		known[p.Repository+":"+string(p.Path)+":"+p.What] = true // its line may have moved
	}
	for _, p := range head.Current.Rendered.Unfollowed {
		if !known[p.Repository+":"+string(p.Path)+":"+p.What] {
			r.Findings = append(r.Findings, Finding{Level: Warning, Rule: RuleNotFollowed, Repository: p.Repository, Path: p.Path, Line: p.Line, Message: p.What})
		}
	}
	return nil
}

// unlisted names the agents' objects that come to act as a user whom the configuration does not list.
func (r *Report) unlisted(base, head *snapshot.Truth) {
	known := map[manifest.Unlisted]bool{}
	if base != nil {
		for _, u := range base.Current.Rendered.Unlisted {
			u.Line = 0 // it may have moved
			known[u] = true
		}
	}
	for _, u := range head.Current.Rendered.Unlisted {
		line := u.Line
		u.Line = 0
		if !known[u] {
			r.Findings = append(r.Findings, Finding{Level: Warning, Rule: RuleUnlisted, Repository: u.Repository, Path: u.Path, Line: line, Message: u.What})
		}
	}
}

// same tells whether an agent would apply two declarations alike.
func same(a, b *manifest.Object) bool {
	return a.Content == b.Content && reflect.DeepEqual(a.Adds, b.Adds) && reflect.DeepEqual(a.Apply, b.Apply) && a.Owner == b.Owner
}

func changeOf(action Action, o *manifest.Object) ObjectChange {
	c := ObjectChange{Action: action, Object: o.Key.String(), Repository: o.Source.Repository, Path: o.Source.Path, Line: o.Source.Line, Agent: o.Owner.Agent}
	if o.Owner.Kind != "" {
		c.Owner = o.OwnerKey().String()
	}
	return c
}

// changed notes one object that is new or changes, and what the policies say of it.
func (r *Report) changed(ctx context.Context, at track.AtConfig, head *snapshot.Truth, old, o *manifest.Object) error {
	c := changeOf(Create, o)
	var was map[string]any
	if old != nil {
		c.Action, was = Change, old.Applied()
		c.Fields = head.Current.Types.Differences(was, o.Applied())
	}
	c.Allowed = true
	if set := head.Current.Policies; set != nil {
		result, err := set.Decide(ctx, input(at, head, was, o))
		if err != nil {
			return fmt.Errorf("policies, asked of %s: %w", o.Key, err)
		}
		c.Allowed = result.Allowed()
		r.found(Error, result.Denials, o)
		r.found(Warning, result.Warnings, o)
	}
	r.Changes = append(r.Changes, c)
	return nil
}

func (r *Report) found(level Level, findings []policy.Finding, o *manifest.Object) {
	for _, f := range findings {
		r.Findings = append(r.Findings, Finding{
			Level: level, Rule: Rule(f.ID), Object: o.Key.String(), Repository: o.Source.Repository, Path: o.Source.Path, Line: o.Source.Line, Message: f.Msg,
		})
	}
}

// input is the request by which the agent would apply the object. What the API server adds to it first (defaults, what it allocates) is not known here.
func input(at track.AtConfig, head *snapshot.Truth, was map[string]any, o *manifest.Object) policy.Input {
	operation, user := "CREATE", ""
	if was != nil {
		operation = "UPDATE"
	}
	for _, a := range at.Gate.Agents {
		if users := slices.Concat(a.Users, a.Impersonates); a.Name == o.Owner.Agent && len(users) > 0 {
			user = users[0]
		}
	}
	kind := map[string]any{"group": o.Group, "version": o.Version, "kind": o.Kind}
	resource := map[string]any{"group": o.Group, "version": o.Version, "resource": plural(o.Kind)}
	in := policy.Input{
		Request: map[string]any{
			"uid": "", "kind": kind, "requestKind": kind, "resource": resource, "requestResource": resource, "name": o.Name, "namespace": o.Namespace,
			"operation": operation, "userInfo": map[string]any{"username": user}, "dryRun": false,
		},
		Object: o.Applied(), OldObject: was, Cluster: at.Gate.Cluster, Time: at.Now,
	}
	if e := head.Current.Lookup(o.Key); e != nil && e.Changed != nil {
		if rev := head.RevisionOf(e); rev != nil {
			in.Origin = policy.OriginOf(rev.Repository, rev.Branch, rev.Commit.ID, e.Changed, e.Source.Path, e.Signatures)
		}
	}
	return in
}

// plural is the name of a kind's resource, by the rule that almost all follow.
func plural(kind string) string {
	name := strings.ToLower(kind)
	switch {
	case strings.HasSuffix(name, "endpoints"):
		return name
	case strings.HasSuffix(name, "s"), strings.HasSuffix(name, "x"), strings.HasSuffix(name, "ch"):
		return name + "es"
	case strings.HasSuffix(name, "y") && !strings.HasSuffix(name, "ay") && !strings.HasSuffix(name, "ey"):
		return name[:len(name)-1] + "ies"
	}
	return name + "s"
}
