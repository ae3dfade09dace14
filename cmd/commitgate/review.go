package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/replay"
	"github.com/commitgate/commitgate/track"
)

// reviewOptions are the flags of review.
type reviewOptions struct {
	config       string
	repositories map[string]string
	revisions    map[string]string
	output       string
	fields       bool
}

func newReview() *cobra.Command {
	var o reviewOptions
	cmd := &cobra.Command{
		Use:   "review --config FILE|DIR [FILE...|-]",
		Short: "Tell what the gate would decide about recorded AdmissionReviews, offline",
		Long: `Tell what the gate would decide about recorded AdmissionReviews: JSON, JSON Lines, YAML, gzip of these, and lines that
hold the review under the key "review". What the stream shows of live objects is remembered as a running gate does.
An agent's object whose files do not render is left out, and named on standard error; a running gate would not take that revision.
No network: a repository is read from a folder or bundle. Exit status: 0 all allowed, 1 some refused, 2 usage, 3 could not tell.`,
		Example: "  commitgate review --config gate.yaml --repository infra=../infra --revision infra=main reviews.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			return review(cmd.Context(), o, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "", "file or folder with the Gate and its TrustedRepositories (required)")
	f.StringToStringVar(&o.repositories, "repository", nil, "NAME=PATH: folder or bundle to read a trusted repository from (default its URL, if that is a path)")
	f.StringToStringVar(&o.revisions, "revision", nil, "NAME=REV: commit, branch or tag of it to take for the truth (default the protected branch)")
	f.StringVarP(&o.output, "output", "o", "table", "table or json (a line per review)")
	f.BoolVar(&o.fields, "fields", false, "also account for each leaf of the objects that Git declares")
	return cmd
}

func review(ctx context.Context, o reviewOptions, files []string, stdin io.Reader, out, warnings io.Writer) error {
	if o.config == "" {
		return usage("--config is required; see commitgate review --help")
	}
	show, err := newReviewPrinter(o.output, out)
	if err != nil {
		return err
	}
	cfg, err := v1alpha1.Load(o.config)
	if err != nil {
		return usage("configuration:\n%w", err)
	}
	items, err := readReviews(files, stdin)
	if err != nil {
		return err
	}
	decryption, err := toolDecryption(&cfg.Gate.Spec, "")
	if err != nil {
		return usage("%w", err)
	}
	crds := replay.CRDs(items)
	truth, err := track.At(ctx, track.AtConfig{
		Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: o.repositories, Revisions: o.revisions, CRDs: crds, Engine: newEngine(0), Decryption: decryption,
		Partial: true,
	})
	if err != nil {
		return unknown(err)
	}
	for _, p := range truth.Current.Rendered.Unfollowed {
		fmt.Fprintf(warnings, "not followed: %s\n", printable(p.String()))
	}
	builtin, err := account.NewTypes(crds)
	if builtin == nil {
		return unknown(err)
	}
	player := &replay.Player{Gate: admit.New(cfg, builtin), Truth: truth, Live: new(live.Store), Now: time.Now(), Fields: o.fields}
	refused, unread := 0, 0
	for _, it := range items {
		if it.Err != nil {
			unread++
			err = show.result(replay.Result{Code: 400, Verdict: admit.Error.String(), Reason: string(v1alpha1.ReasonMalformed), Message: it.Err.Error(), Warnings: []string{}})
		} else {
			result := player.Judge(ctx, it.Request)
			if !result.Allowed {
				refused++
			}
			err = show.result(result)
		}
		if err != nil {
			return unknown(err)
		}
	}
	if err := show.end(len(items), refused, unread); err != nil {
		return unknown(err)
	}
	switch {
	case unread > 0:
		return exit{code: exitUnknown}
	case refused > 0:
		return exit{code: exitNo}
	}
	return nil
}

// readReviews reads all recordings, in order. What is wrong with one document is an item that says so, with its place.
func readReviews(files []string, stdin io.Reader) ([]replay.Item, error) {
	if len(files) == 0 {
		files = []string{"-"}
	}
	var all []replay.Item
	for _, name := range files {
		items, err := readRecording(name, stdin)
		if err != nil {
			return nil, usage("%s: %w", name, err)
		}
		for i := range items {
			if items[i].Err != nil {
				items[i].Err = fmt.Errorf("%s:%d: %w", name, items[i].Line, items[i].Err)
			}
		}
		all = slices.Concat(all, items)
	}
	if len(all) == 0 {
		return nil, usage("no AdmissionReview in %s", strings.Join(files, ", "))
	}
	return all, nil
}

func readRecording(name string, stdin io.Reader) ([]replay.Item, error) {
	if name == "-" {
		return replay.Read(stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return replay.Read(f)
}

// reviewPrinter shows results.
type reviewPrinter interface {
	result(replay.Result) error
	end(all, refused, unread int) error
}

func newReviewPrinter(format string, out io.Writer) (reviewPrinter, error) {
	switch format {
	case "json":
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		return reviewJSON{e}, nil
	case "table":
		return &reviewTable{out: out, w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}, nil
	}
	return nil, usage("-o %s: want table or json", format)
}

type reviewJSON struct{ e *json.Encoder }

func (p reviewJSON) result(r replay.Result) error { return p.e.Encode(r) }
func (p reviewJSON) end(_, _, _ int) error        { return nil }

// reviewTable shows a line per review, and the messages of the refused ones below.
type reviewTable struct {
	out      io.Writer
	w        *tabwriter.Writer
	n        int
	messages []string
}

func (p *reviewTable) result(r replay.Result) error {
	if p.n == 0 {
		fmt.Fprintln(p.w, "#\tVERDICT\tREASON\tUSER\tOPERATION\tOBJECT\tCOMMIT\tPATH")
	}
	p.n++
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	object := resource + " " + r.Name
	if r.Namespace != "" {
		object = resource + " " + r.Namespace + "/" + r.Name
	}
	fmt.Fprintf(p.w, "%d\t%s\t%s\t%s\t%s\t%s\t%.7s\t%s\n", p.n, r.Verdict, r.Reason, printable(r.User), r.Operation, printable(object), r.Commit, printable(r.Path))
	if !r.Allowed {
		p.messages = append(p.messages, fmt.Sprintf("\n%d  %s", p.n, strings.ReplaceAll(printable(r.Message), "\n", "\n   ")))
	}
	for _, f := range r.Fields {
		why := f.Why
		if why == "" {
			why = "UNEXPLAINED"
		}
		p.messages = append(p.messages, fmt.Sprintf("%d  %-12s %s", p.n, why, printable(f.Path)))
	}
	return nil
}

func (p *reviewTable) end(all, refused, unread int) error {
	if err := p.w.Flush(); err != nil {
		return err
	}
	for _, m := range p.messages {
		if _, err := fmt.Fprintln(p.out, m); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(p.out, "\n%d reviews: %d allowed, %d refused", all, all-refused-unread, refused)
	if err == nil && unread > 0 {
		_, err = fmt.Fprintf(p.out, ", %d unreadable", unread)
	}
	if err == nil {
		_, err = fmt.Fprintln(p.out)
	}
	return err
}
