package corpus

import (
	"slices"
	"testing"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/replay"
	"github.com/commitgate/commitgate/snapshot"
)

// maxLeaves is how many leaves of one object are changed: of a definition with thousands, every n-th.
const maxLeaves = 120

// TestOneLeafOfWhatTheAgentAppliesIsAnother: each write of the agent that was recorded and is faithful is asked for again with the agent's identity, once for
// each leaf, with another value there, and, of what Git declares, without it: whoever holds a stolen token of the agent asks for such things.
func TestOneLeafOfWhatTheAgentAppliesIsAnother(t *testing.T) {
	totals := map[account.Why]*tally{}
	writes := 0
	for _, file := range []string{"21-flux-c01-initial.jsonl.gz", "23-flux-c02-image.jsonl.gz", "24-flux-c03-replicas.jsonl.gz", "25-flux-c04-generator.jsonl.gz", "33-flux-drift.jsonl.gz"} {
		items, lines := readFile(t, file)
		crds := replay.CRDs(items)
		truths := map[string]*snapshot.Truth{}
		commit := firstCommit
		builtin, err := account.NewTypes(crds)
		if builtin == nil {
			t.Fatal(err)
		}
		load := func(commit string) *v1alpha1.Config {
			cfg := load(t, commit)
			cfg.Gate.Spec.Scope = v1alpha1.ScopeEverything
			return cfg
		}
		m := mutations{t: t, gate: admit.New(load(commit), builtin), totals: totals}
		player := &replay.Player{Gate: m.gate, Live: new(live.Store), Now: time.Now()}
		for i, l := range lines {
			if l.Label.Git != nil && l.Label.Git.Commit != "" {
				commit = l.Label.Git.Commit
			}
			if truths[commit] == nil {
				truths[commit] = truthAt(t, load(commit), crds)
			}
			player.Truth = truths[commit]
			m.world = admit.World{Truth: player.Truth, Live: player.Live, Now: player.Now}
			r := items[i].Request
			if d := m.gate.Decide(t.Context(), r, m.world); d.Reason == v1alpha1.ReasonFromGit && d.Outcome == admit.Allow && !r.DryRun && r.Subresource == "" {
				writes++
				m.each(r, d.Entry)
			}
			player.Judge(t.Context(), r)
		}
	}
	if writes < 60 || totals[account.Declared] == nil || totals[account.Declared].refused < 1000 || totals[account.Default] == nil || totals[account.Agent] == nil {
		t.Errorf("only %d writes: %v", writes, totals)
	}
	for why, n := range totals {
		t.Logf("%-10s %6d changed or left out: %d refused, %d change nothing, %d allowed", why, n.refused+n.same+n.allowed, n.refused, n.same, n.allowed)
	}
}

// tally is how mutations of leaves of one reason were answered: those of leaves that the API server sets may be allowed.
type tally struct{ refused, same, allowed int }

type mutations struct {
	t      *testing.T
	gate   *admit.Gate
	world  admit.World
	totals map[account.Why]*tally
}

// each asks for the request once for each leaf of its object.
func (m *mutations) each(r *admit.Request, e *snapshot.Entry) {
	m.t.Helper()
	why := map[string]account.Why{}
	for _, f := range e.Account.Fields(account.Change{Object: r.Object, Old: r.Old}) {
		why[f.Path] = f.Why
	}
	var places []func(root map[string]any, with func(any) (any, bool))
	leavesOf(r.Object, nil, &places)
	stride := len(places)/maxLeaves + 1
	for i := 0; i < len(places); i += stride {
		mutated := *r
		mutated.Object = copied(r.Object).(map[string]any)
		places[i](mutated.Object, another)
		if m.ask(&mutated, r.Object, why) != account.Declared {
			continue // what has a default the API server sets again, and what Git does not say the agent may take away
		}
		mutated.Object = copied(r.Object).(map[string]any)
		places[i](mutated.Object, nothing)
		m.ask(&mutated, r.Object, why)
	}
}

// ask holds the answer to what the leaf's reason demands, and returns that.
func (m *mutations) ask(mutated *admit.Request, faithful map[string]any, why map[string]account.Why) account.Why {
	m.t.Helper()
	types := m.world.Truth.Current.Types
	paths := types.Differences(faithful, mutated.Object)
	reason := account.Server
	for _, path := range paths {
		if w := why[path]; w != "" && w != account.Server {
			reason = w
		}
	}
	if len(paths) == 0 {
		return "" // status, or what the API server keeps for itself: the gate compares neither
	}
	n := m.totals[reason]
	if n == nil {
		n = &tally{}
		m.totals[reason] = n
	}
	d := m.gate.Decide(m.t.Context(), mutated, m.world)
	switch {
	case d.Outcome == admit.Deny:
		n.refused++
	case d.Outcome == admit.Allow && d.Reason == v1alpha1.ReasonUnchanged && len(types.Differences(mutated.Old, mutated.Object)) == 0:
		n.same++
	default:
		n.allowed++
		if reason != account.Server {
			m.t.Errorf("%s %s: %v is %s, was changed or left out, and the answer is %s %s", mutated.Operation, mutated.Key(), paths, reason, d.Outcome, d.Reason)
		}
	}
	return reason
}

// leavesOf collects ways to the leaves of a value: each reads its leaf in a copy, and puts there what another function makes of it.
func leavesOf(v any, path []any, places *[]func(map[string]any, func(any) (any, bool))) {
	switch x := v.(type) {
	case map[string]any:
		for k, item := range x {
			leavesOf(item, append(slices.Clone(path), k), places)
		}
	case []any:
		for i, item := range x {
			leavesOf(item, append(slices.Clone(path), i), places)
		}
	default:
		if len(path) > 1 && path[0] == "metadata" && path[1] == "managedFields" {
			return
		}
		*places = append(*places, func(root map[string]any, change func(any) (any, bool)) { put(root, path, change) })
	}
}

// put changes or removes the leaf at a path.
func put(v any, path []any, change func(any) (any, bool)) any {
	if len(path) == 0 {
		changed, _ := change(v)
		return changed
	}
	_, keep := change(nil)
	switch x := v.(type) {
	case map[string]any:
		k := path[0].(string)
		if len(path) == 1 && !keep {
			delete(x, k)
		} else {
			x[k] = put(x[k], path[1:], change)
		}
	case []any:
		i := path[0].(int)
		if len(path) == 1 && !keep {
			return slices.Delete(x, i, i+1)
		}
		x[i] = put(x[i], path[1:], change)
	}
	return v
}

// another is a value that says something else.
func another(v any) (any, bool) {
	switch x := v.(type) {
	case string:
		return x + "x", true
	case bool:
		return !x, true
	case int64:
		return x + 1, true
	case float64:
		return x + 1, true
	}
	return "x", true
}

// nothing leaves a value out.
func nothing(any) (any, bool) { return nil, false }

func copied(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, item := range x {
			out[k] = copied(item)
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			out[i] = copied(item)
		}
		return out
	}
	return v
}
