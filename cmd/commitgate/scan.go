package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/snapshot"
)

// clusterFlags say which cluster a tool looks at.
type clusterFlags struct {
	kubeconfig string
	namespace  string
}

func (f *clusterFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "file that says how to reach the cluster (default from within it)")
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "only this namespace")
}

// definitions are the CustomResourceDefinitions of the cluster, by which the gate compares the fields of kinds that Git does not define. Who may not list
// them goes on without: what the API server defaults by them then differs from Git.
func (f *clusterFlags) definitions(ctx context.Context) ([]map[string]any, error) {
	cluster, err := restConfig(f.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	client, err := dynamic.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	list, err := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("definitions of kinds: %w", err)
	}
	var out []map[string]any
	for i := range list.Items {
		out = append(out, list.Items[i].Object)
	}
	return out, nil
}

func (f *clusterFlags) scanner(cfg *v1alpha1.Config, truth *snapshot.Truth, change func(*scan.Config)) (*scan.Scanner, error) {
	cluster, err := restConfig(f.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	builtin, err := account.NewTypes(nil)
	if err != nil {
		return nil, err
	}
	judge := admit.New(cfg, builtin)
	c := scan.Config{Cluster: cluster, Gate: func() *admit.Gate { return judge }, Truth: func() *snapshot.Truth { return truth }, Namespace: f.namespace}
	if change != nil {
		change(&c)
	}
	return scan.New(c)
}

func newScan() *cobra.Command {
	var from truthFlags
	var in clusterFlags
	var output string
	var report bool
	cmd := &cobra.Command{
		Use:   "scan --config FILE|DIR",
		Short: "Compare everything in the cluster with Git",
		Long: `Compare everything in the cluster with Git: what nothing in Git explains, what differs from Git, what Git declares
and is missing, what two owners claim. It only lists; nothing is changed but the reports that --report writes.
Exit status: 0 nothing found, 1 something was, 2 usage, 3 could not tell (also of a part of the cluster).`,
		Example: "  commitgate scan --config gate.yaml --kubeconfig ~/.kube/config --repository infra=../infra",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := runScan(cmd.Context(), from, in, output, func(c *scan.Config) { c.Reports = report })
			if err != nil {
				return err
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), scanJSON(r))
			} else {
				err = printScan(cmd.OutOrStdout(), r)
			}
			return scanned(r, err)
		},
	}
	from.register(cmd)
	in.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().BoolVar(&report, "report", false, "also write the results as OpenReports, where the cluster has them")
	return cmd
}

func runScan(ctx context.Context, from truthFlags, in clusterFlags, output string, change func(*scan.Config)) (*scan.Result, error) {
	if output != "table" && output != "json" {
		return nil, usage("-o %s: want table or json", output)
	}
	cfg, truth, err := from.truth(ctx, in.definitions)
	if err != nil {
		return nil, err
	}
	s, err := in.scanner(cfg, truth, change)
	if err != nil {
		return nil, unknown(err)
	}
	r, err := s.Once(ctx)
	if err != nil {
		return nil, unknown(err)
	}
	return r, nil
}

// scanned is the exit status of a scan.
func scanned(r *scan.Result, err error) error {
	switch {
	case err != nil:
		return unknown(err)
	case len(r.Unread) > 0:
		var kinds []error
		for _, kind := range slices.Sorted(maps.Keys(r.Unread)) {
			kinds = append(kinds, fmt.Errorf("%s could not be read: %s", kind, r.Unread[kind]))
		}
		return unknown(errors.Join(kinds...))
	case !r.Clean():
		return exit{code: exitNo}
	}
	return nil
}

func printScan(w io.Writer, r *scan.Result) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	if len(r.Findings) > 0 {
		fmt.Fprintln(t, "STATE\tOBJECT\tWHY")
	}
	for _, f := range r.Findings {
		why := f.Why
		if f.Entry != nil {
			why += ": " + declaredIn(f.Entry)
		}
		if f.Manager != "" {
			why += fmt.Sprintf("; last written by %s, %s", f.Manager, f.Time.UTC().Format(time.DateTime))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.State, plain(f.Key.String()), plain(why))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.Omitted > 0 {
		fmt.Fprintf(w, "and %d more\n", r.Omitted)
	}
	_, err := fmt.Fprintln(w, summary(r))
	return err
}

// summary is one line: how much of the cluster is in Git.
func summary(r *scan.Result) string {
	live := 0
	var parts []string
	for _, s := range scan.States() {
		n := r.Count(s)
		if s != scan.Missing {
			live += n
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return fmt.Sprintf("%d objects: %s", live, strings.Join(parts, ", "))
}

// declaredIn is where a declaration stands and who last changed it: infra:apps/shop/cart.yaml @ 3f2c1d9 (alice@example.org).
func declaredIn(e *snapshot.Entry) string {
	from := e.Source.Base.String()
	if from != "" {
		from = ", from " + from
	}
	return fmt.Sprintf("%s:%s @ %s%s%s", e.Source.Repository, e.Source.Path, e.Changed.ID.Short(), signedBy(e), from)
}

func signedBy(e *snapshot.Entry) string {
	names := principals(e.Signatures)
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// findingJSON is one line of `scan -o json`.
type findingJSON struct {
	State      scan.State `json:"state"`
	Group      string     `json:"group,omitempty"`
	Kind       string     `json:"kind"`
	Namespace  string     `json:"namespace,omitempty"`
	Name       string     `json:"name"`
	Why        string     `json:"why"`
	Fields     []string   `json:"fields,omitempty"`
	Repository string     `json:"repository,omitempty"`
	Path       string     `json:"path,omitempty"`
	Commit     string     `json:"commit,omitempty"`
	Signers    []string   `json:"signers,omitempty"`
	Manager    string     `json:"manager,omitempty"`
	Time       *time.Time `json:"time,omitempty"`
}

func newFindingJSON(f scan.Finding) findingJSON {
	out := findingJSON{State: f.State, Group: f.Group, Kind: f.Kind, Namespace: f.Namespace, Name: f.Name, Why: f.Why, Fields: f.Fields, Manager: f.Manager}
	if e := f.Entry; e != nil {
		out.Repository, out.Path, out.Commit = e.Source.Repository, string(e.Source.Path), string(e.Changed.ID)
		out.Signers = principals(e.Signatures)
	}
	if !f.Time.IsZero() {
		out.Time = &f.Time
	}
	return out
}

type countJSON struct {
	Namespace string     `json:"namespace"`
	Group     string     `json:"group"`
	Kind      string     `json:"kind"`
	State     scan.State `json:"state"`
	Objects   int        `json:"objects"`
}

func scanJSON(r *scan.Result) any {
	findings := make([]findingJSON, len(r.Findings))
	for i, f := range r.Findings {
		findings[i] = newFindingJSON(f)
	}
	return struct {
		Began     time.Time         `json:"began"`
		Ended     time.Time         `json:"ended"`
		Revisions any               `json:"revisions"`
		Counts    []countJSON       `json:"counts"`
		Findings  []findingJSON     `json:"findings"`
		Omitted   int               `json:"omitted"`
		Unread    map[string]string `json:"unread"`
	}{r.Began, r.Ended, r.Revisions, counts(r), findings, r.Omitted, r.Unread}
}

func counts(r *scan.Result) []countJSON {
	out := make([]countJSON, 0, len(r.Counts))
	for g, n := range r.Counts {
		out = append(out, countJSON{g.Namespace, g.APIGroup, g.Kind, g.State, n})
	}
	slices.SortFunc(out, func(a, b countJSON) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.State, b.State))
	})
	return out
}
