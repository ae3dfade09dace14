package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func newBugreport() *cobra.Command {
	var in installationFlags
	var out string
	cmd := &cobra.Command{
		Use:   "bugreport",
		Short: "Collect what a report of a defect needs, without secrets",
		Long: `Collect what a report of a defect needs into one file: versions, what doctor finds, status, metrics and logs of the replicas, and the objects of the
installation. Secrets are not read; values of environment variables and what looks like a credential are taken out. missing.txt says what could not be
had. Look through it before you pass it on: names of objects, users and repositories are in it.
Exit status: 0 written, 2 usage, 3 not written.`,
		Example: "  kubectl commitgate bugreport --as $USER --as-group commitgate:admins --as-group system:masters",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := in.doctor()
			if err != nil {
				return err
			}
			if out == "" {
				out = "commitgate-bugreport-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			}
			file, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return usage("%w", err)
			}
			if err := errors.Join(d.Bundle(cmd.Context(), file, version()), file.Close()); err != nil {
				return unknown(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), out)
			return err
		},
	}
	in.register(cmd)
	cmd.Flags().StringVar(&out, "out", "", "file to write, which must not exist (default commitgate-bugreport-TIME.tar.gz)")
	return cmd
}
