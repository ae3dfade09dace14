package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/snapshot"
)

// differ are the flags and the state of diff.
type differ struct {
	from   truthFlags
	in     clusterFlags
	live   string
	output string

	judge *scan.Judge
	found []objectDiff
}

// objectDiff is one object that is not as Git declares it.
type objectDiff struct {
	findingJSON
	Differences []scan.Difference `json:"differences"`
	entry       *snapshot.Entry
}

func newDiff() *cobra.Command {
	var d differ
	cmd := &cobra.Command{
		Use:   "diff --config FILE|DIR [KIND/NAME]",
		Short: "Show where the cluster differs from Git, field by field",
		Long: `Show where the cluster differs from Git, field by field: what is declared and was changed, what was added to a declared object,
what is missing. What the API server, the agents and the controllers add is no difference. What a Secret holds is never shown.
Exit status: 0 no difference, 1 some, 2 usage, 3 could not tell.`,
		Example: "  commitgate diff --config gate.yaml --kubeconfig ~/.kube/config -n shop deployment/cart\n" +
			"  kubectl get deploy,cm -n shop -o yaml | commitgate diff --config gate.yaml --live -",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.output != "diff" && d.output != "json" {
				return usage("-o %s: want diff or json", d.output)
			}
			if err := d.run(cmd.Context(), cmd.InOrStdin(), args); err != nil {
				return err
			}
			return d.print(cmd.OutOrStdout())
		},
	}
	d.from.register(cmd)
	d.in.register(cmd)
	cmd.Flags().StringVar(&d.live, "live", "", "file with live objects, as kubectl get -o yaml prints them (- is standard input), instead of the cluster")
	cmd.Flags().StringVarP(&d.output, "output", "o", "diff", "diff or json")
	return cmd
}

func (d *differ) run(ctx context.Context, stdin io.Reader, args []string) error {
	if d.live != "" && d.in.kubeconfig != "" {
		return usage("--live and --kubeconfig contradict each other")
	}
	definitions := d.in.definitions
	if d.live != "" {
		definitions = nil
	}
	cfg, truth, err := d.from.truth(ctx, definitions)
	if err != nil {
		return err
	}
	if d.judge, err = newJudge(cfg, truth); err != nil {
		return unknown(err)
	}
	switch {
	case d.live != "":
		return d.file(stdin, args)
	case len(args) == 1:
		return d.one(ctx, cfg, truth, args[0])
	}
	s, err := d.in.scanner(cfg, truth, func(c *scan.Config) { c.Each = d.look })
	if err != nil {
		return unknown(err)
	}
	r, err := s.Once(ctx)
	if err != nil {
		return unknown(err)
	}
	for _, f := range r.Findings {
		if f.State == scan.Missing {
			d.found = append(d.found, objectDiff{newFindingJSON(f), []scan.Difference{}, f.Entry})
		}
	}
	if len(r.Unread) > 0 {
		return scanned(r, nil)
	}
	return nil
}

func newJudge(cfg *v1alpha1.Config, truth *snapshot.Truth) (*scan.Judge, error) {
	builtin, err := account.NewTypes(nil)
	if err != nil {
		return nil, err
	}
	return &scan.Judge{Gate: admit.New(cfg, builtin), Truth: truth.Current, Now: time.Now()}, nil
}

// file compares the objects of a file; with KIND/NAME only that one, which must be in it.
func (d *differ) file(stdin io.Reader, args []string) error {
	objects, err := readObjects(stdin, d.live)
	if err != nil {
		return err
	}
	var only objectArg
	if len(args) == 1 {
		if only, err = parseObjectArg(args[0]); err != nil {
			return err
		}
	}
	looked := false
	for _, o := range objects {
		k := live.KeyOf(o)
		if len(args) == 1 && !only.is(k, d.in.namespace) || d.in.namespace != "" && k.Namespace != d.in.namespace {
			continue
		}
		looked = true
		f, _ := d.judge.Object(o)
		d.look(f, o)
		if len(args) == 1 {
			d.undeclared(f)
		}
	}
	if !looked {
		return usage("%s holds nothing to compare", d.live)
	}
	return nil
}

