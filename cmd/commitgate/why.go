package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/blame"
	"github.com/commitgate/commitgate/live"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/track"
)

// whyFlags are the flags of why.
type whyFlags struct {
	from   truthFlags
	in     clusterFlags
	live   string
	output string
	all    bool
}

func newWhy() *cobra.Command {
	var f whyFlags
	cmd := &cobra.Command{
		Use:   "why --config FILE|DIR KIND/NAME",
		Short: "Tell for each field of a live object which commit, author and signer put it there",
		Long: `Tell for each field of a live object which commit, author and signer put it there: git blame, for a cluster. Fields that Git
does not explain are shown with who says to have written them (managedFields prove nothing). What a Secret holds is never shown.
Exit status: 0 everything is explained, 1 something is not, 2 usage, 3 could not tell.`,
		Example: "  commitgate why --config gate.yaml --kubeconfig ~/.kube/config -n shop deployment/cart -o yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"table", "json", "yaml"}, f.output) {
				return usage("-o %s: want table, json or yaml", f.output)
			}
			arg, err := parseObjectArg(args[0])
			if err != nil {
				return err
			}
			r, object, err := f.blame(cmd.Context(), cmd.InOrStdin(), arg)
			if err != nil {
				return err
			}
			if err := f.print(cmd.OutOrStdout(), r, object); err != nil {
				return unknown(err)
			}
			if r.State.Finding() {
				return exit{code: exitNo}
			}
			return nil
		},
	}
	f.from.register(cmd)
	f.in.register(cmd)
	cmd.Flags().StringVar(&f.live, "live", "", "file with the live object, as kubectl get -o yaml prints it with --show-managed-fields (- is standard input), instead of the cluster")
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table, json, or yaml: the object with its commits beside it")
	cmd.Flags().BoolVar(&f.all, "all", false, "also list what the API server sets by itself and its defaults")
	return cmd
}

func (f *whyFlags) blame(ctx context.Context, stdin io.Reader, arg objectArg) (*blame.Report, map[string]any, error) {
	if f.live != "" && f.in.kubeconfig != "" {
		return nil, nil, usage("--live and --kubeconfig contradict each other")
	}
	cfg, at, err := f.from.load()
	if err != nil {
		return nil, nil, err
	}
	if f.live == "" {
		if at.CRDs, err = f.in.definitions(ctx); err != nil {
			return nil, nil, unknown(err)
		}
	}
	past, err := track.OpenPast(ctx, at)
	if err != nil {
		return nil, nil, notTrue(err)
	}
	defer past.Close() // for reading: there is nothing to lose
	judge, err := newJudge(cfg, past.Truth())
	if err != nil {
		return nil, nil, unknown(err)
	}
	var object map[string]any
	if f.live != "" {
		object, err = f.fromFile(stdin, arg)
	} else {
		var s *scan.Scanner
		if s, err = f.in.scanner(cfg, past.Truth(), nil); err != nil {
			return nil, nil, unknown(err)
		}
		object, err = f.fromCluster(ctx, s, judge, arg)
	}
	if err != nil {
		return nil, nil, err
	}
	r, err := blame.Object(ctx, past, judge, object)
	if err != nil {
		return nil, nil, unknown(err)
	}
	return r, object, nil
}

func (f *whyFlags) fromFile(stdin io.Reader, arg objectArg) (map[string]any, error) {
	objects, err := readObjects(stdin, f.live)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if arg.is(live.KeyOf(o), f.in.namespace) {
			return o, nil
		}
	}
	return nil, usage("%s holds no %s/%s", f.live, arg.kind, arg.name)
}

// fromCluster reads the object by what Git calls it, else by what the API server does.
func (f *whyFlags) fromCluster(ctx context.Context, s *scan.Scanner, judge *scan.Judge, arg objectArg) (map[string]any, error) {
	e, err := arg.find(judge.Truth, f.in.namespace)
	if err != nil {
		return nil, err
	}
	kind, namespace := arg.kind, cmp.Or(f.in.namespace, "default")
	if e != nil {
		kind, namespace = kindArg(e), e.Namespace
	}
	o, err := s.Get(ctx, kind, namespace, arg.name)
	if apierrors.IsNotFound(err) && e != nil {
		return nil, exit{exitNo, fmt.Errorf("%s is not there; Git declares it: %s", e.Key, declaredIn(e))}
	}
	if err != nil {
		return nil, unknown(err)
	}
	return o, nil
}

