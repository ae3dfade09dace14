package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/authority"
	"github.com/commitgate/commitgate/guard"
)

func newStatic() *cobra.Command {
	var from, address, ca, dir, out string
	cmd := &cobra.Command{
		Use:   "static --from FILE --url URL --ca FILE --out DIR",
		Short: "Write the webhook and its policies as files of the API server, which nobody can remove through the API",
		Long: `Write the webhook and its policies as files that the API server reads from its own disk (Kubernetes 1.36, feature gate
ManifestBasedAdmissionControlConfig): nobody can change or remove them through the API, and they are asked about webhook configurations and policies,
too. --from is what you install (helm template, kubectl kustomize), --url an address of the gate that each API server reaches without DNS of the cluster.
DIR/admission.yaml is for --admission-control-config-file.`,
		Example: "  helm template commitgate charts/commitgate --values values.yaml | commitgate static --from - --url https://10.96.0.77/review --ca ca.crt --out admission",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || address == "" || ca == "" || out == "" {
				return usage("--from, --url, --ca and --out are required; see commitgate static --help")
			}
			text, err := readFrom(cmd.InOrStdin(), from)
			if err != nil {
				return usage("%w", err)
			}
			manifests, err := guard.Read(text)
			if err != nil {
				return usage("%s: %w", from, err)
			}
			bundle, err := os.ReadFile(ca)
			if err != nil {
				return usage("%w", err)
			}
			if certs, err := authority.Certificates(bundle); err != nil || len(certs) == 0 {
				return usage("--ca %s holds no certificate", ca)
			}
			if manifests, err = guard.Static(manifests, address, bundle); err != nil {
				return usage("%w", err)
			}
			for _, name := range manifests.Left {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s has parameters, which no file can have: leave it installed\n", name)
			}
			files, err := manifests.Files(dir)
			if err != nil {
				return usage("--dir: %w", err)
			}
			for _, name := range slices.Sorted(maps.Keys(files)) {
				file := filepath.Join(out, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					return unknown(err)
				}
				if err := os.WriteFile(file, files[name], 0o644); err != nil {
					return unknown(err)
				}
				fmt.Fprintln(cmd.OutOrStdout(), file)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "file with the manifests of the installation; - is the standard input (required)")
	cmd.Flags().StringVar(&address, "url", "", "where the API servers reach the gate: https://HOST[:PORT]/review (required)")
	cmd.Flags().StringVar(&ca, "ca", "", "file with the authority that issues the gate's certificates, which must name HOST (required)")
	cmd.Flags().StringVar(&dir, "dir", "/etc/kubernetes/commitgate", "where the files will be on the machines of the API servers")
	cmd.Flags().StringVar(&out, "out", "", "folder to write (required)")
	return cmd
}

// readFrom reads a file, or the standard input where it is called -.
func readFrom(stdin io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}
