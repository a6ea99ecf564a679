package controller

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the controllers' queues, under the names of Kubernetes' work queues. A nil *Metrics counts nothing.
type Metrics struct {
	took    *prometheus.HistogramVec
	retries *prometheus.CounterVec
	depth   *prometheus.Desc

	mu     sync.Mutex
	queues map[string]*queue
}

// NewMetrics returns a prometheus.Collector for one Run.
func NewMetrics() *Metrics {
	return &Metrics{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "workqueue_work_duration_seconds", Help: "How long the work on a key took.",
			Buckets: prometheus.ExponentialBuckets(1e-5, 10, 8)}, []string{"name"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "workqueue_retries_total", Help: "Keys that failed and were queued again."}, []string{"name"}),
		depth:  prometheus.NewDesc("workqueue_depth", "Keys that wait for a worker.", []string{"name"}, nil),
		queues: map[string]*queue{},
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	m.took.Describe(to)
	m.retries.Describe(to)
	to <- m.depth
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.took.Collect(to)
	m.retries.Collect(to)
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, q := range m.queues {
		to <- prometheus.MustNewConstMetric(m.depth, prometheus.GaugeValue, float64(q.depth()), name)
	}
}

func (m *Metrics) watch(name string, q *queue) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queues[name] = q
}

// counters are one controller's; the zero value counts nothing.
type counters struct {
	took    prometheus.Observer
	retries prometheus.Counter
}

func (m *Metrics) of(name string) counters {
	if m == nil {
		return counters{}
	}
	return counters{took: m.took.WithLabelValues(name), retries: m.retries.WithLabelValues(name)}
}

func (c counters) worked(took time.Duration, err error) {
	if c.took == nil {
		return
	}
	c.took.Observe(took.Seconds())
	if err != nil {
		c.retries.Inc()
	}
}

// depth is how many keys are ready.
func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready)
}
