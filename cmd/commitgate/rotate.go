package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/commitgate/commitgate/authority"
)

// rotateOptions are the flags of certificates rotate.
type rotateOptions struct {
	kubeconfig      string
	secret          string
	webhook         string
	static          string
	before, overlap time.Duration
	now             bool
	output          string
}

func newCertificates() *cobra.Command {
	cmd := &cobra.Command{Use: "certificates", Short: "Replace the gate's own certificate authority, without a refused request"}
	cmd.AddCommand(newCertificatesRotate())
	return cmd
}

func newCertificatesRotate() *cobra.Command {
	var o rotateOptions
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Do what is due next to replace the gate's own certificate authority",
		Long: `Do what is due next to replace the gate's own certificate authority, and say what it was. A run makes one step:
a year before the end of the authority (or with --now) it makes a successor and lets the API server trust both;
replicas then issue from the successor; after --overlap the old one is removed from the Secret, and by the next
run from the caBundle. The CronJob commitgate-certificates of the installation runs it every day; by hand, run it until
nothing is due. A run that fails is run again.

It needs get and update on the Secret and on the webhook configuration: it acts as that CronJob's service account, or as
an administrator of the gate. With --static it keeps the file that the API server of this machine reads, for cron on each
machine of the control plane; what is done to the Secret meanwhile is done by whichever comes first.`,
		Example: "  commitgate certificates rotate --kubeconfig ~/.kube/config --now",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.output != "table" && o.output != "json" {
				return usage("-o %s: want table or json", o.output)
			}
			if o.before < 0 || o.overlap < 0 {
				return usage("--before and --overlap: negative")
			}
			cluster, err := restConfig(o.kubeconfig)
			if err != nil {
				return usage("cluster: %w", err)
			}
			client, err := kubernetes.NewForConfig(cluster)
			if err != nil {
				return unknown(err)
			}
			return o.run(cmd.Context(), cmd.OutOrStdout(), client, time.Now())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "cluster (default the one that the program runs in)")
	f.StringVar(&o.secret, "secret", "commitgate/commitgate-ca", "NAMESPACE/NAME of the Secret with the authority")
	f.StringVar(&o.webhook, "webhook-configuration", "commitgate", "ValidatingWebhookConfiguration whose caBundle is to hold it")
	f.StringVar(&o.static, "static", "", "folder of the static manifests of this machine (commitgate static): their caBundle, not a webhook configuration's")
	f.DurationVar(&o.before, "before", 365*24*time.Hour, "how long before the end of the authority its successor is made")
	f.DurationVar(&o.overlap, "overlap", 24*time.Hour, "how long after that both are kept: longer than a replica takes to see a changed Secret and to change over")
	f.BoolVar(&o.now, "now", false, "make a successor now, unless there is one already")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	return cmd
}

// rotated is what a run did, and how things stand.
type rotated struct {
	Step        string          `json:"step"`
	Authorities []authorityInfo `json:"authorities"`
}

type authorityInfo struct {
	Expires time.Time `json:"expires"`
	Issues  bool      `json:"issues"`  // replicas may issue from it: it is in the Secret
	Trusted bool      `json:"trusted"` // the API server trusts it: it is in the caBundle
}

// run makes one step. The Secret is written before the caBundle; whoever wrote either meanwhile wins, and the run fails.
func (o *rotateOptions) run(ctx context.Context, out io.Writer, client kubernetes.Interface, now time.Time) error {
	namespace, name, ok := strings.Cut(o.secret, "/")
	if !ok {
		return usage("--secret %s: want NAMESPACE/NAME", o.secret)
	}
	secrets := client.CoreV1().Secrets(namespace)
	secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return unknown(err)
	}
	bundle, err := authority.Parse(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return unknown(fmt.Errorf("secret %s: %w", o.secret, err))
	}
	rotation := authority.Rotation{Before: o.before, Overlap: o.overlap}
	var trusted []byte
	var trust func([]byte) error
	if o.static != "" {
		rotation.Since = lastWritten(secret, now)
		trusted, trust, err = staticTrust(o.static)
	} else {
		trusted, trust, err = o.clusterTrust(ctx, client)
	}
	if err != nil {
		return unknown(err)
	}
	if o.now && len(bundle) == 1 {
		rotation.Before = bundle.Newest().Cert.NotAfter.Sub(now) + time.Second
	}
	step, err := rotation.Next(bundle, trusted, now)
	if err != nil {
		return unknown(err)
	}
	if step.Rotated {
		secret.Data[corev1.TLSCertKey] = step.Bundle.CertPEM()
		if secret.Data[corev1.TLSPrivateKeyKey], err = step.Bundle.KeyPEM(); err != nil {
			return unknown(err)
		}
		if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
			return unknown(err)
		}
	}
	if step.Retrusted {
		if err := trust(step.Trusted); err != nil {
			return unknown(fmt.Errorf("%w (run it again)", err))
		}
	}
	return o.print(out, step)
}

// clusterTrust is the caBundle of the webhook configuration, and how it is replaced.
func (o *rotateOptions) clusterTrust(ctx context.Context, client kubernetes.Interface) ([]byte, func([]byte) error, error) {
	configurations := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	configuration, err := configurations.Get(ctx, o.webhook, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	trusted, err := trustedBy(configuration)
	return trusted, func(bundle []byte) error {
		for i := range configuration.Webhooks {
			configuration.Webhooks[i].ClientConfig.CABundle = bundle
		}
		_, err := configurations.Update(ctx, configuration, metav1.UpdateOptions{})
		return err
	}, err
}

// trustedBy is the caBundle of a webhook configuration, the same in each of its webhooks.
func trustedBy(configuration *admissionregistrationv1.ValidatingWebhookConfiguration) ([]byte, error) {
	if len(configuration.Webhooks) == 0 {
		return nil, fmt.Errorf("%s holds no webhook", configuration.Name)
	}
	first := configuration.Webhooks[0].ClientConfig.CABundle
	for _, w := range configuration.Webhooks {
		if !bytes.Equal(w.ClientConfig.CABundle, first) {
			return nil, fmt.Errorf("%s: the webhooks trust different authorities", configuration.Name)
		}
	}
	return first, nil
}

func (o *rotateOptions) print(out io.Writer, step authority.Step) error {
	trusted, err := authority.Certificates(step.Trusted)
	if err != nil {
		return unknown(err)
	}
	r := rotated{Step: step.What}
	for _, a := range step.Bundle {
		info := authorityInfo{Expires: a.Cert.NotAfter, Issues: true}
		for _, t := range trusted {
			info.Trusted = info.Trusted || t.Equal(a.Cert)
		}
		r.Authorities = append(r.Authorities, info)
	}
	for _, t := range trusted {
		known := false
		for _, a := range step.Bundle {
			known = known || t.Equal(a.Cert)
		}
		if !known {
			r.Authorities = append(r.Authorities, authorityInfo{Expires: t.NotAfter, Trusted: true})
		}
	}
	if o.output == "json" {
		return writeJSON(out, r)
	}
	var b strings.Builder
	b.WriteString(r.Step + "\n")
	word := map[bool]string{true: "yes", false: "no"}
	b.WriteString("EXPIRES     ISSUES  TRUSTED\n")
	for _, a := range r.Authorities {
		fmt.Fprintf(&b, "%s  %-6s  %s\n", a.Expires.Format(time.DateOnly), word[a.Issues], word[a.Trusted])
	}
	_, err = io.WriteString(out, b.String())
	return err
}
