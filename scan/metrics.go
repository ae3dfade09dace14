package scan

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of the last scan. Labels are bounded by the states and by the kinds that the API server serves.
type metrics struct {
	objects  *prometheus.GaugeVec
	ended    prometheus.Gauge
	duration prometheus.Gauge
	unread   prometheus.Gauge
}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "gate_scan_" + name, Help: help})
	}
	return &metrics{
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gate_scan_objects",
			Help: "Live and declared objects as the last scan found them, by state: Untraced, Drifted, Conflict, Missing, InGit, Derived, Exempt, Unguarded, System."}, []string{"state", "kind"}),
		ended:    gauge("ended_timestamp_seconds", "When the last scan ended; 0 if there was none."),
		duration: gauge("duration_seconds", "How long the last scan took."),
		unread:   gauge("unread_kinds", "Kinds that the last scan could not list."),
	}
}

// Metrics are what the program registers.
func (s *Scanner) Metrics() []prometheus.Collector {
	m := s.metrics
	return []prometheus.Collector{m.objects, m.ended, m.duration, m.unread}
}

func (m *metrics) took(r *Result) {
	m.objects.Reset()
	for g, n := range r.Counts {
		m.objects.WithLabelValues(string(g.State), g.Kind+suffix(g.APIGroup)).Add(float64(n))
	}
	m.ended.Set(float64(r.Ended.Unix()))
	m.duration.Set(r.Ended.Sub(r.Began).Seconds())
	m.unread.Set(float64(len(r.Unread)))
}
