package recorder

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/replay"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/webhook"
)

// Write writes a recording as JSON Lines, compressed.
func Write(file string, lines []Line) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(f)
	e := json.NewEncoder(z)
	e.SetEscapeHTML(false)
	for _, l := range lines {
		if err := e.Encode(l); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(z.Close(), f.Close())
}

// Read reads what Write wrote.
func Read(file string) ([]Line, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() // for reading: there is nothing to lose
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	scanner := bufio.NewScanner(z)
	scanner.Buffer(nil, 16<<20)
	var lines []Line
	for scanner.Scan() {
		var l Line
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	return lines, scanner.Err()
}

// Playback is how a recording is judged: by the gate of a configuration whose one repository is a bundle, anchored at the commit in force.
type Playback struct {
	Config string // documents, with %s for the commit
	Bundle string
	Scope  v1alpha1.Scope
}

// Verdict is the gate's answer to a review that a label judges.
type Verdict struct {
	Label
	replay.Result
	Expect string // what it should have been
}

// Wrong tells whether the gate refused what it should allow, or allowed what it should refuse. Where everything is guarded it is right to refuse what
// controllers do for objects that Git has dropped and nobody has deleted yet, and to have them wait whose owner the recording shows too late.
func (v Verdict) Wrong() bool {
	reason := v1alpha1.Reason(v.Reason)
	return v.Expect != "" && v.Result.Verdict != v.Expect && reason != v1alpha1.ReasonOwnerNotDeclared && reason != v1alpha1.ReasonOwnerUnknown
}

// Judge answers each review of a recording, with what the reviews, the bundle and the configuration say and nothing else.
func (p Playback) Judge(ctx context.Context, lines []Line) ([]Verdict, error) {
	var items []replay.Item
	var labels []Label
	for i, l := range lines {
		if l.Marker != "" {
			continue
		}
		request, err := webhook.Decode(l.Review)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		items, labels = append(items, replay.Item{Line: i + 1, Request: request}), append(labels, *l.Label)
	}
	crds := replay.CRDs(items)
	types, err := account.NewTypes(crds)
	if types == nil {
		return nil, err
	}
	player := &replay.Player{Live: new(live.Store), Now: time.Now()}
	truths := map[git.ID]*snapshot.Truth{}
	gates := map[git.ID]*admit.Gate{}
	var out []Verdict
	for i, item := range items {
		commit := labels[i].Git.Commit
		if truths[commit] == nil {
			cfg, err := v1alpha1.Parse("gate.yaml", fmt.Appendf(nil, p.Config, commit))
			if err != nil {
				return nil, err
			}
			cfg.Gate.Spec.Scope = p.Scope
			name := cfg.Repositories[0].Name
			truths[commit], err = track.At(ctx, track.AtConfig{
				Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: map[string]string{name: p.Bundle}, Revisions: map[string]string{name: string(commit)}, CRDs: crds, Engine: manifest.InProcess{}, Partial: true,
			})
			if err != nil {
				return nil, fmt.Errorf("at %s: %w", commit, err)
			}
			gates[commit] = admit.New(cfg, types)
		}
		player.Truth, player.Gate = truths[commit], gates[commit]
		v := Verdict{Label: labels[i], Result: player.Judge(ctx, item.Request), Expect: labels[i].Expect}
		if p.Scope == v1alpha1.ScopeEverything {
			v.Expect = labels[i].Strict
		}
		out = append(out, v)
	}
	return out, nil
}
