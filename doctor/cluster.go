package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/commitgate/commitgate/authority"
	"github.com/commitgate/commitgate/status"
)

// The API servers that know what the gate needs, and what it can make use of.
const (
	needed  = "1.30" // ValidatingAdmissionPolicy
	statics = "1.36" // manifest-based admission configuration
)

const putBack = "put it back with helm upgrade or config/webhook (docs/install.md), then run commitgate scan"

func (d *Doctor) apiServer(_ context.Context, f *findings) {
	info, err := d.client.Discovery().ServerVersion()
	if err != nil {
		f.unknown("check the kubeconfig and the network", "the API server does not answer: %v", err)
		return
	}
	v, err := version.ParseSemantic(info.GitVersion)
	switch {
	case err != nil:
		f.unknown("", "its version is %q", info.GitVersion)
	case !v.AtLeast(version.MustParseGeneric(needed)):
		f.broken("upgrade the cluster", "Kubernetes %s has no ValidatingAdmissionPolicy; %s is needed", info.GitVersion, needed)
	case v.AtLeast(version.MustParseGeneric(statics)):
		f.ok("Kubernetes %s; the webhook can also be a static manifest, which nobody can remove through the API (commitgate static)", info.GitVersion)
	default:
		f.ok("Kubernetes %s", info.GitVersion)
	}
}

func (d *Doctor) customResources(ctx context.Context, f *findings) {
	for _, name := range []string{"gates", "grants", "trustedrepositories"} {
		name += ".commitgate.dev"
		text, err := d.client.RESTClient().Get().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + name).DoRaw(ctx)
		var crd struct {
			Status struct {
				Conditions []metav1.Condition `json:"conditions"`
			} `json:"status"`
		}
		if err == nil {
			err = json.Unmarshal(text, &crd)
		}
		switch {
		case apierrors.IsNotFound(err):
			f.broken("kubectl apply --server-side --kustomize config/crd", "%s is not installed: grants do not reach the gate", name)
		case err != nil:
			f.unknown("", "%s: %v", name, err)
		case !slices.ContainsFunc(crd.Status.Conditions, func(c metav1.Condition) bool { return c.Type == "Established" && c.Status == metav1.ConditionTrue }):
			f.broken("kubectl describe customresourcedefinition "+name, "%s is there, and the API server does not serve it", name)
		default:
			f.ok("%s", name)
		}
	}
}

// webhookConfiguration reads it once; nil if it is not there or cannot be read.
func (d *Doctor) webhookConfiguration(ctx context.Context, f *findings) *admissionv1.ValidatingWebhookConfiguration {
	c, err := d.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, d.cfg.Webhook, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		f.broken(putBack, "ValidatingWebhookConfiguration %s is not there: the API server asks nobody (unless a static manifest stands for it)", d.cfg.Webhook)
		return nil
	case err != nil:
		f.unknown("", "ValidatingWebhookConfiguration %s: %v", d.cfg.Webhook, err)
		return nil
	case len(c.Webhooks) == 0:
		f.broken(putBack, "ValidatingWebhookConfiguration %s holds no webhook", d.cfg.Webhook)
		return nil
	}
	for i := range c.Webhooks {
		weakened(f, &c.Webhooks[i])
	}
	if len(f.list) == 0 {
		f.ok("%s asks the gate about everything", d.cfg.Webhook)
	}
	return c
}

// weakened names what a webhook leaves out, by what every installation has in common. What this one should be exactly, its replicas compare.
func weakened(f *findings, w *admissionv1.ValidatingWebhook) {
	all := func(values []string) bool { return slices.Contains(values, "*") }
	everything := slices.ContainsFunc(w.Rules, func(r admissionv1.RuleWithOperations) bool {
		return slices.Contains(r.Operations, admissionv1.OperationAll) && all(r.APIGroups) && all(r.APIVersions) && slices.Contains(r.Resources, "*/*") &&
			(r.Scope == nil || *r.Scope == admissionv1.AllScopes)
	})
	if !everything {
		f.broken(putBack, "%s: its rules leave something out", w.Name)
	}
	if w.FailurePolicy != nil && *w.FailurePolicy == admissionv1.Ignore {
		f.warn("set webhook.failurePolicy: Fail, or keep the backstop (backstop.enabled)", "%s: failurePolicy Ignore: while no replica answers, everything passes", w.Name)
	}
	if w.MatchPolicy != nil && *w.MatchPolicy == admissionv1.Exact {
		f.broken(putBack, "%s: matchPolicy Exact: other versions of an API pass by", w.Name)
	}
	if s := w.NamespaceSelector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 {
		f.broken(putBack, "%s: a namespaceSelector lets namespaces off: %s", w.Name, metav1.FormatLabelSelector(s))
	}
	if s := w.ObjectSelector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) > 0 {
		f.broken(putBack, "%s: an objectSelector lets objects off: %s", w.Name, metav1.FormatLabelSelector(s))
	}
	for _, c := range w.MatchConditions {
		if !slices.Contains(conditions(), c.Name) {
			f.broken(putBack, "%s: its condition %s is none of the installation's", w.Name, c.Name)
		}
	}
}

