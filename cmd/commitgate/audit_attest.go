package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/attest"
	"github.com/commitgate/commitgate/audit/export"
)

func newAuditAttest() *cobra.Command {
	var f recordFilter
	var key, out string
	var urls []string
	cmd := &cobra.Command{
		Use:   "attest DIR... --key KEY --url REPOSITORY=URL --out DIR",
		Short: "Sign a SLSA verification summary for each revision that was published or refused",
		Long: `Write an in-toto statement with a SLSA verification summary (VSA v1) for each revision that audit logs tell of,
signed as a DSSE envelope: OUT/COMMIT.RESULT.intoto.json, where RESULT is passed or failed.

KEY is an unencrypted private key in PEM, or one of a KMS; not the key that seals the log.`,
		Example: `  openssl genpkey -algorithm ed25519 -out attest.pem
  commitgate audit attest /logs/gate-0 --key attest.pem --url shop=https://git.example/shop.git --out vsa`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" || out == "" {
				return usage("--key and --out are needed")
			}
			signer, err := attest.LoadSigner(cmd.Context(), key)
			if err != nil {
				return usage("--key: %w", err)
			}
			filter, err := f.parse()
			if err != nil {
				return err
			}
			filter.Types = []audit.Type{audit.TypePublished, audit.TypeRefused}
			logs, err := openLogs(args, filter)
			if err != nil {
				return err
			}
			a := attester{signer: signer, out: out, repositories: map[string]string{}, written: map[string]bool{}}
			for _, u := range urls {
				name, url, ok := strings.Cut(u, "=")
				if !ok {
					return usage("--url %s: want REPOSITORY=URL", u)
				}
				a.repositories[name] = url
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return usage("--out: %w", err)
			}
			_, err = export.Write(cmd.Context(), io.Discard, logs, filter, export.Discard{}, a.take)
			if a.err != nil {
				return a.err
			}
			if err != nil {
				return unknown(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d statements in %s\n", len(a.written), out)
			return nil
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&key, "key", "", "private key in PEM, or a KMS reference")
	cmd.Flags().StringVar(&out, "out", "", "folder for the statements")
	cmd.Flags().StringArrayVar(&urls, "url", nil, "REPOSITORY=URL of a repository that the log names")
	return cmd
}

// attester writes a statement for each revision.
type attester struct {
	signer       signature.Signer
	out          string
	repositories map[string]string // URLs
	written      map[string]bool   // names of files
	err          error             // the first one; nothing is written after it
}

// take attests one record. Replicas tell of the same revision: the first one counts.
func (a *attester) take(r *audit.Record) {
	if a.err != nil || r.Origin == nil {
		return
	}
	url := a.repositories[r.Origin.Repository]
	if url == "" {
		a.err = usage("repository %q: say where it is with --url %[1]s=URL", plain(r.Origin.Repository))
		return
	}
	s, err := attest.New(r, url)
	if errors.Is(err, attest.ErrNoRevision) {
		return
	}
	name := fmt.Sprintf("%s.%s.intoto.json", filepath.Base(string(r.Origin.Revision)), strings.ToLower(s.Predicate.VerificationResult))
	if a.written[name] {
		return
	}
	a.written[name] = true
	envelope, err := attest.Sign(s, a.signer)
	if err == nil {
		err = os.WriteFile(filepath.Join(a.out, name), append(bytes.TrimSpace(envelope), '\n'), 0o644)
	}
	if err != nil {
		a.err = unknown(err)
	}
}
