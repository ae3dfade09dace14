// Fluxvalues merges the values of a HelmRelease, or substitutes the variables of a Kustomization, with the code of Flux's own controllers
// (github.com/fluxcd/pkg): what package manifest does is held to it.
//
// It reads a case in JSON and writes what came of it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/fluxcd/pkg/chartutil"
	"github.com/fluxcd/pkg/kustomize"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/provider"
)

// given is one case.
type given struct {
	Namespace  string
	ConfigMaps map[string]map[string]string // by name
	Secrets    map[string]map[string]string
	// Own and ValuesFrom are those of a HelmRelease.
	Own        map[string]any
	ValuesFrom []meta.ValuesReference
	// Kustomization substitutes its variables in Object, where there is one.
	Kustomization map[string]any
	Object        map[string]any
}

// came is what came of it: an error, or values or an object.
type came struct {
	Error string         `json:"error,omitempty"`
	Made  map[string]any `json:"made,omitempty"`
}

func main() {
	var g given
	err := json.NewDecoder(os.Stdin).Decode(&g)
	var c came
	if err == nil {
		if c.Made, err = g.run(context.Background()); err != nil {
			c, err = came{Error: err.Error()}, nil
		}
		err = json.NewEncoder(os.Stdout).Encode(c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (g *given) run(ctx context.Context) (map[string]any, error) {
	if g.Kustomization == nil {
		return chartutil.ChartValuesFromReferences(ctx, logr.Discard(), cluster{given: g}, g.Namespace, g.Own, g.ValuesFrom...)
	}
	res, err := provider.NewDefaultDepProvider().GetResourceFactory().FromMap(g.Object)
	if err != nil {
		return nil, err
	}
	made, err := kustomize.SubstituteVariables(ctx, cluster{given: g}, unstructured.Unstructured{Object: g.Kustomization}, res)
	if err != nil {
		return nil, err
	}
	if made == nil {
		return g.Object, nil // left as it is
	}
	return made.Map()
}

// cluster serves the ConfigMaps and Secrets of a case.
type cluster struct {
	client.Client
	given *given
}

func (c cluster) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if key.Namespace != c.given.Namespace {
		return errors.New("of another namespace")
	}
	switch o := into.(type) {
	case *corev1.ConfigMap:
		if data, ok := c.given.ConfigMaps[key.Name]; ok {
			o.Data = data
			return nil
		}
	case *corev1.Secret:
		if data, ok := c.given.Secrets[key.Name]; ok {
			o.Data = map[string][]byte{}
			for k, v := range data {
				o.Data[k] = []byte(v)
			}
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func (cluster) Scheme() *runtime.Scheme { return runtime.NewScheme() }
