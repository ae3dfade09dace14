package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/seal"
)

func newAuditKeygen() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "keygen NAME",
		Short: "Make a key that signs checkpoints of an audit log, or cosigns those of others",
		Long: `Make an Ed25519 key in the format of signed notes. The secret goes to a new file, the verifier key to
standard output: give it to whoever is to verify the log. NAME is the origin of the log
(gate.example/cluster/pod), or the name of a witness. Use each key for one purpose only.`,
		Example: "  commitgate audit keygen gate.example/prod/gate-0 --out gate-0.key > gate-0.vkey",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usage("--out FILE: where does the secret go?")
			}
			secret, verifier, err := seal.GenerateKey(args[0])
			if err != nil {
				return usage("%w", err)
			}
			f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return usage("%w", err)
			}
			if _, err := fmt.Fprintln(f, secret); err != nil {
				return unknown(errors.Join(err, f.Close()))
			}
			if err := f.Close(); err != nil {
				return unknown(err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), verifier)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file for the secret; it must not exist")
	return cmd
}

func newAuditDigest() *cobra.Command {
	var key, origin, shard, is string
	var object bool
	cmd := &cobra.Command{
		Use:   "digest --key FILE --log ORIGIN --shard SHARD",
		Short: "Make the digest of a value as it stands in the audit log, or test one",
		Long: `Read a value from standard input and print its keyed digest, as records of this log and shard hold it.
With --is, tell whether a digest of a record is that of the value: exit status 0 if it is, 1 if not.
Records never hold values, and their digests say nothing without the key.`,
		Example: `  printf %s "$CANDIDATE" | commitgate audit digest --key digest.key \
    --log gate.example/prod/gate-0 --shard 2026-Q4 --is hmac:1f0c…`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if key == "" || origin == "" || shard == "" {
				return usage("--key, --log and --shard say by which key: all three are needed")
			}
			d, err := audit.LoadDigester(key, origin)
			if err != nil {
				return usage("%w", err)
			}
			value, err := io.ReadAll(cmd.InOrStdin())
			if err != nil {
				return unknown(err)
			}
			sum := d.Sum(shard, bytes.TrimSuffix(value, []byte("\n")))
			if object {
				if sum, err = d.Object(shard, value); err != nil {
					return usage("%w", err)
				}
			}
			if is == "" {
				fmt.Fprintln(cmd.OutOrStdout(), sum)
				return nil
			}
			if sum != is {
				fmt.Fprintln(cmd.OutOrStdout(), "no: the digest is of another value, log or shard")
				return exit{exitNo, nil}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "yes")
			return nil
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "file with the master key of digests")
	cmd.Flags().StringVar(&origin, "log", "", "origin of the log (writer.log of the record)")
	cmd.Flags().StringVar(&shard, "shard", "", "shard of the record (writer.shard)")
	cmd.Flags().StringVar(&is, "is", "", "digest to test")
	cmd.Flags().BoolVar(&object, "object", false, "the value is a Kubernetes object in JSON")
	return cmd
}
