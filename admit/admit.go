// Package admit decides: one table of steps, read from top to bottom. It is pure: no network, no clock but the
// one it is handed, no Kubernetes client. What it is handed never changes under it.
package admit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/breakglass"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/policy"
	"github.com/commitgate/commitgate/snapshot"
)

// Gate is a configuration, prepared for deciding. It is immutable.
type Gate struct {
	spec  v1alpha1.GateSpec
	stale map[string]time.Duration // by repository: how old the last fetch may be; absent is any age
	users map[string]identity
	// companions are the programs beside those that apply, by user name.
	companions map[string]companion
	rows       map[string][]row  // rows of built-in controllers, by user name
	keeping    []keeping         // what agents write for themselves
	steps      []step            // the way of a request
	builtin    *account.Types    // of the built-in kinds, until the truth brings its own
	anchors    map[string]git.ID // by repository
	alone      map[string]bool   // by repository: it has one signer
}

// New prepares a configuration, which was validated when it was loaded. builtin knows the kinds of Kubernetes itself.
func New(cfg *v1alpha1.Config, builtin *account.Types) *Gate {
	g := &Gate{spec: cfg.Gate.Spec, stale: map[string]time.Duration{}, users: map[string]identity{}, rows: controllerRows(), keeping: bookkeepingTable(), steps: steps(), builtin: builtin,
		anchors: map[string]git.ID{}, alone: map[string]bool{}, companions: map[string]companion{}}
	for i := range g.spec.Agents {
		a := &g.spec.Agents[i]
		for _, u := range a.Impersonates {
			g.users[u] = identity{agent: a, impersonated: true}
		}
		for _, u := range a.Users {
			g.users[u] = identity{agent: a, sets: isApplicationSets(a, u)}
		}
	}
	for i := range g.spec.Agents {
		a := &g.spec.Agents[i]
		for u, component := range agent.Companions(a.Preset, a.Users) {
			switch _, listed := g.users[u]; {
			case listed:
			case component == agent.ApplicationSetController:
				g.users[u] = identity{agent: a, sets: true}
			default:
				g.companions[u] = companion{component, a}
			}
		}
	}
	for i := range cfg.Repositories {
		r := &cfg.Repositories[i]
		g.standing(r)
		if r.Spec.StaleAfter.Duration > 0 {
			g.stale[r.Name] = r.Spec.StaleAfter.Duration
		}
	}
	return g
}

