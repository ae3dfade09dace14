package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/snapshot"
)

// objectArg is KIND/NAME as kubectl takes it; the kind may be any name that the API server or Git knows it by.
type objectArg struct{ kind, name string }

func parseObjectArg(arg string) (objectArg, error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok || kind == "" || name == "" || strings.Contains(name, "/") {
		return objectArg{}, usage("%q: want KIND/NAME, such as deployment/cart", arg)
	}
	return objectArg{kind, name}, nil
}

// is tells whether a key is meant: by kind, Kind.group or plural.
func (a objectArg) is(k manifest.Key, namespace string) bool {
	if k.Name != a.name || k.Namespace != "" && namespace != "" && k.Namespace != namespace {
		return false
	}
	kind, group, qualified := strings.Cut(strings.ToLower(a.kind), ".")
	if qualified && group != k.Group {
		return false
	}
	own := strings.ToLower(k.Kind)
	if long, ok := shortKinds()[kind]; ok {
		kind = long
	}
	return kind == own || kind == own+"s" || kind == own+"es" || strings.HasSuffix(own, "y") && kind == strings.TrimSuffix(own, "y")+"ies"
}

// shortKinds are the names by which people call the kinds that they speak of most.
func shortKinds() map[string]string {
	return map[string]string{
		"cm": "configmap", "cj": "cronjob", "crd": "customresourcedefinition", "deploy": "deployment", "ds": "daemonset", "hpa": "horizontalpodautoscaler",
		"ing": "ingress", "netpol": "networkpolicy", "ns": "namespace", "pdb": "poddisruptionbudget", "po": "pod", "pvc": "persistentvolumeclaim",
		"quota": "resourcequota", "rs": "replicaset", "sa": "serviceaccount", "sts": "statefulset", "svc": "service",
	}
}

// find is the declared object that is meant, nil if there is none. Of several in different namespaces none is: it has to be said.
func (a objectArg) find(s *snapshot.Snapshot, namespace string) (*snapshot.Entry, error) {
	var found *snapshot.Entry
	for e := range s.All() {
		if !a.is(e.Key, namespace) {
			continue
		}
		if found != nil {
			return nil, usage("%s/%s: both %s and %s are declared; say which with --namespace, or KIND.GROUP", a.kind, a.name, found.Key, e.Key)
		}
		found = e
	}
	return found, nil
}

// readObjects reads live objects as `kubectl get -o yaml` prints them: YAML or JSON, several documents, Lists.
func readObjects(stdin io.Reader, file string) ([]map[string]any, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usage("%w", err)
		}
		defer f.Close()
		in = f
	}
	var out []map[string]any
	for d := yaml.NewYAMLOrJSONDecoder(in, 4096); ; {
		var object map[string]any
		if err := d.Decode(&object); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, usage("%s: %w", file, err)
		}
		items, isList := object["items"].([]any)
		if !isList && object != nil {
			out = append(out, object)
		}
		for i, item := range items {
			o, ok := item.(map[string]any)
			if !ok {
				return nil, usage("%s: item %d is no object", file, i)
			}
			out = append(out, o)
		}
	}
}

// valueText is a value as YAML, for people.
func valueText(v any) string {
	b, err := sigsyaml.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(string(b), "\n")
}
