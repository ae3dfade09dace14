package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/verify"
)

func newInit() *cobra.Command {
	var branch, keys string
	cmd := &cobra.Command{
		Use:   "init [PATH|URL]",
		Short: "Write a first signer list from what a history is signed with",
		Long: `Write a document of kind SignerList to standard output: who signed the commits of a branch, and with
what. It is for a person to prune, because the names are what the commits say. SSH, X.509 and gitsign
signatures bring their keys or identities; for OpenPGP give the public keys.

Exit status: 0 written, 2 usage, 3 the history cannot be read.`,
		Example: "  commitgate init --openpgp-keys keys.asc > signers.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			where := "."
			if len(args) == 1 {
				where = args[0]
			}
			var public []byte
			if keys != "" {
				var err error
				if public, err = os.ReadFile(keys); err != nil {
					return usage("%w", err)
				}
			}
			text, err := verify.FirstList(cmd.Context(), where, branch, public)
			if errors.Is(err, verify.ErrRequest) {
				return usage("%w", err)
			}
			if err != nil {
				return unknown(err)
			}
			if _, err := fmt.Fprint(cmd.OutOrStdout(), text); err != nil {
				return unknown(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&branch, "branch", "", "branch to read (default HEAD)")
	cmd.Flags().StringVar(&keys, "openpgp-keys", "", "file of OpenPGP public keys (gpg --export)")
	return cmd
}
