package orchestrator

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// collectors are the metrics of all parts, for the API server to show.
func (o *Orchestrator) collectors() []prometheus.Collector {
	o.queues, o.attempts = controller.NewMetrics(), newAttempts()
	return []prometheus.Collector{o.store, o.queues, o.attempts, objects{o.state}}
}

// attempts count what the scheduler decides, under Kubernetes' name.
type attempts struct{ *prometheus.CounterVec }

func newAttempts() *attempts {
	return &attempts{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "scheduler_schedule_attempts_total", Help: "Decisions about pods by what came of them."}, []string{"result", "profile"})}
}

func (a *attempts) count(result string, n int) {
	a.WithLabelValues(result, corev1.DefaultSchedulerName).Add(float64(n))
}

// objects count what is stored, under Kubernetes' name.
type objects struct{ state *state.State }

var objectsDesc = prometheus.NewDesc("apiserver_resource_objects", "Stored objects by kind.", []string{"group", "resource"}, nil)

// Describe implements prometheus.Collector.
func (o objects) Describe(to chan<- *prometheus.Desc) { to <- objectsDesc }

// Collect implements prometheus.Collector.
func (o objects) Collect(to chan<- prometheus.Metric) {
	for _, k := range o.state.Kinds().Stored() {
		to <- prometheus.MustNewConstMetric(objectsDesc, prometheus.GaugeValue, float64(o.state.Count(k)), k.Group, k.Plural)
	}
}
