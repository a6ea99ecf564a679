package fair

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are kept under Kubernetes' names.
type counts struct {
	refused *prometheus.CounterVec
	served  *prometheus.CounterVec
	wait    *prometheus.HistogramVec
}

func newCounts() counts {
	return counts{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_flowcontrol_rejected_requests_total", Help: "Requests that were refused."}, []string{"flow_schema", "priority_level", "reason"}),
		served: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_flowcontrol_dispatched_requests_total", Help: "Requests that were served."}, []string{"flow_schema", "priority_level"}),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_flowcontrol_request_wait_duration_seconds", Help: "How long requests waited that had to.",
			Buckets: []float64{.002, .005, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15}}, []string{"priority_level"}),
	}
}

func (c counts) rejected(schema, level, reason string) {
	c.refused.WithLabelValues(schema, level, reason).Inc()
}
func (c counts) dispatched(schema, level string) { c.served.WithLabelValues(schema, level).Inc() }
func (c counts) waited(level string, took time.Duration) {
	c.wait.WithLabelValues(level).Observe(took.Seconds())
}

var (
	waitingDesc = prometheus.NewDesc("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait.", []string{"priority_level"}, nil)
	seatedDesc  = prometheus.NewDesc("apiserver_flowcontrol_current_executing_seats", "Seats in use.", []string{"priority_level"}, nil)
	seatsDesc   = prometheus.NewDesc("apiserver_flowcontrol_nominal_limit_seats", "Seats of its own.", []string{"priority_level"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Sharer) Describe(to chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{s.counts.refused, s.counts.served, s.counts.wait} {
		c.Describe(to)
	}
	for _, d := range []*prometheus.Desc{waitingDesc, seatedDesc, seatsDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Sharer) Collect(to chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{s.counts.refused, s.counts.served, s.counts.wait} {
		c.Collect(to)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.levels {
		to <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(l.waiting), name)
		to <- prometheus.MustNewConstMetric(seatedDesc, prometheus.GaugeValue, float64(l.inUse), name)
		to <- prometheus.MustNewConstMetric(seatsDesc, prometheus.GaugeValue, float64(l.seats), name)
	}
}
