package manifest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/agent"
)

// waitsForValues says which ConfigMap or Secret that the Kustomization substitutes from is not found (yet).
func (u *kustomizationUnit) waitsForValues(r *renderer, last bool) string {
	if u.spec.PostBuild == nil {
		return ""
	}
	for _, from := range u.spec.PostBuild.SubstituteFrom {
		if why := r.lacks(&u.self, from, "substitutes", last); why != "" {
			return why
		}
	}
	return ""
}

// lacks says that values which an agent's object takes are not found (yet); "" if they are, or can be done without.
func (r *renderer) lacks(a *about, from fluxValues, takes string, last bool) string {
	k := a.valuesKey(from)
	switch {
	case r.values[k] != nil:
	case last && from.Optional:
		r.missed[k] = a.at
	default:
		return fmt.Sprintf("%s %s from %s, which is declared nowhere in Git: declare it, or make it optional", a.name(), takes, k)
	}
	return ""
}

// valuesKey is the ConfigMap or Secret that Flux's object means: one of its own namespace.
func (a *about) valuesKey(from fluxValues) Key {
	return Key{Kind: from.Kind, Namespace: a.owner.Namespace, Name: from.Name}
}

// taken covers the source and the values.
func (u *kustomizationUnit) taken(r *renderer) string {
	digest := sha256.New()
	s := r.sources[u.from]
	if s.repository != nil {
		fmt.Fprintf(digest, "%s\n", s.repository.Name)
	}
	fmt.Fprintf(digest, "%q %q\n", s.why, s.ignore)
	if u.spec.PostBuild != nil {
		for _, from := range u.spec.PostBuild.SubstituteFrom {
			if o := r.values[u.self.valuesKey(from)]; o != nil {
				fmt.Fprintf(digest, "%s\n", specText([]any{o.Content["data"], o.Content["stringData"], o.Content["binaryData"], o.Opaque}))
			}
		}
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// variables are those of the ConfigMaps and Secrets in their order, and over them those of the Kustomization itself.
func (u *kustomizationUnit) variables(r *renderer) (map[string]string, error) {
	vars := map[string]string{}
	for _, from := range u.spec.PostBuild.SubstituteFrom {
		o := r.values[u.self.valuesKey(from)]
		if o == nil {
			continue // optional: see waits
		}
		if len(o.Opaque) > 0 {
			r.problem(u.self.at, "%s substitutes from %s, whose values Git holds encrypted: what is applied could not be known", u.self.name(), o.Key)
			return nil, errReported
		}
		for k, v := range valuesOf(o) {
			vars[k] = strings.ReplaceAll(v, "\n", "")
		}
	}
	for k, v := range u.spec.PostBuild.Substitute {
		vars[k] = strings.ReplaceAll(v, "\n", "")
	}
	for k := range vars {
		if !variableName().MatchString(k) {
			r.problem(u.self.at, "%s: the variable %q has no name that Flux takes: letters, digits and underscores", u.self.name(), k)
			return nil, errReported
		}
	}
	return vars, nil
}

func variableName() *regexp.Regexp { return regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`) }

// valuesOf is the data of a ConfigMap or Secret.
func valuesOf(o *Object) map[string]string {
	out := map[string]string{}
	for k, v := range childMap(o.Content, "data") {
		s, _ := v.(string)
		if o.Kind == "Secret" {
			plain, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				continue // the API server refuses it
			}
			s = string(plain)
		}
		out[k] = s
	}
	if o.Kind == "Secret" {
		for k, v := range childMap(o.Content, "stringData") {
			out[k], _ = v.(string)
		}
	}
	return out
}

// substitute replaces ${variables} in the text of each document, as kustomize-controller does: after the build, in the YAML that sigs.k8s.io/yaml
// writes, so that a value may become a number or a boolean. Values that are encrypted are left for unseal: vars are for them.
func (r *renderer) substitute(u *kustomizationUnit, b *Build) (vars map[string]string, err error) {
	if u.spec.PostBuild == nil {
		return nil, nil
	}
	vars, err = u.variables(r)
	if err != nil || len(vars) == 0 {
		return nil, err
	}
	var texts []string
	var places []int // in the documents
	for i, doc := range b.documents {
		if substitutionDisabled(doc.content) {
			continue
		}
		before, err := yaml.Marshal(doc.content)
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(before), "$") {
			texts, places = append(texts, string(before)), append(places, i)
		}
	}
	if len(texts) == 0 {
		return vars, nil
	}
	a, err := r.do(emptyFolder{}, b.Path, job{Substitute: &substituteJob{texts, vars}})
	if err != nil {
		return nil, r.refuseFor(&u.self, "postBuild", err)
	}
	failed := false
	for j, made := range a.Docs {
		doc := b.documents[places[j]]
		if made.Why != "" {
			r.problem(Source{Repository: b.Repository, Path: doc.path, Line: doc.line}, "%s cannot substitute its variables here: %s", u.self.name(), made.Why)
			failed = true
			continue
		}
		changed := *doc
		changed.content = made.Content
		b.documents[places[j]] = &changed
	}
	if failed {
		return nil, errReported
	}
	return vars, nil
}

func substitutionDisabled(content map[string]any) bool {
	const disabled = agent.FluxKustomizeGroup + "/substitute"
	metadata := childMap(content, "metadata")
	return text(childMap(metadata, "labels"), disabled) == "disabled" || text(childMap(metadata, "annotations"), disabled) == "disabled"
}

// substituteValues is decrypted values with their variables replaced, as in the text of their documents.
func (r *renderer) substituteValues(b *Build, values map[string]any, vars map[string]string) (map[string]any, error) {
	out := maps.Clone(values)
	var texts, keys []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if s, ok := values[key].(string); ok && strings.Contains(s, "$") {
			before, err := yaml.Marshal(map[string]any{"value": s})
			if err != nil {
				return nil, err
			}
			texts, keys = append(texts, string(before)), append(keys, key)
		}
	}
	if len(texts) == 0 || len(vars) == 0 {
		return out, nil
	}
	a, err := r.do(emptyFolder{}, b.Path, job{Substitute: &substituteJob{texts, vars}})
	if err != nil {
		return nil, err
	}
	for i, made := range a.Docs {
		if made.Why != "" {
			return nil, errSubstitution
		}
		out[keys[i]] = made.Content["value"]
	}
	return out, nil
}

// errSubstitution says nothing of the value in which it happened.
var errSubstitution = errors.New("variables cannot be substituted in what is decrypted here")

// substituted is the one object of a text with its variables replaced.
func substituted(before string, vars map[string]string) docAnswer {
	after, err := envsubst.Eval(before, func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	})
	switch {
	case err != nil:
		return docAnswer{Why: boundText(err.Error())}
	case len(after) > maxText:
		return docAnswer{Why: fmt.Sprintf("they make more than %d bytes of one object", maxText)}
	}
	docs, err := parse("substituted.yaml", []byte(after), dialectKubernetes)
	switch {
	case err != nil:
		return docAnswer{Why: boundText(err.Error())}
	case len(docs) != 1:
		return docAnswer{Why: fmt.Sprintf("its variables make %d documents of one", len(docs))}
	}
	return docAnswer{Content: docs[0].content}
}
