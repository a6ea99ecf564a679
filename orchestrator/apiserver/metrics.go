package apiserver

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics count requests under Kubernetes' own names, by what the path can be trusted to
// be: verb, and resource only if it is served.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	running  *prometheus.GaugeVec
	known    func(target) bool
}

func newMetrics(known func(target) bool) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		known:    known,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total", Help: "Requests by verb, resource and status."}, []string{"verb", "resource", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds", Help: "How long requests took, streams left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"verb"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests", Help: "Requests that are being answered, by verb."}, []string{"verb"}),
	}
	m.registry.MustRegister(m.requests, m.latency, m.running,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// begin counts a request in, and returns what counts it out.
func (m *metrics) begin(at target) func(code int, took time.Duration) {
	verb, resource := at.verb, ""
	if !at.resource && verb != "get" || verb == "" {
		verb = "other"
	}
	if at.resource && m.known(at) {
		resource = at.plural
		if at.subresource != "" {
			resource += "/" + at.subresource
		}
	}
	running := m.running.WithLabelValues(verb)
	running.Inc()
	return func(code int, took time.Duration) {
		running.Dec()
		m.requests.WithLabelValues(verb, resource, strconv.Itoa(code)).Inc()
		if verb != "watch" {
			m.latency.WithLabelValues(verb).Observe(took.Seconds())
		}
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
}
