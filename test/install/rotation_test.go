package install

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/cluster"
)

// anything is a webhook configuration by the gate's name that asks nobody about anything.
const anything = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: commitgate}
webhooks:
- name: gate.commitgate.dev
  admissionReviewVersions: [v1]
  clientConfig: {caBundle: Cg==, service: {name: commitgate, namespace: commitgate, path: /review, port: 443}}
  failurePolicy: Fail
  sideEffects: None
  rules: [{apiGroups: [nothing.example.org], apiVersions: ["*"], operations: ["*"], resources: ["*"]}]
`

// rotation tries what the token of the job that replaces the authority is worth: certificate and key in one Secret, the caBundle, and nothing else. RBAC lets
// whoever tries do everything, so that only the policies of the gate are left to refuse it. It returns a kubeconfig of the job, whose rights are its own again.
func rotation(t *testing.T, c *cluster.Cluster, installer string) string {
	t.Helper()
	ctx := t.Context()
	kubectl := func(who, stdin string, args ...string) (string, error) {
		return c.Kubectl(ctx, who, stdin, append([]string{"--namespace=commitgate"}, args...)...)
	}
	must := func(stdin string, args ...string) string {
		t.Helper()
		out, err := kubectl(installer, stdin, args...)
		if err != nil {
			t.Fatalf("kubectl %v: %v", args, err)
		}
		return out
	}
	must(anything, "create", "--filename=-")
	defer must("", "delete", "validatingwebhookconfiguration", "commitgate")
	must("", "create", "secret", "generic", "commitgate-stream", "--from-literal=token=x")
	for name, account := range map[string]string{"job": "commitgate-certificates", "other": "other"} {
		if name == "other" {
			must("", "create", "serviceaccount", "other")
		}
		must("", "create", "clusterrolebinding", "too-much-for-"+name, "--clusterrole=cluster-admin", "--serviceaccount=commitgate:"+account)
	}
	as := func(account string) string {
		who := c.Admin()
		who.CertData, who.KeyData, who.BearerToken = nil, nil, strings.TrimSpace(must("", "create", "token", account))
		file, err := c.Kubeconfig(account, who)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	job, other := as("commitgate-certificates"), as("other")
	secret, hook := []string{"patch", "secret", "commitgate-ca"}, []string{"patch", "validatingwebhookconfiguration", "commitgate"}
	const keys, bundle = `[{"op": "replace", "path": "/data/tls.crt", "value": "eA=="}, {"op": "replace", "path": "/data/tls.key", "value": "eA=="}]`,
		`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "Cgo="}]`
	patch := func(who string, object []string, patch string, more ...string) error {
		_, err := kubectl(who, "", append(append(object[:3:3], "--type=json", "--patch="+patch), more...)...)
		return err
	}
	for what, err := range map[string]error{"certificate and key": patch(job, secret, keys), "the caBundle": patch(job, hook, bundle)} {
		if err != nil {
			t.Errorf("the job may not replace %s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"somebody with the same rights replaces the authority":     patch(other, secret, keys),
		"somebody with the same rights replaces the caBundle":      patch(other, hook, bundle),
		"somebody impersonates the job for the authority":          patch(other, secret, keys, "--as=system:serviceaccount:commitgate:commitgate-certificates", "--as-group=system:masters"),
		"somebody impersonates the job for the caBundle":           patch(other, hook, bundle, "--as=system:serviceaccount:commitgate:commitgate-certificates", "--as-group=system:masters"),
		"the job adds a key to its Secret":                         patch(job, secret, `[{"op": "add", "path": "/data/more", "value": "eA=="}]`),
		"the job labels its Secret":                                patch(job, secret, `[{"op": "add", "path": "/metadata/annotations/x", "value": "y"}]`),
		"the job gives its Secret an owner, which would delete it": patch(job, secret, `[{"op": "add", "path": "/metadata/ownerReferences", "value": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}]}]`),
		"the job opens the webhook":                                patch(job, hook, `[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]`),
		"the job narrows the webhook":                              patch(job, hook, `[{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]`),
		"the job lets a namespace off":                             patch(job, hook, `[{"op": "add", "path": "/webhooks/0/namespaceSelector", "value": {"matchLabels": {"x": "y"}}}]`),
		"the job adds a condition":                                 patch(job, hook, `[{"op": "add", "path": "/webhooks/0/matchConditions", "value": [{"name": "never", "expression": "false"}]}]`),
		"the job leads the webhook elsewhere":                      patch(job, hook, `[{"op": "replace", "path": "/webhooks/0/clientConfig/service/path", "value": "/allow"}]`),
		"the job leads the webhook to an address":                  patch(job, hook, `[{"op": "remove", "path": "/webhooks/0/clientConfig/service"}, {"op": "add", "path": "/webhooks/0/clientConfig/url", "value": "https://example.org/allow"}]`),
		"the job takes the webhook away":                           patch(job, hook, `[{"op": "remove", "path": "/webhooks/0"}]`),
		"the job gives the webhook a finalizer":                    patch(job, hook, `[{"op": "add", "path": "/metadata/finalizers", "value": ["example.org/x"]}]`),
		"the job writes another Secret":                            patch(job, []string{"patch", "secret", "commitgate-stream"}, `[{"op": "replace", "path": "/data/token", "value": "eA=="}]`),
		"the job scales the gate":                                  patch(job, []string{"patch", "statefulset", "commitgate"}, `[{"op": "replace", "path": "/spec/replicas", "value": 0}]`),
		"somebody makes the job run something else":                patch(other, []string{"patch", "cronjob", "commitgate-certificates"}, `[{"op": "replace", "path": "/spec/jobTemplate/spec/template/spec/containers/0/image", "value": "evil"}]`),
	} {
		if err == nil || !strings.Contains(err.Error(), "commitgate guards itself") {
			t.Errorf("%s: %v, want a refusal of commitgate-guards-itself", what, err)
		}
	}
	for _, args := range [][]string{{"delete", "secret", "commitgate-ca"}, {"delete", "validatingwebhookconfiguration", "commitgate"}, {"create", "token", "commitgate"},
		{"create", "job", "mine", "--image=evil"}} {
		if _, err := kubectl(job, "", args...); err == nil || !strings.Contains(err.Error(), "commitgate guards itself") {
			t.Errorf("the job may %v: %v", args, err)
		}
	}
	must("", "delete", "clusterrolebinding", "too-much-for-job", "too-much-for-other")
	return job
}
