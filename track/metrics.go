package track

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one tracker. Labels are bounded by the configuration (repository) and by lists of words (stage, result).
type metrics struct {
	t *Tracker

	fetches   *prometheus.CounterVec
	fetchTime *prometheus.HistogramVec
	commits   *prometheus.CounterVec
	refusals  *prometheus.CounterVec
	publish   prometheus.Histogram

	heard, published, behind, objects, recent *prometheus.Desc
}

func newMetrics(t *Tracker) *metrics {
	seconds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	repository := []string{"repository"}
	desc := func(name, help string, labels []string) *prometheus.Desc {
		return prometheus.NewDesc("gate_"+name, help, labels, nil)
	}
	return &metrics{
		t: t,
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gate_fetches_total",
			Help: "Visits to the Git host, by repository and result: ok, refused (not a fast-forward), failed."}, []string{"repository", "result"}),
		fetchTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "gate_fetch_seconds",
			Help: "Time of a visit to the Git host, by repository.", Buckets: seconds}, repository),
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gate_commits_verified_total",
			Help: "Commits that were fetched and accepted, by repository."}, repository),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gate_revisions_refused_total",
			Help: "Revisions that were not accepted, by repository and stage: fetch, verify, render, policy, publish."}, []string{"repository", "stage"}),
		publish: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gate_publish_seconds",
			Help: "Time from verified commits to the truth: render, compile, index.", Buckets: seconds}),
		heard:     desc("repository_heard_timestamp_seconds", "When the repository last answered a fetch; 0 if never.", repository),
		published: desc("snapshot_published_timestamp_seconds", "When the current truth became it; 0 if there is none.", nil),
		behind:    desc("repository_refused", "1 while what was last fetched is not accepted, by repository and stage.", []string{"repository", "stage"}),
		objects:   desc("snapshot_objects", "Declared objects in the current truth.", nil),
		recent:    desc("snapshot_recent", "Superseded revisions that are still accepted.", nil),
	}
}

// Metrics are what the program registers.
func (t *Tracker) Metrics() []prometheus.Collector {
	m := t.metrics
	return []prometheus.Collector{m.fetches, m.fetchTime, m.commits, m.refusals, m.publish, m}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.heard, m.published, m.behind, m.objects, m.recent} {
		c <- d
	}
}

// Collect implements prometheus.Collector: what the status and the truth say now.
func (m *metrics) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range m.t.Status() {
		gauge(m.heard, unix(s.Heard), s.Repository)
		if s.Refused != nil {
			gauge(m.behind, 1, s.Repository, string(s.Refused.Stage))
		}
	}
	truth := m.t.Truth()
	gauge(m.recent, float64(len(truth.Recent)))
	var objects, published float64
	if truth.Current != nil {
		objects, published = float64(truth.Current.Len()), unix(truth.Current.Published)
	}
	gauge(m.objects, objects)
	gauge(m.published, published)
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
