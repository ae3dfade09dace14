package webhook

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/commitgate/commitgate/admit"
)

// Metrics counts decisions. Labels are bounded by construction: each is one of a list of words, or a name in the configuration.
type Metrics struct {
	decisions  *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	exemptions *prometheus.CounterVec
	agents     *prometheus.GaugeVec
	seen       sync.Map // of the agents: name, and *atomic.Int64 with Unix nanoseconds
}

// NewMetrics makes the metrics; the program registers them.
func NewMetrics() *Metrics {
	return &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gate_decisions_total",
			Help: "Requests judged, by what was answered, what an enforcing gate answers, why, in what mode, and whether it was a dry-run.",
		}, []string{"outcome", "verdict", "reason", "mode", "dry_run"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "gate_decision_seconds",
			Help:    "Time from the arrival of a review to its recorded decision, by outcome.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"outcome"}),
		exemptions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gate_exemption_uses_total",
			Help: "Requests that passed by an exemption, by its name.",
		}, []string{"exemption"}),
		agents: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gate_agent_seen_timestamp_seconds",
			Help: "When a request of a sync agent was last judged, by its name in the configuration.",
		}, []string{"agent"}),
	}
}

// Metrics are what the program registers.
func (m *Metrics) Metrics() []prometheus.Collector {
	return []prometheus.Collector{m.decisions, m.seconds, m.exemptions, m.agents}
}

// LastSeen is when a request of a sync agent was last judged; zero: never.
func (m *Metrics) LastSeen(agent string) time.Time {
	if at, ok := m.seen.Load(agent); ok {
		return time.Unix(0, at.(*atomic.Int64).Load())
	}
	return time.Time{}
}

func (m *Metrics) observe(r *admit.Request, d admit.Decision, now time.Time, took time.Duration) {
	if d.Agent != "" {
		m.agents.WithLabelValues(d.Agent).Set(float64(now.Unix()))
		at, ok := m.seen.Load(d.Agent)
		if !ok {
			at, _ = m.seen.LoadOrStore(d.Agent, new(atomic.Int64))
		}
		at.(*atomic.Int64).Store(now.UnixNano())
	}
	dry := "false"
	if r.DryRun {
		dry = "true"
	}
	m.decisions.WithLabelValues(d.Outcome.String(), d.Verdict.String(), string(d.Reason), string(d.Mode), dry).Inc()
	m.seconds.WithLabelValues(d.Outcome.String()).Observe(took.Seconds())
	if d.Role == admit.RoleExempt && d.Outcome == admit.Allow && !r.DryRun {
		m.exemptions.WithLabelValues(d.Rule).Inc()
	}
}
