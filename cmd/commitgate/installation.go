package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/commitgate/commitgate/doctor"
)

// installationFlags say which installation a tool asks.
type installationFlags struct {
	kubeconfig, namespace, webhook string
	as                             string
	asGroups                       []string
	probes                         []string
}

func (f *installationFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", kubeconfigHelp)
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "commitgate", "namespace of the gate")
	cmd.Flags().StringVar(&f.webhook, "webhook-configuration", "commitgate", "name of its ValidatingWebhookConfiguration")
	cmd.Flags().StringArrayVar(&f.probes, "probe", nil, "probe address of a replica, such as http://127.0.0.1:8080, instead of its pods; may be repeated")
	cmd.Flags().StringVar(&f.as, "as", "", "ask the cluster as this user: to ask pods takes a member of commitgate:admins")
	cmd.Flags().StringArrayVar(&f.asGroups, "as-group", nil, "and in this group; may be repeated")
}

// doctor is whoever asks the installation. Without a cluster to be found, probe addresses suffice.
func (f *installationFlags) doctor() (*doctor.Doctor, error) {
	cluster, err := f.cluster()
	if err != nil && (len(f.probes) == 0 || f.kubeconfig != "") {
		return nil, unknown(err)
	}
	d, err := doctor.New(doctor.Config{Cluster: cluster, Probes: f.probes, Namespace: f.namespace, Webhook: f.webhook, Now: time.Now})
	switch {
	case errors.Is(err, doctor.ErrNowhere):
		return nil, usage("%w: give --kubeconfig or --probe", err)
	case err != nil:
		return nil, unknown(err)
	}
	return d, nil
}

// cluster is how kubectl would reach it; nil where only probe addresses are named.
func (f *installationFlags) cluster() (*rest.Config, error) {
	if len(f.probes) > 0 && f.kubeconfig == "" && os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
		return nil, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	overrides := &clientcmd.ConfigOverrides{}
	overrides.AuthInfo.Impersonate, overrides.AuthInfo.ImpersonateGroups = f.as, f.asGroups
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
}
