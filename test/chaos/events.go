package chaos

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	admissionregistration "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"

	"github.com/commitgate/commitgate/authority"
)

// event is something that happens to the installation while everybody works.
type event struct {
	name, does string // as they stand in docs/reliability.md
	mode       string
	// unregistered: until it has happened, the webhook is not there, or not for everything.
	unregistered bool
	// backstop: the API server itself refuses whoever is none of the agents.
	backstop bool
	// happen makes it happen, and returns when the installation stands again.
	happen func(context.Context, *installation) error
	// skip says why it cannot happen here; "" if it can.
	skip string
}

// events are what happens, in this order, to one and the same installation.
func events() []event {
	noClock := ""
	if !canStep {
		noClock = "the clock of a process can be set on linux/amd64 only"
	}
	return []event{
		{name: "Audit", does: "installed, watching, nothing happens", mode: "Audit", happen: nothing},
		{name: "Audit to Enforce", does: "`helm upgrade --set gate.mode=Enforce`: the replicas restart one by one, so that for a while some enforce and some do not", mode: "Rolling",
			happen: toEnforce},
		{name: "Enforce", does: "nothing happens", mode: "Enforce", happen: nothing},
		{name: "rolling update", does: "SIGTERM one by one, each replaced before the next", mode: "Enforce", happen: func(ctx context.Context, in *installation) error { return in.roll(ctx) }},
		{name: "replicas killed", does: "SIGKILL of one replica after another, each back before the next", mode: "Enforce", happen: killEach},
		{name: "all replicas killed", does: "SIGKILL of all three at once; they come back by themselves", mode: "Enforce", happen: killAll},
		{name: "Git host down", does: "it answers 503, one replica restarts meanwhile, and the host comes back", mode: "Enforce", happen: gitHostDown},
		{name: "clocks step", does: "the wall clocks of two replicas jump an hour ahead and an hour back, and then to the right time", mode: "Enforce", happen: clocksStep, skip: noClock},
		{name: "certificate authority replaced", does: "a successor, trusted beside the old one; replicas change to it; the old one is removed", mode: "Enforce", happen: rotateAuthority},
		{name: "API server restarts", does: "SIGTERM, and started again", mode: "Enforce", happen: restartAPIServer},
		{name: "webhook deleted", does: "an administrator deletes the webhook configuration; ten seconds later the gate puts it back", mode: "Enforce", unregistered: true, happen: webhookDeleted},
		{name: "webhook loosened", does: "an administrator lets a namespace off, and what no replica answers; the gate takes both back", mode: "Enforce", unregistered: true, happen: webhookLoosened},
		{name: "webhook led astray", does: "somebody else's certificate authority stands in the webhook configuration, so that no replica is believed; the gate puts its own back", mode: "Enforce",
			happen: webhookAstray},
		{name: "webhook deleted, with the backstop", does: "`helm upgrade --set backstop.enabled=true`, and then the webhook is deleted: whoever is no agent is refused by the API server itself", mode: "Enforce",
			unregistered: true, backstop: true, happen: backstopStands},
		{name: "afterwards", does: "nothing happens", mode: "Enforce", happen: nothing},
	}
}

func toEnforce(ctx context.Context, in *installation) error {
	return errors.Join(in.upgrade(ctx, release{mode: "Enforce", registered: true}), in.roll(ctx))
}

func nothing(context.Context, *installation) error { return nil }

// back starts a replica that was killed, as a kubelet does, and waits until it takes part again.
func (in *installation) back(ctx context.Context, replicas ...*replica) error {
	for _, r := range replicas {
		if err := r.start(); err != nil {
			return err
		}
	}
	for _, r := range replicas {
		if err := r.waitReady(ctx); err != nil {
			return err
		}
	}
	return in.seenReady(ctx)
}