// conditions are the names of what the installation leaves out.
func conditions() []string {
	return []string{"no-leases-of-components", "no-events", "no-access-reviews", "no-nodes-of-components", "no-tokens-of-system-pods", "not-the-gate-itself", "not-the-authority"}
}

func (d *Doctor) policies(ctx context.Context, f *findings) {
	const do = "set selfProtection.enabled, or apply config/policy"
	for _, name := range []string{"commitgate-guards-itself", "commitgate-own-identity", "commitgate-guards-configuration"} {
		_, err := d.client.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			var b *admissionv1.ValidatingAdmissionPolicyBinding
			b, err = d.client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Get(ctx, name, metav1.GetOptions{})
			if err == nil && !slices.Contains(b.Spec.ValidationActions, admissionv1.Deny) {
				f.broken(do, "the binding of %s does not deny", name)
				continue
			}
		}
		switch {
		case apierrors.IsNotFound(err):
			f.warn(do, "%s or its binding is not there: whoever may change the webhook configuration may remove the gate", name)
		case err != nil:
			f.unknown("", "%s: %v", name, err)
		default:
			f.ok("%s", name)
		}
	}
}

// trust compares by what the API server knows the gate with what the replicas show.
func (d *Doctor) trust(c *admissionv1.ValidatingWebhookConfiguration, replicas []Replica, f *findings) {
	asked := false
	for _, r := range replicas {
		if r.Report == nil || r.Report.Serving == "" {
			continue
		}
		for i := range c.Webhooks {
			asked = true
			client := c.Webhooks[i].ClientConfig
			if err := shown(client, r.Report, d.cfg.Now()); err != nil {
				f.broken("docs/operate.md, Certificates: the caBundle must hold the authority that issues the replicas' certificates", "%s: the API server does not believe its certificate: %v", r.Name, err)
			}
		}
	}
	switch {
	case !asked:
		f.unknown("make the replicas answer first", "no replica said which certificate it shows")
	case len(f.list) == 0:
		f.ok("the certificates of the replicas are issued by what the caBundle holds")
	}
}

// shown verifies a replica's certificate as the API server does.
func shown(client admissionv1.WebhookClientConfig, r *status.Report, now time.Time) error {
	certs, err := authority.Certificates([]byte(r.Serving))
	if err != nil {
		return err
	}
	if len(certs) == 0 {
		return errors.New("it shows none")
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(client.CABundle) {
		return errors.New("the caBundle holds no certificate")
	}
	for _, c := range certs[1:] {
		intermediates.AddCert(c)
	}
	name := ""
	switch {
	case client.Service != nil:
		name = client.Service.Name + "." + client.Service.Namespace + ".svc"
	case client.URL != nil:
		u, err := url.Parse(*client.URL)
		if err != nil {
			return err
		}
		name = u.Hostname()
	}
	_, err = certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: name, CurrentTime: now})
	return err
}

func (d *Doctor) service(ctx context.Context, c *admissionv1.ValidatingWebhookConfiguration, f *findings) {
	for i := range c.Webhooks {
		client := c.Webhooks[i].ClientConfig
		if client.Service == nil {
			f.ok("%s is asked at %s, without a Service", c.Webhooks[i].Name, *client.URL)
			continue
		}
		name := client.Service.Namespace + "/" + client.Service.Name
		if _, err := d.client.CoreV1().Services(client.Service.Namespace).Get(ctx, client.Service.Name, metav1.GetOptions{}); err != nil {
			f.broken("install it again with the chart or config/manager", "Service %s: %v", name, err)
			continue
		}
		slices, err := d.client.DiscoveryV1().EndpointSlices(client.Service.Namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + client.Service.Name})
		if err != nil {
			f.unknown("", "endpoints of %s: %v", name, err)
			continue
		}
		switch ready := readyEndpoints(slices.Items); ready {
		case 0:
			f.broken("kubectl --namespace "+client.Service.Namespace+" get pods; docs/runbooks.md, CommitgateNothingDecides", "Service %s leads to no ready replica", name)
		case 1:
			f.warn("bring the other replicas back before this one restarts", "Service %s leads to one ready replica", name)
		default:
			f.ok("Service %s leads to %d ready replicas", name, ready)
		}
	}
}

func readyEndpoints(slices []discoveryv1.EndpointSlice) int {
	n := 0
	for i := range slices {
		for _, e := range slices[i].Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				n++
			}
		}
	}
	return n
}