func (f *whyFlags) print(w io.Writer, r *blame.Report, object map[string]any) error {
	file, isFile := w.(*os.File)
	paint := painter(isFile && isTerminal(file))
	switch f.output {
	case "json":
		return writeJSON(w, newWhyJSON(r))
	case "yaml":
		return printGutter(w, r, object, paint)
	}
	return f.table(w, r)
}

// headline says how the object as a whole stands to Git.
func headline(r *blame.Report) string {
	switch {
	case r.Entry != nil && r.State == scan.InGit:
		return fmt.Sprintf("%s is as Git declares it: %s", r.Key, declaredIn(r.Entry))
	case r.Entry != nil:
		return fmt.Sprintf("%s is declared in %s; %s", r.Key, declaredIn(r.Entry), r.Why)
	case r.Owner != nil:
		return fmt.Sprintf("%s is not declared in Git; it says that %s made it: ask for that", r.Key, r.Owner.Key)
	}
	return fmt.Sprintf("%s is not declared in Git: %s", r.Key, r.Why)
}

func (f *whyFlags) table(w io.Writer, r *blame.Report) error {
	if _, err := fmt.Fprintln(w, plain(headline(r))); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "FIELD\tWHY\tCOMMIT\tDATE\tBY")
	hidden := 0
	for _, field := range r.Fields {
		if !f.all && (field.Why == account.Server || field.Why == account.Default) {
			hidden++
			continue
		}
		commit, date, by := origin(field)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", plain(field.Path), reason(field), commit, date, plain(by))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if hidden > 0 {
		_, err := fmt.Fprintf(w, "and %d that the API server sets or adds by default (--all)\n", hidden)
		return err
	}
	return nil
}

// reason is a field's reason in one word.
func reason(f blame.Field) string {
	switch {
	case f.Missing:
		return "missing"
	case f.Changed:
		return "changed"
	case f.Why == "":
		return "added"
	}
	return string(f.Why)
}

// origin is who put a field there, as far as anybody can tell: commit, date and signer from Git, else what the object says of itself.
func origin(f blame.Field) (commit, date, by string) {
	if c := f.Version.Commit; c != nil && (f.FromGit() || f.Missing) {
		commit, by = c.ID.Short(), c.Author.Name
		if f.Version.Anchor {
			commit = "^" + commit // as git blame marks a boundary
		}
		if names := principals(f.Version.Signatures); len(names) > 0 {
			by += ", signed by " + strings.Join(names, ", ")
		}
		return commit, c.Author.When.UTC().Format(time.DateOnly), by
	}
	if f.Manager != "" {
		return "-", f.Time.UTC().Format(time.DateOnly), "says " + f.Manager
	}
	return "-", "-", "-"
}

// principals are those who signed, each once.
func principals(signatures []signing.Signature) []string {
	var names []string
	for _, s := range signatures {
		if s.Principal != "" && !slices.Contains(names, string(s.Principal)) {
			names = append(names, string(s.Principal))
		}
	}
	return names
}

type whyJSON struct {
	Object string         `json:"object"`
	State  scan.State     `json:"state"`
	Why    string         `json:"why,omitempty"`
	Owner  string         `json:"owner,omitempty"`
	Fields []whyFieldJSON `json:"fields"`
}

type whyFieldJSON struct {
	Path       string     `json:"path"`
	Reason     string     `json:"reason"`
	Value      any        `json:"value,omitempty"`
	Declared   any        `json:"declared,omitempty"`
	Secret     bool       `json:"secret,omitempty"`
	Repository string     `json:"repository,omitempty"`
	File       string     `json:"file,omitempty"`
	Base       string     `json:"base,omitempty"` // where it stands in another repository, of which the file names a commit
	Commit     string     `json:"commit,omitempty"`
	Anchor     bool       `json:"anchor,omitempty"` // the commit or one before it
	Author     string     `json:"author,omitempty"`
	Date       *time.Time `json:"date,omitempty"` // as the commit says
	Signers    []string   `json:"signers,omitempty"`
	Manager    string     `json:"manager,omitempty"`
	Time       *time.Time `json:"time,omitempty"`
}

func newWhyJSON(r *blame.Report) whyJSON {
	out := whyJSON{Object: r.Key.String(), State: r.State, Why: r.Why, Fields: []whyFieldJSON{}}
	if r.Owner != nil {
		out.Owner = r.Owner.Key.String()
	}
	for _, f := range r.Fields {
		j := whyFieldJSON{Path: f.Path, Reason: reason(f), Value: f.Value, Declared: f.Declared, Secret: f.Secret, Manager: f.Manager}
		if c := f.Version.Commit; c != nil {
			when := c.Author.When.UTC()
			j.Repository, j.File = f.Version.Object.Source.Repository, string(f.Version.Object.Source.Path)
			j.Base = f.Version.Object.Source.Base.String()
			j.Commit, j.Anchor, j.Author, j.Date, j.Signers = string(c.ID), f.Version.Anchor, c.Author.Name+" <"+c.Author.Email+">", &when, principals(f.Version.Signatures)
		}
		if !f.Time.IsZero() {
			at := f.Time.UTC()
			j.Time = &at
		}
		out.Fields = append(out.Fields, j)
	}
	return out
}

