package manifest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

const plainDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {app: web}, creationTimestamp: null}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {example.org/port: "8080"}}
    spec:
      containers:
      - name: web
        image: registry.test/web:1.2@sha256:0123
        args: [--listen=:8080, "--say=it's on", '*', ~]
        resources: {requests: {cpu: 100m, memory: 64Mi}}
        securityContext: {privileged: false}
`

// FuzzContent holds what is made of a resource against what kustomize writes of it, also where kustomize or a patch has changed tags and styles.
func FuzzContent(f *testing.F) {
	for _, text := range []string{
		plainDeployment, "a: {b: [], c: {}, d: null, e: ~, f: }", "a: yes\nb: 'true'\nc: 0x10\nd: 010\ne: 1.0\nf: 1e3\ng: 2001-01-01\nh: .inf\ni: -0", "? [a]\n: b\n1: c\n",
		"a: |\n  one\n  two\n\nb: |-\n  one\n   two\nc: |+\n  one\n\nd: >\n  folded\n  text\ne: \"\\n x\"\nf: \"a\\tb\"\n",
		"# head\na: # line\n  # in\n  b: c # more\n  # foot\n\n# tail\nd: [1, # one\n 2]\n", "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n",
		"a: !!str 1\nb: !!binary aGk=\nc: !custom x\nd: \"\\u2028\\u00a0\\ufeffé日\"\n", "a: ' x '\nb: '- x'\nc: 'a: b'\nd: '#x'\ne: '&x'\nf: '?'\ng: ''\nh: '---'\ni: '...'\n",
		"a: {b: |\n  x\n  }\n", "data:\n  script: |\n    #!/bin/sh\n    if true; then\n      echo 'x: y' # no comment\n    fi\n", "a: 99999999999999999999\nb: -9223372036854775808\n",
		strings.Repeat("k", 100) + ": " + strings.Repeat("a long line ", 30) + "\nb: '" + strings.Repeat("a long: line ", 30) + "'\n",
	} {
		for _, change := range []byte{0, 1, 2, 3, 4, 5} {
			f.Add([]byte(text), change)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, change byte) {
		dec := yamlv3.NewDecoder(bytes.NewReader(text))
		var node yamlv3.Node
		if err := decodeNode(dec, &node); errors.Is(err, io.EOF) || err != nil || expanded(&node, 10_000, 0) >= 10_000 {
			return
		}
		resource := kyaml.NewRNode(&node)
		if node.Kind == yamlv3.DocumentNode {
			resource = kyaml.NewRNode(node.Content[0])
		}
		if resource.YNode() == nil || resource.YNode().Kind != yamlv3.MappingNode {
			return
		}
		retouch(resource.YNode(), change)
		agrees(t, resource)
	})
}

// FuzzContentOfNodes is the same for nodes that no parser makes, but a build may: one tree for each seed.
func FuzzContentOfNodes(f *testing.F) {
	for seed := range uint64(1000) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		agrees(t, kyaml.NewRNode((&grower{rand.New(rand.NewPCG(seed, 0))}).mapping(0)))
	})
}

// agrees checks that what is made of a resource, if anything is, is what kustomize writes.
func agrees(t *testing.T, resource *kyaml.RNode) {
	t.Helper()
	have, ok := plainValue(resource.YNode())
	if !ok {
		return // kustomize itself says
	}
	var want map[string]any
	text, err := resource.MarshalJSON()
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(text, &want)
	}
	if err != nil || !reflect.DeepEqual(have, any(want)) {
		t.Errorf("%#v\nkustomize says %v\n%#v", have, err, want)
	}
}

// grower makes nodes with texts, styles and comments that are easily taken for something else.
type grower struct{ *rand.Rand }

func (g *grower) one(of ...string) string { return of[g.IntN(len(of))] }

func (g *grower) text() string {
	var s strings.Builder
	for range g.IntN(7) {
		s.WriteString(g.one("a", "b", " ", "  ", "\n", "-", ":", "#", "'", "\"", "\\", "{", "}", "[", "]", ",", "&", "*", "!", "|", ">", "%", "@", "`", "?", "=", "<<", "~", "null", "true",
			"yes", "1", "0x1", "1e3", ".", "é", "日", "😀", "\u2028", "\t", "---", "...", "x: y", "- z", "\u00ad", "\u0300", "a line that goes on and on until it is too long to be written as one"))
	}
	return s.String()
}

