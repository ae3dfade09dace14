package webhook

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Check is one thing that must hold before the gate can answer from knowledge.
type Check struct {
	Name string
	// Missing says what is missing, "" if nothing is. It must not block.
	Missing func() string
}

// Health serves /livez (the process answers) and /readyz (every check holds; the body names what is missing; ?verbose lists all).
func Health(checks []Check) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		var lines []string
		ready := true
		for _, c := range checks {
			if missing := c.Missing(); missing != "" {
				ready = false
				lines = append(lines, fmt.Sprintf("[-] %s: %s", c.Name, missing))
			} else if r.URL.Query().Has("verbose") {
				lines = append(lines, fmt.Sprintf("[+] %s", c.Name))
			}
		}
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		lines = slices.Concat(lines, []string{map[bool]string{true: "ready", false: "not ready"}[ready]})
		fmt.Fprintln(w, strings.Join(lines, "\n"))
	})
	return mux
}

// readiness tells Prometheus what /readyz tells the kubelet.
type readiness struct {
	checks []Check
	desc   *prometheus.Desc
}

// NewReadiness is a metric of each check; the program registers it.
func NewReadiness(checks []Check) prometheus.Collector {
	return &readiness{checks, prometheus.NewDesc("gate_ready", "1 if a check of /readyz holds, 0 if not, by its name.", []string{"check"}, nil)}
}

// Describe implements prometheus.Collector.
func (r *readiness) Describe(ch chan<- *prometheus.Desc) { ch <- r.desc }

// Collect implements prometheus.Collector.
func (r *readiness) Collect(ch chan<- prometheus.Metric) {
	for _, c := range r.checks {
		value := 0.0
		if c.Missing() == "" {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(r.desc, prometheus.GaugeValue, value, c.Name)
	}
}
