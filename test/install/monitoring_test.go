package install

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const runbooks = "https://github.com/commitgate/commitgate/blob/main/docs/runbooks.md#"

// TestMonitoring: the chart and config/monitoring have the same alerts.
func TestMonitoring(t *testing.T) {
	chart, _, err := template(t, values(t, least, `monitoring: {enabled: true}`))
	if err != nil {
		t.Fatal(err)
	}
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../../config/monitoring")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]object{}
	read(t, "config/monitoring", string(plain), objects)
	if len(objects) != 2 {
		t.Fatalf("%d objects in config/monitoring, want a ServiceMonitor and a PrometheusRule", len(objects))
	}
	for name, o := range objects {
		if chart[name] == nil {
			t.Errorf("the chart lacks %s", name)
			continue
		}
		// Annotations of alerts are compared too: normal would take them away.
		if want, have := o["spec"], chart[name]["spec"]; name == "PrometheusRule commitgate" && !reflect.DeepEqual(want, have) {
			t.Errorf("%s differs.\nkustomize: %s\nchart:     %s", name, text(want), text(have))
		}
		if want, have := normal(o), normal(chart[name]); !reflect.DeepEqual(want, have) {
			t.Errorf("%s differs.\nkustomize: %s\nchart:     %s", name, text(want), text(have))
		}
	}
	// What the ServiceMonitor selects is the Service with the port that it names.
	service := chart["Service commitgate-replicas"]
	labels := service["metadata"].(object)["labels"].(object)
	for k, v := range chart["ServiceMonitor commitgate"]["spec"].(object)["selector"].(object)["matchLabels"].(object) {
		if labels[k] != v {
			t.Errorf("the ServiceMonitor selects %s=%v, the Service has %v", k, v, labels[k])
		}
	}
	if !strings.Contains(text(service["spec"]), `"name":"probes"`) {
		t.Error("the Service commitgate-replicas has no port probes")
	}
}

// rules are the alerts of the chart.
func rules(t *testing.T) []object {
	t.Helper()
	objects, _, err := template(t, values(t, least, `monitoring: {enabled: true}`))
	if err != nil {
		t.Fatal(err)
	}
	var out []object
	for _, group := range objects["PrometheusRule commitgate"]["spec"].(object)["groups"].([]any) {
		for _, rule := range group.(object)["rules"].([]any) {
			out = append(out, rule.(object))
		}
	}
	if len(out) == 0 {
		t.Fatal("no alerts")
	}
	return out
}

// TestRunbooks: whoever is woken by an alert finds its section, and no section is about an alert that is gone.
func TestRunbooks(t *testing.T) {
	document, err := os.ReadFile("../../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections, alerts []string
	for _, m := range regexp.MustCompile(`(?m)^## (Commitgate\w+)$`).FindAllSubmatch(document, -1) {
		sections = append(sections, string(m[1]))
	}
	for _, rule := range rules(t) {
		name := rule["alert"].(string)
		alerts = append(alerts, name)
		annotations := rule["annotations"].(object)
		if want := runbooks + strings.ToLower(name); annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %v, want %s", name, annotations["runbook_url"], want)
		}
		if annotations["summary"] == nil || rule["labels"].(object)["severity"] == nil {
			t.Errorf("%s lacks a summary or a severity", name)
		}
	}
	if !slices.Equal(sections, alerts) {
		t.Errorf("sections of docs/runbooks.md and alerts differ.\nsections: %v\nalerts:   %v", sections, alerts)
	}
}

// TestExpressions: an alert or a panel about a metric that the gate does not export is silent for ever.
func TestExpressions(t *testing.T) {
	exported := metrics(t)
	for _, rule := range rules(t) {
		checkExpression(t, exported, rule["alert"].(string), rule["expr"].(string))
	}
	objects, _, err := template(t, values(t, least, `monitoring: {dashboard: true}`))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	data := objects["ConfigMap commitgate-dashboard"]["data"].(object)
	if err := json.Unmarshal([]byte(data["commitgate.json"].(string)), &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) == 0 {
		t.Fatal("a dashboard without panels")
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			checkExpression(t, exported, "panel "+panel.Title, target.Expr)
		}
	}
}

// metrics are the labels of each metric, by its name, as docs/metrics.md (generated from the gate) lists them.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	document, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(gate_\\w+)` \\|([^|]*)\\|").FindAllSubmatch(document, -1) {
		out[string(m[1])] = regexp.MustCompile(`\w+`).FindAllString(string(m[2]), -1)
	}
	if len(out) == 0 {
		t.Fatal("docs/metrics.md lists nothing")
	}
	return out
}

var (
	metricName = regexp.MustCompile(`\b(gate_\w+)(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)`)
	grouping   = regexp.MustCompile(`\b(?:by|without) \(([^)]*)\)`)
)

func checkExpression(t *testing.T, exported map[string][]string, where, expr string) {
	t.Helper()
	names := metricName.FindAllStringSubmatch(expr, -1)
	if len(names) == 0 {
		t.Errorf("%s: %s names no metric of the gate", where, expr)
	}
	known := []string{"le", "pod"} // of histograms, and of the ServiceMonitor
	for _, m := range names {
		labels, ok := exported[m[1]]
		if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m[1], ""); !ok {
			labels, ok = exported[base]
		}
		if !ok {
			t.Errorf("%s: %s is not in docs/metrics.md", where, m[1])
		}
		known = append(known, labels...)
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(labels, l[1]) {
				t.Errorf("%s: %s has no label %s", where, m[1], l[1])
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(g[1], ",") {
			if !slices.Contains(known, strings.TrimSpace(l)) {
				t.Errorf("%s: %s groups by %s, which no metric in it has", where, expr, l)
			}
		}
	}
}
