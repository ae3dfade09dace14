package main

import "github.com/spf13/cobra"

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read, verify and export the audit log",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditVerify(), newAuditTail(), newAuditLog(), newAuditExport(), newAuditOutcomes(), newAuditAttest(), newAuditShip(), newAuditReplay(), newAuditKeygen(), newAuditPeer(), newAuditDigest())
	return cmd
}
