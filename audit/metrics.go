package audit

import "github.com/prometheus/client_golang/prometheus"

// logMetrics are the numbers of one log.
type logMetrics struct {
	records      prometheus.Counter
	failures     prometheus.Counter
	poisoned     prometheus.Gauge
	free         prometheus.Gauge
	flush        prometheus.Histogram
	copyFailures *prometheus.CounterVec
}

func newLogMetrics() *logMetrics {
	return &logMetrics{
		records:  prometheus.NewCounter(prometheus.CounterOpts{Name: "gate_audit_records_total", Help: "Records that became durable."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "gate_audit_write_failures_total", Help: "Writes of the audit log that failed."}),
		poisoned: prometheus.NewGauge(prometheus.GaugeOpts{Name: "gate_audit_poisoned", Help: "1 if the audit log cannot be written until the gate restarts."}),
		free:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "gate_audit_free_bytes", Help: "Free space on the disk of the audit log."}),
		flush: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gate_audit_flush_seconds", Help: "Time to make one batch of records durable.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 12),
		}),
		copyFailures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gate_audit_copy_failures_total", Help: "Batches that a copy of the audit log missed.",
		}, []string{"copy"}),
	}
}

// Metrics returns the collectors of the log, to be registered by the program.
func (l *Log) Metrics() []prometheus.Collector {
	m := l.metrics
	return []prometheus.Collector{m.records, m.failures, m.poisoned, m.free, m.flush, m.copyFailures}
}
