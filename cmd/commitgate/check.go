package main

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/check"
)

func newCheck() *cobra.Command {
	var from truthFlags
	var bases []string
	var output string
	var uncommitted bool
	cmd := &cobra.Command{
		Use:   "check --config FILE|DIR [--base REV]",
		Short: "Tell before a push what the gate would make of it",
		Long: `Check a revision (HEAD, if --revision names none) as the gate would: who signed its commits, whether it renders, which objects
it changes, and what the policies say of each. No cluster is needed; what the API server adds to an object is not known here.
With --base, what is there is vouched for, and only what comes on top of it is judged: the target of a pull request.
Exit status: 0 the gate would take it, 1 it would not, 2 usage, 3 could not tell.`,
		Example: "  commitgate check --config gate.yaml --base origin/main -o sarif > commitgate.sarif",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, err := reportWriter(output)
			if err != nil {
				return err
			}
			cfg, at, err := from.load()
			if err != nil {
				return err
			}
			base, err := baseRevisions(cfg, bases)
			if err != nil {
				return err
			}
			options := check.Options{At: at, Base: base}
			if uncommitted {
				done, err := withWorkTrees(cmd.Context(), &options)
				if err != nil {
					return unknown(err)
				}
				defer done()
			}
			report, err := check.Check(cmd.Context(), options)
			if err != nil {
				return unknown(err)
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			if err := write(report, out); err != nil {
				return unknown(err)
			}
			if err := out.Flush(); err != nil {
				return unknown(err)
			}
			if !report.Allowed() {
				return exit{code: exitNo}
			}
			return nil
		},
	}
	from.register(cmd)
	cmd.Flags().StringArrayVar(&bases, "base", nil, "REV, or NAME=REV of one of several repositories: vouched for, and what is compared with")
	cmd.Flags().BoolVar(&uncommitted, "uncommitted", false, "check the files of the work trees as they are, committed or not; signatures are not asked for, and the base is HEAD if none is named")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json, sarif or junit")
	return cmd
}

// withWorkTrees puts what the work trees hold in the place of the revisions. done removes what was made for that.
func withWorkTrees(ctx context.Context, o *check.Options) (done func(), err error) {
	var all []*check.Uncommitted
	done = func() {
		for _, u := range all {
			_ = u.Close() // temporary files
		}
	}
	o.At.Vouch = true
	o.At.Revisions = maps.Clone(o.At.Revisions)
	if o.At.Revisions == nil {
		o.At.Revisions = make(map[string]string)
	}
	for _, r := range o.At.Repositories {
		path := o.At.Paths[r.Name]
		if _, err := os.Stat(filepath.Join(path, ".git")); path == "" || err != nil || o.At.Revisions[r.Name] != "" {
			continue // a bundle, a bare repository, or a revision that was asked for
		}
		u, err := check.Commit(ctx, path)
		if err != nil {
			done()
			return nil, err
		}
		all = append(all, u)
		o.At.Paths[r.Name], o.At.Revisions[r.Name] = u.Path, string(u.Commit)
		o.Base[r.Name] = cmp.Or(o.Base[r.Name], "HEAD")
	}
	return done, nil
}

func reportWriter(output string) (func(*check.Report, io.Writer) error, error) {
	switch output {
	case "table":
		return (*check.Report).WriteTable, nil
	case "json":
		return (*check.Report).WriteJSON, nil
	case "sarif":
		return (*check.Report).WriteSARIF, nil
	case "junit":
		return (*check.Report).WriteJUnit, nil
	}
	return nil, usage("-o %s: want table, json, sarif or junit", output)
}

// baseRevisions reads --base.
func baseRevisions(cfg *v1alpha1.Config, bases []string) (map[string]string, error) {
	out := map[string]string{}
	for _, b := range bases {
		name, rev, named := strings.Cut(b, "=")
		switch {
		case !named && len(cfg.Repositories) == 1:
			name, rev = cfg.Repositories[0].Name, b
		case !named:
			return nil, usage("--base %s: there are %d repositories: say which, as NAME=REV", b, len(cfg.Repositories))
		case cfg.Repository(name) == nil:
			return nil, usage("--base %s: the configuration has no TrustedRepository of this name", b)
		}
		out[name] = rev
	}
	return out, nil
}
