package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/signing"
	"github.com/commitgate/commitgate/track"
	"github.com/commitgate/commitgate/verify"
)

func newVerify() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [PATH|URL]",
		Short: "Check who signed a branch, as the gate would",
		Long: `Check each commit of a branch's first-parent line, from the anchor on: who signed it, and whether
that was enough for what it changes. No cluster is needed. PATH is a clone, a bare repository or a
bundle (default: where you are).

Signers come from --config (a TrustedRepository), or from files in the formats of ssh-keygen and gpg.
A pre-push hook gives --anchor origin/main: what is there is vouched for, what you push is judged.

Exit status: 0 all good, 1 something is not and was named, 2 usage, 3 could not tell.`,
		Example: "  commitgate verify --config gate.yaml --anchor origin/main\n  commitgate verify --allowed-signers .allowed_signers --summary",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(args, cmd.ErrOrStderr())
			if err != nil {
				return usage("%w", err)
			}
			report, err := verify.Verify(cmd.Context(), o)
			if f.bar != nil {
				f.bar.end()
			}
			switch {
			case errors.Is(err, verify.ErrRequest):
				return usage("%w", err)
			case errors.Is(err, signing.ErrNotDescendant), errors.Is(err, signing.ErrAnchor):
				return exit{exitNo, err}
			case err != nil:
				return unknown(err)
			}
			if err := f.print(cmd.OutOrStdout(), report); err != nil {
				return unknown(err)
			}
			if report.Refused > 0 {
				return exit{exitNo, nil}
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}

// verifyFlags are the flags of `verify`.
type verifyFlags struct {
	config, repository          string
	allowedSigners, openpgpKeys string
	trustedRoot                 string
	identities                  []string
	anchor, branch, explain, at string
	output                      string
	summary, commits            bool
	full                        bool
	bar                         *progressBar
}

func (f *verifyFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "file or folder with a TrustedRepository: signers, rules, anchor")
	flags.StringVar(&f.repository, "repository", "", "which TrustedRepository, if there are several")
	flags.StringVar(&f.allowedSigners, "allowed-signers", "", "file of SSH signers (ssh-keygen(1), ALLOWED SIGNERS)")
	flags.StringVar(&f.openpgpKeys, "openpgp-keys", "", "file of OpenPGP public keys (gpg --export)")
	flags.StringVar(&f.trustedRoot, "trusted-root", "", "file by which gitsign signatures are verified (trusted_root.json)")
	flags.StringArrayVar(&f.identities, "identity", nil, "\"IDENTITY ISSUER\" of a gitsign signer, exactly; may be repeated")
	flags.StringVar(&f.anchor, "anchor", "", "revision to begin at (default: the configuration's, or else the root commit)")
	flags.StringVar(&f.branch, "branch", "", "branch to verify (default: the configuration's, or else HEAD)")
	flags.StringVar(&f.explain, "explain", "", "tell all about one commit")
	flags.StringVar(&f.at, "at", "", "judge the ends of keys as of this time (RFC 3339) instead of now")
	flags.BoolVar(&f.full, "full-history", false, "merged-in commits must be signed too")
	flags.BoolVar(&f.summary, "summary", false, "who signed how much, and what is refused (default above 50 commits)")
	flags.BoolVar(&f.commits, "commits", false, "a line for each commit")
	flags.StringVarP(&f.output, "output", "o", "table", "table or json")
}

func (f *verifyFlags) options(args []string, stderr io.Writer) (verify.Options, error) {
	o := verify.Options{Name: "repository", Where: ".", Anchor: f.anchor, Branch: f.branch, Explain: f.explain}
	if len(args) == 1 {
		o.Where = args[0]
	}
	switch {
	case f.output != "table" && f.output != "json":
		return o, fmt.Errorf("-o %s: want table or json", f.output)
	case f.summary && f.commits:
		return o, errors.New("--summary and --commits: one of them")
	case f.config == "" && f.allowedSigners == "" && f.openpgpKeys == "" && f.trustedRoot == "":
		return o, errors.New("who may sign? Give --config, --allowed-signers, --openpgp-keys or --trusted-root")
	case (f.trustedRoot == "") != (len(f.identities) == 0):
		return o, errors.New("--trusted-root and --identity: only both together say whose gitsign signatures count")
	case f.config != "" && (f.allowedSigners != "" || f.openpgpKeys != "" || f.trustedRoot != ""):
		return o, errors.New("--config names the signers: no other list beside it")
	}
	if f.at != "" {
		var err error
		if o.At, err = time.Parse(time.RFC3339, f.at); err != nil {
			return o, fmt.Errorf("--at: %w", err)
		}
	}
	if f.output == "table" && f.explain == "" {
		f.bar = newProgressBar(stderr)
		o.Progress = f.bar.progress()
	}
	if err := f.signers(&o, stderr); err != nil {
		return o, err
	}
	if f.full {
		o.Spec.History = v1alpha1.HistoryFull
	}
	return o, nil
}

// signers reads who may sign.
func (f *verifyFlags) signers(o *verify.Options, stderr io.Writer) error {
	if f.config != "" {
		r, err := configured(f.config, f.repository)
		if err != nil {
			return err
		}
		o.Name, o.Spec = r.Name, r.Spec
		if cfg, err := v1alpha1.Load(f.config); err == nil { // without a Gate there are no policies
			o.Policies = track.PolicyFolders(cfg.Gate.Spec, r.Name)
		}
		return nil
	}
	if f.allowedSigners != "" {
		data, err := os.ReadFile(f.allowedSigners)
		if err != nil {
			return err
		}
		o.Spec.AllowedSigners = string(data)
	}
	o.Spec.SigstoreTrustedRoot = f.trustedRoot
	for _, id := range f.identities {
		identity, issuer, ok := strings.Cut(id, " ")
		if !ok {
			return fmt.Errorf("--identity %q: want \"IDENTITY ISSUER\"", id)
		}
		o.Spec.Signers = append(o.Spec.Signers, v1alpha1.Signer{Principal: identity, Gitsign: []v1alpha1.GitsignIdentity{{Issuer: issuer, Identity: identity}}})
	}
	if f.openpgpKeys == "" {
		return nil
	}
	data, err := os.ReadFile(f.openpgpKeys)
	if err != nil {
		return err
	}
	signers, unfit, err := verify.OpenPGPSigners(data)
	for _, err := range unfit {
		fmt.Fprintf(stderr, "commitgate: left out: %v\n", err)
	}
	o.Spec.Signers = append(o.Spec.Signers, signers...)
	return err
}

// configured finds the one repository that is meant.
func configured(path, name string) (v1alpha1.TrustedRepository, error) {
	repositories, err := v1alpha1.LoadRepositories(path)
	if err != nil {
		return v1alpha1.TrustedRepository{}, err
	}
	if name == "" && len(repositories) == 1 {
		return repositories[0], nil
	}
	i := slices.IndexFunc(repositories, func(r v1alpha1.TrustedRepository) bool { return r.Name == name })
	if i < 0 {
		return v1alpha1.TrustedRepository{}, fmt.Errorf("%s has %d documents of kind TrustedRepository, and %s: choose with --repository", path, len(repositories),
			cmp.Or(name, "none was chosen"))
	}
	return repositories[i], nil
}

func (f *verifyFlags) print(w io.Writer, r *verify.Report) error {
	const fewCommits = 50
	switch {
	case f.output == "json":
		return r.JSON(w)
	case f.explain != "":
		return r.Explanation(w)
	case f.summary || !f.commits && len(r.Commits) > fewCommits:
		return r.Summary(w)
	}
	return r.Table(w)
}
