package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/export"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/replay"
	"github.com/commitgate/commitgate/snapshot"
	"github.com/commitgate/commitgate/track"
)

// errNotRecorded: the log has no decision about a review.
var errNotRecorded = errors.New("no record")

func newAuditReplay() *cobra.Command {
	var f truthFlags
	var logs []string
	var output string
	cmd := &cobra.Command{
		Use:   "replay --log DIR --config FILE|DIR [FILE...|-]",
		Short: "Make recorded decisions again, and compare",
		Long: `Make recorded decisions again: each AdmissionReview in FILE is judged at the revision that its record names, with the
policies of that revision and the clock of that moment, and the verdict, the reason and what the policies
found are compared with the record. Records hold no objects: the reviews come from whoever kept them.

Exit status: 0 every decision is confirmed, 1 one is not, 2 usage, 3 one could not be told (it depended on what no
record holds: the cluster's state, a grant), or has no record.`,
		Example: "  commitgate audit replay --log /var/lib/commitgate/audit --config gate.yaml --repository infra=../infra reviews.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			if len(logs) == 0 {
				return usage("--log is required: the folder of an audit log")
			}
			if len(f.revisions) > 0 {
				return usage("--revision: the records say which revisions")
			}
			return auditReplay(cmd, f, logs, args, output)
		},
	}
	f.register(cmd)
	cmd.Flags().StringSliceVar(&logs, "log", nil, "folder of an audit log; several for several replicas (required)")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json (a line per review)")
	return cmd
}

func auditReplay(cmd *cobra.Command, f truthFlags, logs, files []string, output string) error {
	items, err := readReviews(files, cmd.InOrStdin())
	if err != nil {
		return err
	}
	cfg, at, err := f.load()
	if err != nil {
		return err
	}
	at.CRDs = replay.CRDs(items)
	records, err := decisionsOf(cmd.Context(), logs, items)
	if err != nil {
		return err
	}
	builtin, err := account.NewTypes(at.CRDs)
	if builtin == nil {
		return unknown(err)
	}
	r := replayer{gate: admit.New(cfg, builtin), config: cfg, at: at, truths: map[string]*snapshot.Truth{}, live: new(live.Store)}
	differ, untold := 0, 0
	for _, it := range items {
		c, err := r.replay(cmd.Context(), it, records)
		if err != nil {
			return err
		}
		switch {
		case c.Unknown != "":
			untold++
		case !c.Confirmed():
			differ++
		}
		if err := printComparison(cmd.OutOrStdout(), c, output); err != nil {
			return unknown(err)
		}
	}
	if output == "table" {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d decisions: %d confirmed, %d differ, %d cannot be told\n",
			len(items), len(items)-differ-untold, differ, untold); err != nil {
			return unknown(err)
		}
	}
	switch {
	case differ > 0:
		return exit{exitNo, nil}
	case untold > 0:
		return exit{exitUnknown, nil}
	}
	return nil
}

// decisionsOf finds the records of the reviews' decisions, by the requests' uid. Of several decisions about one request, each by another
// replica or at another time, the last counts.
func decisionsOf(ctx context.Context, dirs []string, items []replay.Item) (map[string]audit.Record, error) {
	wanted := map[string]bool{}
	for _, it := range items {
		if it.Request != nil {
			wanted[it.Request.UID] = true
		}
	}
	filter := audit.Filter{Types: []audit.Type{audit.TypeDecision}}
	logs, err := openLogs(dirs, filter)
	if err != nil {
		return nil, err
	}
	found := map[string]audit.Record{}
	_, err = export.Write(ctx, io.Discard, logs, filter, export.Discard{}, func(r *audit.Record) {
		if r.Request != nil && wanted[r.Request.UID] {
			found[r.Request.UID] = *r
		}
	})
	if err != nil {
		return nil, unknown(err)
	}
	return found, nil
}

// replayer makes decisions again, each at its own revision.
type replayer struct {
	gate   *admit.Gate
	config *v1alpha1.Config
	at     track.AtConfig
	truths map[string]*snapshot.Truth // by the revisions that they are of
	live   *live.Store
}

func (r *replayer) replay(ctx context.Context, it replay.Item, records map[string]audit.Record) (replay.Comparison, error) {
	if it.Err != nil {
		return replay.Comparison{Unknown: it.Err.Error()}, nil
	}
	c := replay.Comparison{UID: it.Request.UID}
	rec, ok := records[it.Request.UID]
	if !ok {
		c.Unknown = errNotRecorded.Error()
		return c, nil
	}
	c.Record, c.Verdict, c.Reason = rec.ID, rec.Decision.Verdict, rec.Decision.Reason
	if c.Unknown = replay.Unrepeatable(rec); c.Unknown != "" {
		return c, nil
	}
	truth, err := r.truth(ctx, rec)
	var refused *track.Refusal
	switch {
	case errors.As(err, &refused):
		c.Differences = []string{"the recorded revision is refused: " + err.Error()}
		return c, nil
	case err != nil:
		return c, unknown(err)
	}
	now := rec.Time
	if rec.Policy != nil && rec.Policy.Time != nil {
		now = *rec.Policy.Time
	}
	for _, s := range truth.Current.Revisions {
		s.Fetched = now // how fresh the mirror was is not what is asked
	}
	player := &replay.Player{Gate: r.gate, Truth: truth, Live: r.live, Now: now}
	return replay.Compare(rec, player.Judge(ctx, it.Request)), nil
}

// truth is that of the record's moment, as far as it names revisions; of repositories that it does not name, the tip of the branch.
func (r *replayer) truth(ctx context.Context, rec audit.Record) (*snapshot.Truth, error) {
	revisions := map[string]string{}
	add := func(repository string, id git.ID) {
		if id != "" && revisions[repository] == "" && r.config.Repository(repository) != nil {
			revisions[repository] = string(id)
		}
	}
	add(rec.Origin.Repository, rec.Origin.Revision)
	if rec.Policy != nil {
		add(rec.Policy.Repository, rec.Policy.Commit)
	}
	var key []string
	for _, name := range slices.Sorted(maps.Keys(revisions)) {
		key = append(key, name+"="+revisions[name])
	}
	id := strings.Join(key, " ")
	if t := r.truths[id]; t != nil {
		return t, nil
	}
	at := r.at
	at.Revisions, at.Now = revisions, rec.Time
	t, err := track.At(ctx, at)
	if err != nil {
		return nil, err
	}
	r.truths[id] = t
	return t, nil
}

func printComparison(w io.Writer, c replay.Comparison, output string) error {
	if output == "json" {
		return json.NewEncoder(w).Encode(c)
	}
	word, why := "confirmed", ""
	switch {
	case c.Unknown != "":
		word, why = "unknown", c.Unknown
	case !c.Confirmed():
		word, why = "differs", strings.Join(c.Differences, "\n          ")
	}
	_, err := fmt.Fprintf(w, "%-9s %s %s %s %s\n", word, c.UID, c.Record, c.Verdict, c.Reason)
	if err == nil && why != "" {
		_, err = fmt.Fprintf(w, "          %s\n", why)
	}
	return err
}
