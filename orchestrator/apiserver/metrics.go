package apiserver

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"wherry/orchestrator/resource"
)

// metrics count requests under Kubernetes' own names and labels. Only what is served becomes a label: nobody makes new
// series by asking for nonsense.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	sizes    *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
	long     *prometheus.GaugeVec
	events   *prometheus.CounterVec
	dropped  prometheus.Counter
}

// requestLabels are those of Kubernetes' metrics of requests.
var requestLabels = []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}

func newMetrics(others ...prometheus.Collector) (*metrics, error) {
	longLabels := []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total", Help: "Requests by what they asked for and the status that they got."}, append([]string{"code"}, requestLabels...)),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds", Help: "How long requests took, long-running ones left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}, requestLabels),
		sizes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_response_sizes", Help: "Bytes of answers to get and list requests.",
			Buckets: prometheus.ExponentialBuckets(1000, 10, 7)}, longLabels),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests", Help: "Requests that are being answered, long-running ones left out."}, []string{"request_kind"}),
		long: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests", Help: "Watches, logs, port-forwards and the like that go on."}, longLabels),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_watch_events_total", Help: "Events sent to watchers."}, []string{"group", "version", "resource"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "apiserver_terminated_watchers_total", Help: "Watchers that were dropped because they did not read."}),
	}
	all := append([]prometheus.Collector{m.requests, m.latency, m.sizes, m.inflight, m.long, m.events, m.dropped,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}, others...)
	for _, c := range all {
		if err := m.registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// begin counts a request in, and returns what counts it out.
func (m *metrics) begin(l prometheus.Labels, long bool) func(code int, took time.Duration, size int64) {
	streams := prometheus.Labels{}
	for _, name := range []string{"verb", "group", "version", "resource", "subresource", "scope", "component"} {
		streams[name] = l[name]
	}
	running := m.long.With(streams)
	if !long {
		kind := "mutating"
		if v := l["verb"]; v == "GET" || v == "LIST" || v == "HEAD" || v == "OPTIONS" {
			kind = "readOnly"
		}
		running = m.inflight.WithLabelValues(kind)
	}
	running.Inc()
	return func(code int, took time.Duration, size int64) {
		running.Dec()
		m.requests.MustCurryWith(l).WithLabelValues(strconv.Itoa(code)).Inc()
		if long {
			return
		}
		m.latency.With(l).Observe(took.Seconds())
		if v := l["verb"]; v == "GET" || v == "LIST" {
			m.sizes.With(streams).Observe(float64(size))
		}
	}
}

// reported are the words of Kubernetes' metrics for verbs.
var reported = map[string]string{
	"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE",
	"deletecollection": "DELETECOLLECTION", "head": "HEAD", "options": "OPTIONS", "post": "POST", "put": "PUT",
}

// labels describe a request. What is not served is told apart by nothing but its verb.
func (s *Server) labels(r *http.Request, at target) prometheus.Labels {
	verb := reported[at.verb]
	if verb == "" {
		verb = "other"
	}
	l := prometheus.Labels{"verb": verb, "dry_run": "", "group": "", "version": "", "resource": "", "subresource": "", "scope": "", "component": "apiserver"}
	if !at.resource {
		l["subresource"] = route(at.path)
		return l
	}
	if _, ok := s.virtual[at.gvr().String()]; !ok {
		kind, ok := s.kinds.Resource(at.gvr())
		if !ok || at.subresource != "" && !hasSubresource(kind, at.subresource) {
			return l
		}
	} else if at.subresource != "" {
		return l
	}
	l["group"], l["version"], l["resource"], l["subresource"], l["scope"] = at.group, at.version, at.plural, at.subresource, at.scope()
	switch {
	case verb == "PATCH" && strings.HasPrefix(r.Header.Get("Content-Type"), string(types.ApplyPatchType)):
		l["verb"] = "APPLY"
	case isConnect(at):
		l["verb"] = "CONNECT"
	}
	if r.URL.Query().Get("dryRun") != "" {
		l["dry_run"] = "All"
	}
	return l
}

// route is the known part of a path that is no resource.
func route(path string) string {
	for _, known := range []string{"/healthz", "/livez", "/readyz", "/metrics", "/version", "/openapi/v2", "/openapi/v3", "/apis", "/api", "/v2", "/debug/pprof"} {
		if path == known || strings.HasPrefix(path, known+"/") {
			return known
		}
	}
	return ""
}

func hasSubresource(kind *resource.Kind, name string) bool {
	_, stored := kind.Subresources[name]
	_, does := findAction(kind.GroupVersionResource(), name)
	return stored || does
}

// isConnect says that the request asks for a connection rather than an object.
func isConnect(at target) bool {
	switch at.subresource {
	case "exec", "attach", "portforward", "proxy":
		return true
	}
	return false
}

func (t target) gvr() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: t.group, Version: t.version, Resource: t.plural}
}

// scope is what the request is about, in the words of Kubernetes' metrics.
func (t target) scope() string {
	switch {
	case t.name != "":
		return "resource"
	case t.namespace != "":
		return "namespace"
	}
	return "cluster"
}

// isLong says that a request may run as long as its client likes: it counts apart, and has no timeout.
func (t target) isLong() bool {
	return t.verb == "watch" || t.resource && (isConnect(t) || t.subresource == "log") || strings.HasPrefix(t.path, "/debug/pprof/") || strings.HasPrefix(t.path, "/v2/")
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
}