// one compares one declared object with the live one.
func (d *differ) one(ctx context.Context, cfg *v1alpha1.Config, truth *snapshot.Truth, arg string) error {
	object, err := parseObjectArg(arg)
	if err != nil {
		return err
	}
	e, err := object.find(truth.Current, d.in.namespace)
	if err != nil {
		return err
	}
	s, err := d.in.scanner(cfg, truth, nil)
	if err != nil {
		return unknown(err)
	}
	kind, namespace := object.kind, d.in.namespace
	if e != nil {
		kind, namespace = kindArg(e), e.Namespace
	}
	o, err := s.Get(ctx, kind, namespace, object.name)
	switch {
	case apierrors.IsNotFound(err) && e != nil:
		f := scan.Finding{Key: e.Key, State: scan.Missing, Why: "Git declares it, and it is not there", Entry: e}
		d.found = append(d.found, objectDiff{newFindingJSON(f), []scan.Difference{}, e})
		return nil
	case err != nil:
		return unknown(err)
	}
	f, _ := d.judge.Object(o)
	d.look(f, o)
	d.undeclared(f)
	return nil
}

// kindArg names the kind of a declared object for the API server.
func kindArg(e *snapshot.Entry) string {
	if e.Group == "" {
		return e.Kind
	}
	return e.Kind + "." + e.Group
}

// look keeps what differs of a declared object.
func (d *differ) look(f scan.Finding, object map[string]any) {
	if f.Entry != nil && f.State != scan.InGit {
		d.found = append(d.found, objectDiff{newFindingJSON(f), d.judge.Differences(f.Entry, object), f.Entry})
	}
}

// undeclared keeps an object that was asked for by name and that Git does not declare: all of it differs.
func (d *differ) undeclared(f scan.Finding) {
	if f.Entry == nil {
		f.Why = "Git does not declare it"
		d.found = append(d.found, objectDiff{newFindingJSON(f), []scan.Difference{}, nil})
	}
}

func (d *differ) print(w io.Writer) error {
	slices.SortFunc(d.found, func(a, b objectDiff) int {
		return strings.Compare(a.Namespace+" "+a.Kind+" "+a.Name, b.Namespace+" "+b.Kind+" "+b.Name)
	})
	var err error
	if d.output == "json" {
		if d.found == nil {
			d.found = []objectDiff{}
		}
		err = writeJSON(w, d.found)
	} else {
		f, isFile := w.(*os.File)
		paint := painter(isFile && isTerminal(f))
		for _, o := range d.found {
			err = errors.Join(err, o.print(w, paint))
		}
	}
	if err != nil {
		return unknown(err)
	}
	if len(d.found) > 0 {
		return exit{code: exitNo}
	}
	return nil
}

// print writes the differences as a unified diff with one hunk for each field.
func (o objectDiff) print(w io.Writer, paint func(color, string) string) error {
	var b strings.Builder
	name := o.Kind + " " + o.Name
	if o.Namespace != "" {
		name = o.Kind + " " + o.Namespace + "/" + o.Name
	}
	lived := plain(name)
	if o.State == scan.Missing {
		lived = "(none)"
	} else if o.Manager != "" && o.Time != nil {
		lived += fmt.Sprintf("  last written by %s, %s", plain(o.Manager), o.Time.UTC().Format(time.DateTime))
	}
	declared := "(none)"
	if o.entry != nil {
		declared = plain(declaredIn(o.entry)) + "  " + plain(name)
	}
	fmt.Fprintln(&b, paint(red, "--- Git   "+declared))
	fmt.Fprintln(&b, paint(green, "+++ live  "+lived))
	if len(o.Differences) == 0 {
		fmt.Fprintln(&b, paint(faint, "@@ "+plain(o.Why)+" @@"))
	}
	for _, f := range o.Differences {
		fmt.Fprintln(&b, paint(faint, "@@ "+plain(f.Path)+" @@"))
		if f.Secret {
			fmt.Fprintln(&b, paint(faint, " (the values are secret)"))
			continue
		}
		side(&b, "-", red, f.Git, paint)
		side(&b, "+", green, f.Live, paint)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func side(b *strings.Builder, sign string, c color, v any, paint func(color, string) string) {
	if v == nil {
		return
	}
	for line := range strings.SplitSeq(valueText(v), "\n") {
		fmt.Fprintln(b, paint(c, sign+plain(line)))
	}
}
