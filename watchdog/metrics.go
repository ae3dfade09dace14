package watchdog

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of the registration. Labels are lists of words.
type metrics struct {
	objects *prometheus.GaugeVec
	changes *prometheus.CounterVec
	repairs *prometheus.CounterVec
}

func newMetrics() *metrics {
	m := &metrics{
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gate_registration_objects",
			Help: "Webhook configurations and admission policies of the gate, by how they are found in the cluster: sound, changed, missing, unknown.",
		}, []string{"state"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gate_registration_changes_total",
			Help: "How often a webhook configuration or admission policy of the gate was found not to be as it should be, by state: changed, missing.",
		}, []string{"state"}),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gate_registration_repairs_total",
			Help: "Attempts to put a webhook configuration or admission policy of the gate back, by outcome: done, failed.",
		}, []string{"outcome"}),
	}
	m.count(nil)
	for _, state := range []State{Changed, Missing} {
		m.changes.WithLabelValues(string(state))
	}
	for _, outcome := range []string{done, failed} {
		m.repairs.WithLabelValues(outcome)
	}
	return m
}

// The outcomes of a repair.
const (
	done   = "done"
	failed = "failed"
)

// Metrics are what the program registers.
func (w *Watchdog) Metrics() []prometheus.Collector {
	return []prometheus.Collector{w.metrics.objects, w.metrics.changes, w.metrics.repairs}
}

func (m *metrics) count(objects []Object) {
	n := map[State]int{Sound: 0, Changed: 0, Missing: 0, Unknown: 0}
	for _, o := range objects {
		n[o.State]++
	}
	for state, n := range n {
		m.objects.WithLabelValues(string(state)).Set(float64(n))
	}
}
