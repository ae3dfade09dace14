package watchdog

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/commitgate/commitgate/authority"
)

// group is the API group of everything that is registered.
const group = "admissionregistration.k8s.io"

// webhookKind is the kind that a Repair of Webhook puts back.
const webhookKind = "ValidatingWebhookConfiguration"

// resources are those of the kinds that a registration may hold.
func resources() map[string]string {
	return map[string]string{
		webhookKind:                        "validatingwebhookconfigurations",
		"ValidatingAdmissionPolicy":        "validatingadmissionpolicies",
		"ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
	}
}

// key names a registered object.
type key struct{ kind, name string }

func (k key) String() string { return k.kind + " " + k.name }

func (k key) resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resources()[k.kind]}
}

// Load reads a registration: a YAML file, or every *.yaml of a folder. It holds nothing but ValidatingWebhookConfigurations,
// ValidatingAdmissionPolicies and their bindings (admissionregistration.k8s.io/v1), each once.
func Load(path string) ([]*unstructured.Unstructured, error) {
	files := []string{path}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
			return nil, err
		}
	}
	var out []*unstructured.Unstructured
	seen := map[key]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		objects, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, o := range objects {
			if k := keyOf(o); seen[k] {
				return nil, fmt.Errorf("%s: %s is there twice", file, k)
			}
			seen[keyOf(o)] = true
		}
		out = slices.Concat(out, objects)
	}
	return out, nil
}

func keyOf(o *unstructured.Unstructured) key { return key{o.GetKind(), o.GetName()} }

// parse reads the documents of one file.
func parse(data []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		o := new(unstructured.Unstructured)
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(o.Object) == 0 {
			continue
		}
		if _, ok := resources()[o.GetKind()]; !ok || o.GetAPIVersion() != group+"/v1" || o.GetName() == "" {
			return nil, fmt.Errorf("%s %s %q does not belong to a registration", o.GetAPIVersion(), o.GetKind(), o.GetName())
		}
		out = append(out, o)
	}
}

// trust fills in the authority (base64 of its PEM) by which the API server is to know the gate, if the gate knows it, and tells whether every webhook
// has one then.
func trust(o *unstructured.Unstructured, bundle string) bool {
	webhooks, _ := o.Object["webhooks"].([]any)
	known := true
	for _, v := range webhooks {
		w, _ := v.(map[string]any)
		client, _ := w["clientConfig"].(map[string]any)
		if client == nil {
			continue
		}
		switch have, _ := client["caBundle"].(string); {
		case bundle != "":
			client["caBundle"] = bundle
		case have == "":
			delete(client, "caBundle")
			known = false
		}
	}
	return known
}

// trusts tells whether every webhook knows the gate by some of its own authorities, and by nobody else's: while one replaces another, both may be
// there, or either.
func trusts(o *unstructured.Unstructured, ours []*x509.Certificate) bool {
	webhooks, _ := o.Object["webhooks"].([]any)
	for _, v := range webhooks {
		w, _ := v.(map[string]any)
		client, _ := w["clientConfig"].(map[string]any)
		text, _ := client["caBundle"].(string)
		bundle, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return false
		}
		theirs, err := authority.Certificates(bundle)
		if err != nil || len(theirs) == 0 {
			return false
		}
		for _, c := range theirs {
			if !slices.ContainsFunc(ours, c.Equal) {
				return false
			}
		}
	}
	return true
}