func (g *grower) node(kind yamlv3.Kind, tag string) *yamlv3.Node {
	comment := func() string {
		if g.IntN(20) > 0 {
			return ""
		}
		return g.one("# x", "# - a: b", "# {")
	}
	return &yamlv3.Node{Kind: kind, Tag: tag, HeadComment: comment(), LineComment: comment(), FootComment: comment()}
}

func (g *grower) scalar() *yamlv3.Node {
	n := g.node(yamlv3.ScalarNode, g.one("!!str", "!!str", "!!str", "!!int", "!!bool", "!!null"))
	switch n.Tag {
	case "!!int":
		n.Value = g.one("1", "0", "-5", "007", "0x1", "12345678901234567890")
	case "!!bool":
		n.Value = g.one("true", "false", "yes")
	case "!!null":
		n.Value = g.one("null", "~", "")
	default:
		n.Value = g.text()
		n.Style = []yamlv3.Style{0, 0, yamlv3.SingleQuotedStyle, yamlv3.DoubleQuotedStyle, yamlv3.LiteralStyle}[g.IntN(5)]
	}
	return n
}

func (g *grower) value(depth int) *yamlv3.Node {
	switch kind := g.IntN(5); {
	case depth > 3 || kind < 3:
		return g.scalar()
	case kind == 3:
		return g.mapping(depth)
	}
	n := g.collection(yamlv3.SequenceNode, "!!seq")
	for range g.IntN(4) {
		n.Content = append(n.Content, g.value(depth+1))
	}
	return n
}

func (g *grower) mapping(depth int) *yamlv3.Node {
	n := g.collection(yamlv3.MappingNode, "!!map")
	for range g.IntN(4) {
		n.Content = append(n.Content, g.scalar(), g.value(depth+1))
	}
	return n
}

func (g *grower) collection(kind yamlv3.Kind, tag string) *yamlv3.Node {
	n := g.node(kind, tag)
	if g.IntN(4) == 0 {
		n.Style = yamlv3.FlowStyle
	}
	return n
}

// retouch changes nodes as what builds and patches does.
func retouch(n *yamlv3.Node, how byte) {
	switch how % 6 {
	case 1:
		n.Style = 0
	case 2:
		if n.Kind == yamlv3.ScalarNode && n.Tag != "!!merge" {
			n.Tag = "!!str"
		}
	case 3:
		if n.Kind != yamlv3.ScalarNode {
			n.Style = yamlv3.FlowStyle
		}
	case 4:
		n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	case 5:
		if n.Kind == yamlv3.ScalarNode && n.Tag == "!!str" {
			n.Style = yamlv3.LiteralStyle
		}
	}
	for _, c := range n.Content {
		retouch(c, how)
	}
}

// What almost all resources are made of goes the short way, or it would be of no use.
func TestPlainResourcesAreTakenAsTheyAre(t *testing.T) {
	for name, text := range map[string]string{
		"a Deployment":  plainDeployment,
		"a script":      "data:\n  run: |\n    #!/bin/sh\n    echo done\n",
		"a crontab":     "spec: {schedule: '*/5 * * * *', suspend: false, limit: 3, nothing: null}\n",
		"with comments": "# of ours\nkind: ConfigMap # the kind\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, ok := plainValue(kyaml.MustParse(text).YNode()); !ok {
				t.Error("it takes the long way")
			}
		})
	}
}
