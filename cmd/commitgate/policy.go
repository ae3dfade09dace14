package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/policy"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Test, try and time policies before you push them",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPolicyTest(), newPolicyCheck(), newPolicyEval(), newPolicyBench(), newPolicyLibrary())
	return cmd
}

// disk reads files by the names that a person gives: relative to the working directory, upwards too, or absolute.
type disk struct{}

// Open implements fs.FS, more generously than its contract: suites name files as ../../template.yaml.
func (disk) Open(name string) (fs.File, error) { return os.Open(filepath.FromSlash(name)) }

// folderArg checks that a path on the command line is there, and cleans it.
func folderArg(arg string) (string, error) {
	if _, err := os.Stat(arg); err != nil {
		return "", usage("%w", err)
	}
	return filepath.ToSlash(filepath.Clean(arg)), nil
}

// wrong sorts an error of package policy: what is wrong with the files is told line by line, and is the answer.
func wrong(w io.Writer, err error, code int) error {
	var es policy.Errors
	if !errors.As(err, &es) {
		return unknown(err)
	}
	for _, e := range es {
		if _, err := fmt.Fprintln(w, e.Error()); err != nil {
			return unknown(err)
		}
	}
	return exit{code, nil}
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