// Digest names the configuration: another one has another digest.
func (g *Gate) Digest() string {
	text, err := json.Marshal(g.spec)
	if err != nil {
		panic(err) // it was read from JSON
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// Live is what a decision may ask about live objects.
type Live interface {
	// Object returns what is known of a live object, nil if it has not been seen.
	Object(manifest.Key) *live.Object
}

// World is what a decision looks at: values of one moment.
type World struct {
	Truth *snapshot.Truth // must not be nil; its Current may be
	Live  Live
	Now   time.Time
	// Mutations that dry-runs showed; nil if none are made.
	Mutations Mutations
	// Inventory is what policies that compare objects see of the cluster; nil if there is none, and then they refuse what they are
	// asked about.
	Inventory *policy.Inventory
	// Grants are those of break-glass; nil is none.
	Grants *breakglass.Set
}

// Mutations are what dry-runs of declared objects showed.
type Mutations interface {
	// Of lists what this cluster's admission made of a declared object, as far as dry-runs showed it and the answer holds for this request.
	Of(*snapshot.Entry, *Request) []map[string]any
}

// judgement is one request on its way through the table.
type judgement struct {
	*Gate
	World
	r   *Request
	key manifest.Key
	id  identity
	// changed are the paths that differ between old and new object, on UPDATE of the object itself or of a subresource
	// that shows the whole parent.
	changed []string
	scope   v1alpha1.Scope
}

// step is one row of the way of a request: it decides, or passes the request on with nil.
type step struct {
	name   string
	decide func(*judgement) *Decision
}

// The way of one request. The first step that answers, answers; who comes to the end is refused.
func steps() []step {
	return []step{
		{"own identity", (*judgement).ownIdentity},
		{"own certificate authority", (*judgement).rotation},
		{"a question, not a change", (*judgement).notAChange},
		{"agent's identity proven", (*judgement).identified},
		{"a write that changes nothing", (*judgement).unchanged},
		{"a grant's own document", (*judgement).grantDocument},
		{"the gate's own configuration", (*judgement).guardConfiguration},
		{"exempt", (*judgement).exempted},
		{"controllers' housekeeping", (*judgement).housekeeping},
		{"granted: break-glass", (*judgement).granted},
		{"connect", (*judgement).connect},
		{"paths to the agent's identity", (*judgement).guardIdentity},
		{"ready", (*judgement).ready},
		{"Argo CD's ApplicationSets", (*judgement).applicationSets},
		{"notes of an agent's other programs", (*judgement).noted},
		{"Fleet's parts between a push and its agent", (*judgement).fleetParts},
		{"agent's bookkeeping", (*judgement).bookkeeping},
		{"agent: declared and faithful", (*judgement).fromGit},
		{"controllers: derived from declared", (*judgement).derived},
		{"anybody: what Git says anyway", (*judgement).equalToGit},
		{"scope", (*judgement).notGuarded},
	}
}

// Decide judges one request. The answer depends on nothing but its arguments; the context only bounds how long policies may think.
func (g *Gate) Decide(ctx context.Context, r *Request, w World) Decision {
	j := &judgement{Gate: g, World: w, r: r, key: r.Key()}
	if r.Subresource != "" && r.ownKind() {
		if kind := j.types().CustomKind(r.Resource.Group, r.Resource.Resource); kind != "" {
			j.key.Kind = kind // of a Scale, only the name of the resource tells whose it is
		}
	}
	j.scope = g.scopeOf(j.key)
	if j.isConfiguration() {
		j.scope = v1alpha1.ScopeEverything // whatever the configuration says of its scope
	}
	if d := j.malformed(); d != nil {
		return j.finish(d)
	}
	j.diff()
	for _, s := range g.steps {
		if d := s.decide(j); d != nil {
			return j.finish(j.policies(ctx, d))
		}
	}
	return j.finish(j.refuse())
}

// malformed refuses what no API server sends.
func (j *judgement) malformed() *Decision {
	r := j.r
	var missing string
	switch {
	case r.UID == "":
		missing = "uid"
	case r.User.Name == "":
		missing = "userInfo.username"
	case r.Resource.Resource == "":
		missing = "resource"
	case r.Kind.Kind == "":
		missing = "kind"
	case r.Operation == Create && r.Object == nil:
		missing = "object"
	case r.Operation == Update && (r.Object == nil || r.Old == nil):
		missing = "object and oldObject"
	case r.Operation == Delete && r.Old == nil:
		missing = "oldObject"
	case r.Operation != Create && r.Operation != Update && r.Operation != Delete && r.Operation != Connect:
		missing = "a known operation"
	default:
		return nil
	}
	return deny(v1alpha1.ReasonMalformed, "the review has no %s.\nNext: check what sends reviews to this webhook; the API server never sends this.", missing)
}

// diff finds what an UPDATE changes. The types of the current truth say how lists compare; before there is one, lists
// of kinds that are not built in compare as wholes.
func (j *judgement) diff() {
	if j.r.Operation != Update {
		return
	}
	j.changed = j.types().Differences(j.r.Old, j.r.Object)
}

// finish completes a decision with what every record needs, and applies the mode, once.
func (j *judgement) finish(d *Decision) Decision {
	out := *d
	if out.Role == "" {
		out.Role = RoleOther
	}
	if j.id.agent != nil {
		out.Agent = j.id.agent.Name
		if out.Role == RoleOther {
			out.Role = RoleAgent
		}
	}
	if out.Entry == nil {
		out.Entry = j.entry()
	}
	if out.Entry != nil {
		out.Revision = j.Truth.RevisionOf(out.Entry)
	}
	out.Verdict = out.Outcome
	out.Mode = j.modeOf(j.key, out.Reason)
	if out.Outcome == Deny || out.Outcome == Retry {
		if out.Mode != v1alpha1.ModeAudit {
			out.Warnings = append(out.Warnings, j.ended(out.Fields)...)
		}
		switch out.Mode {
		case v1alpha1.ModeWarn:
			out.Outcome = Allow
			out.Warnings = append(out.Warnings, warnings(out.Message)...)
		case v1alpha1.ModeAudit:
			out.Outcome = Allow
		}
	}
	return out
}

// types are those of the current truth, which knows the CRDs that Git declares.
func (j *judgement) types() *account.Types {
	if j.Truth.Current == nil || j.Truth.Current.Types == nil {
		return j.builtin
	}
	return j.Truth.Current.Types
}

// entry is the declared object that the request is about, nil if there is none or nothing is known yet.
func (j *judgement) entry() *snapshot.Entry {
	if j.Truth.Current == nil {
		return nil
	}
	return j.Truth.Current.Lookup(j.key)
}

func (g *Gate) scopeOf(k manifest.Key) v1alpha1.Scope {
	for _, o := range g.spec.Overrides {
		if o.Scope != "" && matchesAny(o.Namespaces, k.Namespace) && matchesKind(o.Kinds, k.Group, k.Kind) {
			return o.Scope
		}
	}
	return g.spec.Scope
}

func (g *Gate) modeOf(k manifest.Key, reason v1alpha1.Reason) v1alpha1.Mode {
	for _, o := range g.spec.Overrides {
		if o.Mode == "" || !matchesAny(o.Namespaces, k.Namespace) || !matchesKind(o.Kinds, k.Group, k.Kind) {
			continue
		}
		if len(o.Reasons) == 0 || containsReason(o.Reasons, reason) {
			return o.Mode
		}
	}
	return g.spec.Mode
}

func containsReason(list []v1alpha1.Reason, r v1alpha1.Reason) bool {
	for _, x := range list {
		if x == r {
			return true
		}
	}
	return false
}
