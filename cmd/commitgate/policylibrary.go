package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/policy/library"
)

func newPolicyLibrary() *cobra.Command {
	var to, output string
	cmd := &cobra.Command{
		Use:   "library [RULE...]",
		Short: "List ready-made rules, or copy some of them into a policy folder",
		Long: `List the rules that come along, or copy the named ones with their tests into a folder.

Each has its settings in a file settings.rego. Settings that are there already are kept; a rule
or a test that is there already is replaced only with --update.

Exit status: 0 done, 2 usage or files in the way, 3 could not tell.`,
		Example: "  commitgate policy library four_eyes image_digest --to policies/",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case output != "table" && output != "json":
				return usage("-o %s: want table or json", output)
			case len(args) > 0 && to == "":
				return usage("--to is missing: the folder to copy %s to", strings.Join(args, ", "))
			case len(args) == 0 && to != "":
				return usage("name the rules to copy; commitgate policy library lists them")
			case len(args) == 0:
				return printLibrary(cmd.OutOrStdout(), output)
			}
			update, err := cmd.Flags().GetBool("update")
			if err != nil {
				return usage("%w", err)
			}
			return copyRules(cmd.OutOrStdout(), args, to, update)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "policy folder to copy to")
	cmd.Flags().Bool("update", false, "replace rules and tests that are there already; settings are kept")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func printLibrary(w io.Writer, output string) error {
	rules, err := library.Rules()
	if err != nil {
		return unknown(err)
	}
	if output == "json" {
		if err := writeJSON(w, rules); err != nil {
			return unknown(err)
		}
		return nil
	}
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "%-16s %s (%s)\n", r.Name, r.Title, strings.Join(r.Controls, ", "))
		for line := range strings.Lines(r.Description) {
			fmt.Fprintf(&b, "    %s\n", strings.TrimSpace(line))
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return unknown(err)
	}
	return nil
}

// copyRules writes nothing if one file is in the way.
func copyRules(w io.Writer, names []string, to string, update bool) error {
	files, err := library.Files(names...)
	if err != nil {
		return usage("%w", err)
	}
	var write []string
	for _, name := range files {
		want, err := fs.ReadFile(library.FS(), name)
		if err != nil {
			return unknown(err)
		}
		have, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			write = append(write, name)
		case err != nil:
			return usage("%w", err)
		case bytes.Equal(have, want) || path.Base(name) == "settings.rego":
		case !update:
			return usage("%s is there already and differs; --update replaces it", filepath.Join(to, filepath.FromSlash(name)))
		default:
			write = append(write, name)
		}
	}
	for _, name := range write {
		if err := copyRule(w, name, to); err != nil {
			return err
		}
	}
	return nil
}

func copyRule(w io.Writer, name, to string) error {
	text, err := fs.ReadFile(library.FS(), name)
	if err != nil {
		return unknown(err)
	}
	file := filepath.Join(to, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		return usage("%w", err)
	}
	if err := os.WriteFile(file, text, 0o666); err != nil {
		return usage("%w", err)
	}
	if _, err := fmt.Fprintln(w, file); err != nil {
		return unknown(err)
	}
	return nil
}
