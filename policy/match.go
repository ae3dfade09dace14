package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// metadata is what matching needs to know of a request.
type metadata struct {
	operation   string
	namespace   string // of the request
	object, old *objectMeta
	nsName      string // of the Namespace object, "" if it is not known
	nsLabels    map[string]string
	nsKnown     bool
	generated   bool // the object is implied by another (ExpansionTemplate)
}

type objectMeta struct {
	apiVersion, group, kind       string
	namespace, name, generateName string
	labels                        map[string]string
}

func (o *objectMeta) version() string { return o.apiVersion[strings.LastIndex(o.apiVersion, "/")+1:] }

func metadataOf(in Input) metadata {
	m := metadata{object: objectMetaOf(in.Object), old: objectMetaOf(in.OldObject)}
	m.operation, _ = in.Request["operation"].(string)
	m.namespace, _ = in.Request["namespace"].(string)
	ns := in.Namespace
	if ns == nil && m.namespace != "" {
		ns = in.Inventory.Namespace(m.namespace)
	}
	if ns != nil {
		o := objectMetaOf(ns)
		m.nsKnown, m.nsName, m.nsLabels = true, o.name, o.labels
	}
	return m
}

func objectMetaOf(o map[string]any) *objectMeta {
	if o == nil {
		return nil
	}
	m := &objectMeta{labels: map[string]string{}}
	m.kind, _ = o["kind"].(string)
	m.apiVersion, _ = o["apiVersion"].(string)
	if g, _, ok := strings.Cut(m.apiVersion, "/"); ok {
		m.group = g
	}
	meta, _ := o["metadata"].(map[string]any)
	m.name, _ = meta["name"].(string)
	m.namespace, _ = meta["namespace"].(string)
	m.generateName, _ = meta["generateName"].(string)
	ls, _ := meta["labels"].(map[string]any)
	for k, v := range ls {
		if s, ok := v.(string); ok {
			m.labels[k] = s
		}
	}
	return m
}

func (o *objectMeta) isNamespace() bool { return o.kind == "Namespace" && o.group == "" }

// match is spec.match of a constraint, as Gatekeeper defines it. The zero value matches everything.
type match struct {
	Source string `json:"source"`
	Kinds  []struct {
		APIGroups []string `json:"apiGroups"`
		Kinds     []string `json:"kinds"`
	} `json:"kinds"`
	Scope              string                `json:"scope"`
	Namespaces         []glob                `json:"namespaces"`
	ExcludedNamespaces []glob                `json:"excludedNamespaces"`
	LabelSelector      *metav1.LabelSelector `json:"labelSelector"`
	NamespaceSelector  *metav1.LabelSelector `json:"namespaceSelector"`
	Name               glob                  `json:"name"`

	labels, namespaceLabels labels.Selector
}

func parseMatch(v any) (*match, error) {
	m := &match{}
	if v == nil {
		return m, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, err
	}
	if m.LabelSelector != nil {
		if m.labels, err = metav1.LabelSelectorAsSelector(m.LabelSelector); err != nil {
			return nil, fmt.Errorf("labelSelector: %w", err)
		}
	}
	if m.NamespaceSelector != nil {
		if m.namespaceLabels, err = metav1.LabelSelectorAsSelector(m.NamespaceSelector); err != nil {
			return nil, fmt.Errorf("namespaceSelector: %w", err)
		}
	}
	return m, nil
}

// The errors of matching: it cannot be told whether the constraint applies, so it counts as violated.
var (
	errNoObject    = errors.New("neither object nor oldObject is there to match")
	errNoNamespace = errors.New("namespace selector for namespace-scoped object but missing Namespace: the inventory does not hold it")
)

// any tells whether the object or the old object matches.
func (m *match) any(d metadata) (bool, error) {
	object := d.object
	if d.operation == "DELETE" && object == nil {
		object = d.old
	}
	if object == nil && d.old == nil {
		return false, errNoObject
	}
	for _, o := range []*objectMeta{object, d.old} {
		if o == nil {
			continue
		}
		ok, err := m.one(o, d)
		if ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

func (m *match) one(o *objectMeta, d metadata) (bool, error) {
	ok := m.kind(o) && m.scope(o, d) && m.inNamespaces(o, d) && !m.excluded(o, d) &&
		(m.labels == nil || m.labels.Matches(labels.Set(o.labels)))
	if !ok {
		return false, nil
	}
	if ok, err := m.namespaceSelected(o, d); !ok || err != nil {
		return false, err
	}
	if m.Name != "" && !m.Name.matches(o.name) && !m.Name.matchesGenerated(o.generateName) {
		return false, nil
	}
	return m.Source == "" || m.Source == "All" || (m.Source == "Generated") == d.generated, nil
}

func (m *match) kind(o *objectMeta) bool {
	if len(m.Kinds) == 0 {
		return true
	}
	for _, k := range m.Kinds {
		if listed(k.Kinds, o.kind) && listed(k.APIGroups, o.group) {
			return true
		}
	}
	return false
}

// listed tells whether s is in the list. An empty list and "*" hold everything.
func listed(in []string, s string) bool {
	for _, x := range in {
		if x == "*" || x == s {
			return true
		}
	}
	return len(in) == 0
}

func (m *match) scope(o *objectMeta, d metadata) bool {
	namespaced := !o.isNamespace() && (o.namespace != "" || d.nsKnown)
	switch m.Scope {
	case "Cluster":
		return !namespaced
	case "Namespaced":
		return namespaced
	}
	return true
}

// namespaceOf is the namespace that lists of namespaces are about, false for what is in none.
func namespaceOf(o *objectMeta, d metadata) (string, bool) {
	switch {
	case o.isNamespace():
		return o.name, true
	case d.nsKnown:
		return d.nsName, true
	case o.namespace != "":
		return o.namespace, true
	}
	return "", false
}

func (m *match) inNamespaces(o *objectMeta, d metadata) bool {
	ns, ok := namespaceOf(o, d)
	return len(m.Namespaces) == 0 || !ok || anyGlob(m.Namespaces, ns)
}

func (m *match) excluded(o *objectMeta, d metadata) bool {
	ns, ok := namespaceOf(o, d)
	return ok && anyGlob(m.ExcludedNamespaces, ns)
}

func (m *match) namespaceSelected(o *objectMeta, d metadata) (bool, error) {
	switch {
	case m.namespaceLabels == nil:
		return true, nil
	case o.isNamespace():
		return m.namespaceLabels.Matches(labels.Set(o.labels)), nil
	case d.nsKnown:
		return m.namespaceLabels.Matches(labels.Set(d.nsLabels)), nil
	case o.namespace == "":
		return true, nil // cluster-scoped
	}
	return false, errNoNamespace
}

// glob is a name with an optional * in front, at the end, or both.
type glob string

func (g glob) matches(s string) bool {
	text := string(g)
	front, back := strings.HasPrefix(text, "*"), strings.HasSuffix(text, "*")
	switch {
	case front && back:
		return strings.Contains(s, strings.TrimSuffix(text[1:], "*"))
	case front:
		return strings.HasSuffix(s, text[1:])
	case back:
		return strings.HasPrefix(s, text[:len(text)-1])
	}
	return text == s
}

// matchesGenerated is matches for a name that the server will complete: only a pattern with an open end can match it.
func (g glob) matchesGenerated(prefix string) bool {
	return strings.HasSuffix(string(g), "*") && g.matches(prefix)
}

func anyGlob(gs []glob, s string) bool {
	for _, g := range gs {
		if g.matches(s) {
			return true
		}
	}
	return false
}