func killEach(ctx context.Context, in *installation) error {
	for _, r := range in.replicas {
		if err := r.kill(); err != nil {
			return err
		}
		if err := in.back(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func killAll(ctx context.Context, in *installation) error {
	var errs []error
	for _, r := range in.replicas {
		errs = append(errs, r.kill())
	}
	return errors.Join(append(errs, in.back(ctx, in.replicas...))...)
}

func gitHostDown(ctx context.Context, in *installation) error {
	in.lab.Forge.SetDown(true)
	defer in.lab.Forge.SetDown(false)
	r := in.replicas[1]
	if err := r.end(ctx); err != nil {
		return err
	}
	if err := in.back(ctx, r); err != nil {
		return fmt.Errorf("a replica that restarts while the Git host is down: %w", err)
	}
	return linger(ctx, in.settings.linger)
}

func clocksStep(ctx context.Context, in *installation) error {
	step := func(i int, offset time.Duration) error {
		return stepClock(in.replicas[i].process.Pid(), in.program, offset)
	}
	if err := errors.Join(step(0, time.Hour), step(1, -time.Hour)); err != nil {
		return err
	}
	if err := linger(ctx, in.settings.linger); err != nil {
		return err
	}
	return errors.Join(step(0, 0), step(1, 0))
}

// rotateAuthority does what the CronJob commitgate-certificates does, as its service account and with its arguments, and waits for what days give time to: that
// every replica shows a certificate of the new authority.
func rotateAuthority(ctx context.Context, in *installation) error {
	before, err := in.authorities(ctx)
	if err != nil {
		return err
	}
	args, err := in.rotation(ctx)
	if err != nil {
		return err
	}
	args = append(args, "--overlap=0s")
	for run := range 4 {
		now := args
		if run == 0 {
			now = append(slices.Clone(args), "--now")
		}
		out, status, err := in.run(ctx, now...)
		if err != nil || status != 0 {
			return fmt.Errorf("certificates rotate: status %d: %s: %w", status, out, err)
		}
		bundle, err := in.authorities(ctx)
		if err != nil {
			return err
		}
		if err := in.issuedBy(ctx, bundle.Newest()); err != nil {
			return err
		}
		if strings.HasPrefix(out, "nothing is due") {
			if len(bundle) != 1 || bundle.Newest().Cert.Equal(before.Newest().Cert) {
				return errors.New("the authority is the old one")
			}
			return nil
		}
	}
	return errors.New("after four runs something is due still")
}

// rotation is the command line of the CronJob that replaces the authority, as whom it runs.
func (in *installation) rotation(ctx context.Context) ([]string, error) {
	job, err := in.client.BatchV1().CronJobs(namespace).Get(ctx, "commitgate-certificates", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := job.Spec.JobTemplate.Spec.Template.Spec
	token, err := in.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, pod.ServiceAccountName, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	who := in.lab.Cluster.Admin()
	who.CertData, who.KeyData, who.BearerToken = nil, nil, token.Status.Token
	kubeconfig, err := in.lab.Cluster.Kubeconfig(pod.ServiceAccountName, who)
	return append(slices.Clone(pod.Containers[0].Args), "--kubeconfig="+kubeconfig), err
}

// authorities are those of the Secret.
func (in *installation) authorities(ctx context.Context) (authority.Bundle, error) {
	secret, err := in.client.CoreV1().Secrets(namespace).Get(ctx, "commitgate-ca", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return authority.Parse(secret.Data["tls.crt"], secret.Data["tls.key"])
}

// issuedBy waits until every replica shows a certificate of an authority.
func (in *installation) issuedBy(ctx context.Context, a *authority.Authority) error {
	for _, r := range in.replicas {
		err := eventually(ctx, func() error {
			conn, err := tls.Dial("tcp", r.listen, &tls.Config{InsecureSkipVerify: true}) // what it shows is the question
			if err != nil {
				return err
			}
			defer conn.Close()
			return conn.ConnectionState().PeerCertificates[0].CheckSignatureFrom(a.Cert)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

func restartAPIServer(ctx context.Context, in *installation) error {
	return in.lab.Cluster.RestartAPIServer(ctx)
}

// repaired does something to the webhook configuration and waits until the gate has undone it, and is asked about a namespace.
func (in *installation) repaired(ctx context.Context, namespace string, objects int, do func(admissionregistration.ValidatingWebhookConfigurationInterface) error) error {
	before, err := in.repairs(ctx)
	if err != nil {
		return err
	}
	if err := do(in.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()); err != nil {
		return err
	}
	if err := eventually(ctx, func() error {
		now, err := in.repairs(ctx)
		if err == nil && now == before {
			err = errors.New("nothing was put back")
		}
		return err
	}); err != nil {
		return err
	}
	return errors.Join(in.seenRegistered(ctx, namespace), in.sound(ctx, objects))
}

func webhookDeleted(ctx context.Context, in *installation) error { return in.deleteWebhook(ctx, 7) }

// deleteWebhook deletes the webhook configuration of a registration with so many objects.
func (in *installation) deleteWebhook(ctx context.Context, objects int) error {
	return in.repaired(ctx, "default", objects, func(c admissionregistration.ValidatingWebhookConfigurationInterface) error {
		return c.Delete(ctx, webhook, metav1.DeleteOptions{})
	})
}

// patchWebhook is a JSON patch of the webhook configuration.
func (in *installation) patchWebhook(ctx context.Context, namespace, patch string) error {
	return in.repaired(ctx, namespace, 7, func(c admissionregistration.ValidatingWebhookConfigurationInterface) error {
		_, err := c.Patch(ctx, webhook, types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
		return err
	})
}

func webhookLoosened(ctx context.Context, in *installation) error {
	return in.patchWebhook(ctx, "shop", `[
		{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"},
		{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["shop"]}]}}]`)
}

func webhookAstray(ctx context.Context, in *installation) error {
	other, err := authority.New(time.Now())
	if err != nil {
		return err
	}
	bundle := base64.StdEncoding.EncodeToString(authority.Bundle{other}.CertPEM())
	return in.patchWebhook(ctx, "default", fmt.Sprintf(`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": %q}]`, bundle))
}

// backstopStands installs the backstop, has the webhook deleted, and takes the backstop away again, as helm does.
func backstopStands(ctx context.Context, in *installation) error {
	policies := in.client.AdmissionregistrationV1()
	for _, step := range []func() error{
		func() error { return in.upgrade(ctx, release{mode: "Enforce", registered: true, backstop: true}) },
		func() error { return in.backstopped(ctx, true) },
		func() error { return in.sound(ctx, 9) },
		func() error { return in.deleteWebhook(ctx, 9) },
		func() error { return in.upgrade(ctx, release{mode: "Enforce", registered: true}) },
		func() error {
			return policies.ValidatingAdmissionPolicyBindings().Delete(ctx, backstop, metav1.DeleteOptions{})
		},
		func() error {
			return policies.ValidatingAdmissionPolicies().Delete(ctx, backstop, metav1.DeleteOptions{})
		},
		func() error { return in.backstopped(ctx, false) },
		func() error { return in.sound(ctx, 7) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// backstopped waits until the backstop refuses Carol, or no longer does.
func (in *installation) backstopped(ctx context.Context, want bool) error {
	return eventually(ctx, func() error {
		_, err := in.lab.Cluster.Kubectl(ctx, in.lab.CarolConfig, "", "create", "configmap", "is-the-backstop-there", "--namespace=default", "--dry-run=server")
		if err == nil {
			return errors.New("nobody refuses")
		}
		if strings.Contains(err.Error(), backstop) != want {
			return fmt.Errorf("refused by somebody else: %w", err)
		}
		return nil
	})
}

// linger lets everybody work for a while.
func linger(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
