package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/verify"
)

func newTrust() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Read and change the signer list that a repository keeps",
	}
	cmd.AddCommand(newTrustShow(), newTrustRotate())
	return cmd
}

func newTrustShow() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Show the keys of a signer list, and check it",
		Long: `Show whose signatures a signer list accepts: a document of kind SignerList (.yaml, .yml, .json), or else
OpenSSH allowed_signers.

Exit status: 0 the list can be used, 1 it cannot, 2 usage.`,
		Example: "  commitgate trust show signers.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usage("-o %s: want table or json", output)
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return usage("%w", err)
			}
			keys, err := signing.DescribeList(git.Path(filepath.Base(args[0])), data)
			if err != nil {
				return exit{exitNo, fmt.Errorf("%s: %w", args[0], err)}
			}
			if err := printKeys(cmd.OutOrStdout(), output, keys); err != nil {
				return unknown(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func printKeys(w io.Writer, output string, keys []signing.Key) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(keys)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PRINCIPAL\tKIND\tKEY\tENDS\tNOTE")
	for _, k := range keys {
		ends := "never"
		if !k.Ends.IsZero() {
			ends = k.Ends.UTC().Format(time.DateOnly)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", k.Principal, k.Kind, k.Key, ends, k.Note)
	}
	return t.Flush()
}

func newTrustRotate() *cobra.Command {
	var ssh, openpgp string
	var r verify.Rotation
	cmd := &cobra.Command{
		Use:   "rotate FILE",
		Short: "Give a signer another key in a signer list",
		Long: `Replace the keys of one signer in a document of kind SignerList; the rest of the file stays as it is.
The change itself must be signed by keys that the list had before.

Exit status: 0 changed, 2 usage or a list that could not be used.`,
		Example: "  commitgate trust rotate signers.yaml --principal ada@example.org --ssh ~/.ssh/new.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Principal == "" || (ssh == "") == (openpgp == "") {
				return usage("want --principal and one of --ssh and --openpgp")
			}
			if err := rotate(args[0], ssh, openpgp, r); err != nil {
				if errors.Is(err, verify.ErrRequest) {
					return usage("%w", err)
				}
				return unknown(err)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s has %s's new key. Commit it on a branch, signed with a key that the list had before, and\n"+
				"have somebody else merge it (git merge --no-ff -S). The new key signs from the next commit on.\n", args[0], r.Principal)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Principal, "principal", "", "whose key changes (required)")
	f.StringVar(&ssh, "ssh", "", "file with the new SSH public key")
	f.StringVar(&openpgp, "openpgp", "", "file with the new OpenPGP public key, ASCII-armoured")
	f.BoolVar(&r.Keep, "keep", false, "keep the old keys of this kind, too")
	return cmd
}

func rotate(file, ssh, openpgp string, r verify.Rotation) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%w: %w", verify.ErrRequest, err)
	}
	for from, to := range map[string]*string{ssh: &r.SSH, openpgp: &r.OpenPGP} {
		if from == "" {
			continue
		}
		key, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("%w: %w", verify.ErrRequest, err)
		}
		*to = string(key)
	}
	r.SSH = strings.TrimSpace(r.SSH)
	changed, err := verify.Rotate(git.Path(filepath.Base(file)), data, r)
	if err != nil {
		return err
	}
	return os.WriteFile(file, changed, 0o644)
}
