package guard

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// staticSuffix is reserved for manifests that the API server reads from its disk (KEP-5793).
const staticSuffix = ".static.k8s.io"

// WebhooksFile is where Files puts the webhook configuration.
const WebhooksFile = "webhooks/commitgate.yaml"

// Manifests are what stands in front of a gate.
type Manifests struct {
	Webhooks []*admissionv1.ValidatingWebhookConfiguration
	Policies []*admissionv1.ValidatingAdmissionPolicy
	Bindings []*admissionv1.ValidatingAdmissionPolicyBinding
	// Left names the policies that Static could not make static.
	Left []string
}

// Read takes the manifests out of a stream of YAML documents, such as the output of helm template or kubectl kustomize. What is no webhook
// configuration, policy or binding is passed over.
func Read(text []byte) (*Manifests, error) {
	m := new(Manifests)
	for document := range strings.SplitSeq("\n"+string(text), "\n---") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			return nil, err
		}
		if kind.APIVersion != admissionv1.SchemeGroupVersion.String() {
			continue
		}
		var err error
		switch kind.Kind {
		case "ValidatingWebhookConfiguration":
			m.Webhooks, err = read(document, m.Webhooks)
		case "ValidatingAdmissionPolicy":
			m.Policies, err = read(document, m.Policies)
		case "ValidatingAdmissionPolicyBinding":
			m.Bindings, err = read(document, m.Bindings)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Kind, err)
		}
	}
	return m, nil
}

func read[T any](document string, into []*T) ([]*T, error) {
	object := new(T)
	if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
		return nil, err
	}
	return append(into, object), nil
}

// Static turns manifests into the form that an API server reads from its disk: names end in .static.k8s.io, and the webhook is asked at an address (https,
// without a Service, which the API server might not know yet), by an authority in PEM. A policy with parameters cannot be static, which would need the
// API: it is Left, and has to be installed beside.
func Static(m *Manifests, address string, ca []byte) (*Manifests, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("%q: want https://HOST[:PORT]/review", address)
	case len(m.Webhooks) == 0:
		return nil, errors.New("no ValidatingWebhookConfiguration among the manifests")
	case len(ca) == 0:
		return nil, errors.New("no authority: by what should the API server know the gate?")
	}
	out := new(Manifests)
	for _, w := range m.Webhooks {
		w = w.DeepCopy()
		w.ObjectMeta = static(w.Name)
		for i := range w.Webhooks {
			w.Webhooks[i].ClientConfig = admissionv1.WebhookClientConfig{URL: &address, CABundle: ca}
		}
		out.Webhooks = append(out.Webhooks, w)
	}
	for _, p := range m.Policies {
		if p.Spec.ParamKind != nil {
			out.Left = append(out.Left, p.Name)
			continue
		}
		p = p.DeepCopy()
		p.ObjectMeta = static(p.Name)
		out.Policies = append(out.Policies, p)
	}
	for _, b := range m.Bindings {
		if b.Spec.ParamRef != nil {
			continue
		}
		b = b.DeepCopy()
		b.ObjectMeta = static(b.Name)
		b.Spec.PolicyName = staticName(b.Spec.PolicyName)
		out.Bindings = append(out.Bindings, b)
	}
	return out, nil
}

func static(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: staticName(name)} }

func staticName(name string) string { return strings.TrimSuffix(name, staticSuffix) + staticSuffix }

// Files are static manifests and the configuration that names them, by their path in a folder that will be dir on the machine of the API server.
func (m *Manifests) Files(dir string) (map[string][]byte, error) {
	if !path.IsAbs(dir) {
		return nil, fmt.Errorf("%q: the API server wants an absolute path", dir)
	}
	webhooks, err := documents(m.Webhooks)
	if err != nil {
		return nil, err
	}
	policies, err := documents(m.Policies)
	if err != nil {
		return nil, err
	}
	bindings, err := documents(m.Bindings)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		WebhooksFile:               webhooks,
		"policies/commitgate.yaml": append(policies, bindings...),
		"admission.yaml": fmt.Appendf(nil, `# kube-apiserver --admission-control-config-file=%[1]s/admission.yaml --feature-gates=ManifestBasedAdmissionControlConfig=true
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ValidatingAdmissionWebhook
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: WebhookAdmissionConfiguration
    kubeConfigFile: ""
    staticManifestsDir: %[1]s/webhooks
- name: ValidatingAdmissionPolicy
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ValidatingAdmissionPolicyConfiguration
    staticManifestsDir: %[1]s/policies
`, strings.TrimRight(dir, "/")),
	}, nil
}

// YAML is the manifests as a stream of documents.
func (m *Manifests) YAML() ([]byte, error) {
	webhooks, err := documents(m.Webhooks)
	if err != nil {
		return nil, err
	}
	policies, err := documents(m.Policies)
	if err != nil {
		return nil, err
	}
	bindings, err := documents(m.Bindings)
	return append(append(webhooks, policies...), bindings...), err
}

// documents writes objects without the fields that only a cluster fills in.
func documents[T any](objects []*T) ([]byte, error) {
	var out []byte
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		var fields map[string]any
		if err := yaml.Unmarshal(text, &fields); err != nil {
			return nil, err
		}
		delete(fields, "status")
		if meta, ok := fields["metadata"].(map[string]any); ok {
			delete(meta, "creationTimestamp")
		}
		if text, err = yaml.Marshal(fields); err != nil {
			return nil, err
		}
		out = append(append(out, "---\n"...), text...)
	}
	return out, nil
}
