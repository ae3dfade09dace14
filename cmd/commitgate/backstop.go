package main

import (
	"github.com/spf13/cobra"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/guard"
)

func newBackstop() *cobra.Command {
	var config, namespace, group string
	cmd := &cobra.Command{
		Use:   "backstop --config FILE|DIR",
		Short: "Write the identity rule that holds in the API server with the gate down",
		Long: `Write the identity rule of a gate as a ValidatingAdmissionPolicy: who is neither a sync agent, nor a built-in controller, nor named by an exemption,
changes nothing, even with every pod of the gate down and its webhook deleted. It knows names and not Git: whoever uses a grant must also be a member of
--admin-group, and what a milder override covers is left out. Make it anew when the configuration changes; the chart does (backstop.enabled).
Exit status: 0 written, 1 the configuration enforces nothing, 2 usage.`,
		Example: "  commitgate backstop --config gate.yaml | kubectl apply --server-side --filename -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config == "" {
				return usage("--config is required; see commitgate backstop --help")
			}
			cfg, err := v1alpha1.Load(config)
			if err != nil {
				return usage("configuration:\n%w", err)
			}
			manifests, err := guard.Backstop(guard.BackstopConfig{Gate: cfg.Gate.Spec, Namespace: namespace, AdminGroup: group})
			if err != nil {
				return exit{exitNo, err}
			}
			text, err := manifests.YAML()
			if err != nil {
				return unknown(err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "file or folder with the Gate and its TrustedRepositories (required)")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "commitgate", "namespace of the gate")
	cmd.Flags().StringVar(&group, "admin-group", "commitgate:admins", "the group whose members may change the gate; they pass")
	return cmd
}