// gutter prints an object as YAML with the origin of each field beside it.
type gutter struct {
	w      io.Writer
	paint  func(color, string) string
	fields map[string]blame.Field // by the way to them
	lines  []gutterLine
}

type gutterLine struct {
	origin string
	color  color
	text   string
}

func printGutter(w io.Writer, r *blame.Report, object map[string]any, paint func(color, string) string) error {
	g := &gutter{w: w, paint: paint, fields: make(map[string]blame.Field)}
	for _, f := range r.Fields {
		if _, way, ok := account.Locate(object, f.Path); ok {
			g.fields[wayKey(way)] = f
		}
	}
	g.fieldsOf(object, nil, "", "")
	for _, f := range r.Fields {
		if f.Missing {
			g.add(f, "# missing: "+f.Path)
		}
	}
	width := 0
	for _, l := range g.lines {
		width = max(width, len([]rune(l.origin)))
	}
	var errs []error
	for _, l := range g.lines {
		_, err := fmt.Fprintln(w, paint(l.color, fmt.Sprintf("%-*s", width, l.origin))+" | "+l.text)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func wayKey(way []any) string {
	var b strings.Builder
	for _, step := range way {
		fmt.Fprintf(&b, "%v\x00", step)
	}
	return b.String()
}

// field is what is known of a value, or of one around it that was accounted for as a whole.
func (g *gutter) field(way []any) blame.Field {
	for n := len(way); n > 0; n-- {
		if f, ok := g.fields[wayKey(way[:n])]; ok {
			return f
		}
	}
	return blame.Field{}
}

func (g *gutter) add(f blame.Field, text string) {
	l := gutterLine{text: plain(text), color: faint}
	switch commit, date, by := origin(f); {
	case f.FromGit():
		l.origin, l.color = commit+" "+date+" "+by, green
	case f.Missing:
		l.origin, l.color = commit+" "+date+" "+by, red
	case f.Path == "":
	case f.Why != "":
		l.origin = string(f.Why)
	default:
		l.origin, l.color = strings.TrimSpace(reason(f)+" "+strings.Trim(date+" "+by, "- ")), red
	}
	l.origin = plain(l.origin)
	g.lines = append(g.lines, l)
}

// fieldsOf prints the fields of a map; first stands before the first of them, where the map is an item of a list.
func (g *gutter) fieldsOf(m map[string]any, way []any, indent, first string) {
	names := make([]string, 0, len(m))
	for name := range m {
		if len(way) == 1 && way[0] == "metadata" && name == "managedFields" {
			continue
		}
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(way, a), rank(way, b)), cmp.Compare(a, b)) })
	for i, name := range names {
		before := indent
		if i == 0 && first != "" {
			before = first
		}
		g.value(m[name], append(slices.Clip(way), name), indent, before+keyText(name)+":")
	}
}

// rank puts what names an object first, as everybody writes it.
func rank(way []any, name string) int {
	if len(way) == 0 {
		if i := slices.Index([]string{"apiVersion", "kind", "metadata"}, name); i >= 0 {
			return i
		}
	}
	return 9
}

func keyText(name string) string { return valueText(name) }

// value prints what stands behind a key or a dash.
func (g *gutter) value(v any, way []any, indent, head string) {
	f := g.field(way)
	if f.Secret {
		g.add(f, head+" (secret)")
		return
	}
	switch x := v.(type) {
	case map[string]any:
		if len(x) > 0 {
			g.add(f, head)
			g.fieldsOf(x, way, indent+"  ", "")
			return
		}
	case []any:
		if len(x) > 0 {
			g.add(f, head)
			for i, item := range x {
				g.item(item, append(slices.Clip(way), i), indent)
			}
			return
		}
	}
	for i, line := range strings.Split(valueText(v), "\n") {
		if i == 0 {
			g.add(f, head+" "+line)
		} else {
			g.add(f, indent+"  "+line)
		}
	}
}

func (g *gutter) item(v any, way []any, indent string) {
	if m, ok := v.(map[string]any); ok && len(m) > 0 {
		g.fieldsOf(m, way, indent+"  ", indent+"- ")
		return
	}
	g.value(v, way, indent, indent+"-")
}
