package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/scan"
)

func newCoverage() *cobra.Command {
	var from truthFlags
	var in clusterFlags
	var output, by string
	cmd := &cobra.Command{
		Use:   "coverage --config FILE|DIR",
		Short: "Tell how much of the cluster is in Git, by namespace or kind",
		Long: `Tell how much of the cluster is in Git, by namespace or kind. In Git is what Git declares, also where it drifted, and what
controllers made from it; what Kubernetes makes for itself is not counted.
Exit status: 0 everything is in Git, 1 not everything, 2 usage, 3 could not tell.`,
		Example: "  commitgate coverage --config gate.yaml --kubeconfig ~/.kube/config --by kind",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if by != "namespace" && by != "kind" {
				return usage("--by %s: want namespace or kind", by)
			}
			r, err := runScan(cmd.Context(), from, in, output, nil)
			if err != nil {
				return err
			}
			rows := r.Coverage(map[string]func(scan.Group) string{"namespace": scan.ByNamespace, "kind": scan.ByKind}[by])
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), rows)
			} else {
				err = printCoverage(cmd.OutOrStdout(), rows, by)
			}
			if total := rows[len(rows)-1]; err == nil && len(r.Unread) == 0 {
				if total.Outside > 0 {
					return exit{code: exitNo}
				}
				return nil
			}
			return scanned(r, err)
		},
	}
	from.register(cmd)
	in.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().StringVar(&by, "by", "namespace", "namespace or kind")
	return cmd
}

func printCoverage(w io.Writer, rows []scan.Coverage, by string) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	heading := map[string]string{"namespace": "NAMESPACE", "kind": "KIND"}[by]
	fmt.Fprintf(t, "%s\tIN GIT\tDERIVED\tOUTSIDE\tCOVERED\t\n", heading)
	for _, row := range rows {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.0f%%\t\n", plain(row.Of), row.InGit, row.Derived, row.Outside, row.Percent())
	}
	return t.Flush()
}
