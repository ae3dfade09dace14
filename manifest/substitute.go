package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/agent"
	"github.com/commitgate/commitgate/compact"
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
	case r.value(k) != nil:
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
			if o := r.value(u.self.valuesKey(from)); o != nil {
				digestEntries(digest, o)
			}
		}
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// variables are those of the ConfigMaps and Secrets in their order, and over them those of the Kustomization itself; nil if it names none.
func (u *kustomizationUnit) variables(r *renderer) (*variables, error) {
	if u.spec.PostBuild == nil {
		return nil, nil
	}
	vars := map[string]entry{}
	places := map[string]Key{}
	var from []*Object
	for _, ref := range u.spec.PostBuild.SubstituteFrom {
		o := r.value(u.self.valuesKey(ref))
		if o == nil {
			continue // optional: see waits
		}
		from = append(from, o)
		entries, err := r.entries(o)
		if err != nil {
			return nil, err
		}
		for k, e := range entries {
			e.text = strings.ReplaceAll(e.text, "\n", "")
			vars[k], places[k] = e, o.Key
		}
	}
	for k, v := range u.spec.PostBuild.Substitute {
		vars[k] = entry{text: strings.ReplaceAll(v, "\n", "")}
	}
	v := &variables{plain: map[string]string{}, mark: valuesMark(from)}
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		switch e := vars[k]; {
		case !variableName().MatchString(k):
			r.problem(u.self.at, "%s: the variable %q has no name that Flux takes: letters, digits and underscores", u.self.name(), k)
			return nil, errReported
		case e.hidden:
			v.names = append(v.names, k)
			v.hidden = append(v.hidden, hidden{name: k + " of " + places[k].String(), known: e.known, value: e.text})
		default:
			v.plain[k] = e.text
		}
	}
	return v, nil
}

func variableName() *regexp.Regexp { return regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`) }

// substitute replaces ${variables} in the text of each document, as kustomize-controller does: after the build, in the YAML that sigs.k8s.io/yaml
// writes, so that a value may become a number or a boolean. Values that are encrypted are left for unseal. What comes of a hidden
// variable is sealed, or known by its shape only.
func (r *renderer) substitute(u *kustomizationUnit, b *Build, vars *variables) error {
	if vars.none() {
		return nil
	}
	var docs []*document
	var texts []string
	var places []int // in the documents
	for i, doc := range b.documents {
		if doc.substituted || substitutionDisabled(doc.content) {
			continue
		}
		before, err := yaml.Marshal(doc.content)
		switch {
		case err != nil:
			return err
		case !strings.Contains(string(before), "$"):
		case len(vars.within(string(before)).names) > 0:
			made, err := r.substituteHidden(u, b, doc, string(before), vars.within(string(before)))
			if err != nil {
				return err
			}
			b.documents[i] = made
		default:
			docs, texts, places = append(docs, doc), append(texts, string(before)), append(places, i)
		}
	}
	made, failures, err := r.substituteTexts(b, docs, texts, vars.real())
	if err != nil {
		return r.refuseFor(&u.self, "postBuild", err)
	}
	for i, doc := range made {
		b.documents[places[i]] = doc
	}
	for _, f := range failures {
		r.problem(Source{Repository: b.Repository, Path: f.Path, Line: f.Line}, "%s cannot substitute its variables here: %s", u.self.name(), f.What)
	}
	b.documents = slices.DeleteFunc(b.documents, func(doc *document) bool { return doc == nil })
	if len(failures) > 0 {
		return errReported
	}
	return nil
}

// substituteTexts are copies of documents with the variables replaced in their texts, and where that fails.
func (r *renderer) substituteTexts(b *Build, docs []*document, texts []string, vars map[string]string) (made []*document, failures Problems, err error) {
	if len(texts) == 0 {
		return nil, nil, nil
	}
	a, err := r.do(emptyFolder{}, b.Path, job{Substitute: &substituteJob{texts, vars}})
	if err != nil {
		return nil, nil, err
	}
	for i, answer := range a.Docs {
		changed := *docs[i]
		if answer.Why != "" {
			failures = append(failures, Problem{b.Repository, changed.path, changed.line, answer.Why})
		} else {
			changed.content = compact.Of(answer.Content)
		}
		made = append(made, &changed)
	}
	return made, failures, nil
}

// substituteDocument is a copy of a document with the variables replaced in its text. What is wrong with that is a *refusedFile.
func (r *renderer) substituteDocument(b *Build, doc *document, text string, vars map[string]string) ([]*document, error) {
	made, failures, err := r.substituteTexts(b, []*document{doc}, []string{text}, vars)
	if err == nil && len(failures) > 0 {
		err = &refusedFile{path: doc.path, line: doc.line, err: errors.New(failures[0].What)}
	}
	return made, err
}

// substituteHidden is substitute for one document that may hold something of hidden variables; nil if it cannot be declared.
func (r *renderer) substituteHidden(u *kustomizationUnit, b *Build, doc *document, text string, vars *variables) (*document, error) {
	made, err := r.sealTrial(b, vars.hidden, vars.mark, func(values []any) ([]*document, error) {
		return r.substituteDocument(b, doc, text, vars.with(values))
	})
	at := Source{Repository: b.Repository, Path: doc.path, Line: doc.line}
	var beyond *unknowable
	switch {
	case errors.As(err, &beyond):
		gk, _ := kindOf(doc.content)
		b.unfollows = append(b.unfollows, Problem{at.Repository, at.Path, at.Line, fmt.Sprintf("%s is not declared: %s substitutes its variables, and %v", gk.kind, u.self.name(), beyond)})
		return nil, nil
	case err != nil:
		return nil, r.refuseHere(at, u.self.name()+" cannot substitute its variables here: ", err)
	}
	return made[0], nil
}

func substitutionDisabled(content compact.Object) bool {
	const disabled = agent.FluxKustomizeGroup + "/substitute"
	return content.Text("metadata", "labels", disabled) == "disabled" || content.Text("metadata", "annotations", disabled) == "disabled"
}

// substituteValues is decrypted values with their variables replaced, as in the text of their documents. Those that hold variables which nobody knows are
// left out.
func (r *renderer) substituteValues(b *Build, values map[string]any, vars *variables) (map[string]any, error) {
	if vars.none() {
		return values, nil
	}
	made, err := r.substituteEach(b, values, vars.real())
	if err != nil || !vars.unknown() {
		return made, err
	}
	p := probing{values: vars.hidden}
	others, err := r.substituteEach(b, values, vars.with(p.strangers()))
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(made, func(key string, v any) bool { return !reflect.DeepEqual(v, others[key]) })
	return made, nil
}

func (r *renderer) substituteEach(b *Build, values map[string]any, vars map[string]string) (map[string]any, error) {
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
	if len(texts) == 0 {
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

// substituted is the one object of a text with its variables replaced: those that nobody sets by nothing, which is Flux's default
// (StrictPostBuildSubstitutions is off).
func substituted(before string, vars map[string]string) docAnswer {
	after, err := envsubst.Eval(before, func(name string) (string, bool) { return vars[name], true })
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
	return docAnswer{Content: docs[0].content.Map()}
}
