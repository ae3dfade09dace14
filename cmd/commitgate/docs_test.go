package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"

	"github.com/commitgate/commitgate/audit/outcome"
	"github.com/commitgate/commitgate/controller"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/watchdog"
)

var update = flag.Bool("update", false, "write the generated documents instead of comparing them")

// TestCLIDocument holds docs/cli.md to the commands: every command and every flag stands there.
func TestCLIDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Command line\n\nOne binary. Called `kubectl-commitgate` it is a kubectl plugin. Every command ends with status 0 (yes), 1 (no: something is not, and it was named),\n" +
		"2 (the command line or a file it names is wrong) or 3 (could not tell). Generated from the commands' own help.\n")
	var describe func(c *cobra.Command)
	describe = func(c *cobra.Command) {
		if c.Runnable() && !c.HasSubCommands() {
			describeCommand(&b, c)
			if c.Example == "" {
				t.Errorf("%s has no example", c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			if !sub.Hidden && sub.Name() != "help" && sub.Name() != "completion" {
				describe(sub)
			}
		}
	}
	describe(newRoot("commitgate"))
	compareDocument(t, "../../docs/cli.md", b.String())
}

func describeCommand(b *strings.Builder, c *cobra.Command) {
	about := c.Long
	if about == "" {
		about = c.Short + "."
	}
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n```\n%s\n```\n", c.CommandPath(), about, strings.TrimSpace(c.Example))
	first := true
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if first {
			b.WriteString("\n| flag | default | meaning |\n|---|---|---|\n")
			first = false
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		value := f.DefValue
		if value == "[]" {
			value = ""
		}
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, value, strings.ReplaceAll(f.Usage, "|", "\\|"))
	})
}

// TestMetricsDocument holds docs/metrics.md to what a gate exports.
func TestMetricsDocument(t *testing.T) {
	scanner, err := scan.New(scan.Config{Cluster: &rest.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	stream := outcome.NewHandler(outcome.HandlerConfig{})
	// Those of the scan are there with --scan-interval, those of the registration with --registration, those of outcomes with --audit-stream-token, those of Events with a cluster.
	guard, err := watchdog.New(watchdog.Config{Cluster: &rest.Config{}, Registration: "../../config/policy/guard.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	gate := newTestGate(t)
	own := slices.Concat(gate.collectors, gate.now().collectors, scanner.Metrics(), guard.Metrics(), stream.Metrics(), new(controller.Events).Metrics())
	var b strings.Builder
	b.WriteString("# Metrics\n\nWhat `/metrics` of the probe address tells, beside the metrics of the Go runtime and the process. Labels are bounded by the configuration and by\n" +
		"lists of words; no label ever holds the name of an object or a user. Generated from the gate itself.\n\n| metric | labels | meaning |\n|---|---|---|\n")
	for _, c := range own {
		descs := make(chan *prometheus.Desc, 64)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			name, help, labels := parseDesc(t, d.String())
			if !strings.HasPrefix(name, "gate_") {
				t.Errorf("%s: the names of our metrics begin with gate_", name)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, labels, help)
		}
	}
	compareDocument(t, "../../docs/metrics.md", b.String())
}

// parseDesc takes the text form of a description apart; there is no other way to its fields.
func parseDesc(t *testing.T, s string) (name, help, labels string) {
	t.Helper()
	if _, err := fmt.Sscanf(s, "Desc{fqName: %q, help: %q", &name, &help); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	_, labels, ok := strings.Cut(s, "variableLabels: {")
	if !ok {
		t.Fatalf("no labels in %s", s)
	}
	return name, help, strings.ReplaceAll(strings.TrimSuffix(labels, "}}"), ",", ", ")
}

func compareDocument(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is not what the source says: go test ./cmd/commitgate -run Document -update", path)
	}
}
