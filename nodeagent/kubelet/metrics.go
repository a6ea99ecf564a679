package kubelet

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// page is metrics in Prometheus' text form. Labels hold names of objects, which need no quoting beyond Go's.
type page struct{ bytes.Buffer }

// family begins a metric.
func (p *page) family(name, kind, help string) {
	fmt.Fprintf(p, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// value is one line; labels are names and values in turn.
func (p *page) value(name string, v float64, at time.Time, labels ...string) {
	p.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		separator := ","
		if i == 0 {
			separator = "{"
		}
		fmt.Fprintf(p, "%s%s=%q", separator, labels[i], labels[i+1])
	}
	if len(labels) > 0 {
		p.WriteByte('}')
	}
	fmt.Fprintf(p, " %g", v)
	if !at.IsZero() {
		fmt.Fprintf(p, " %d", at.UnixMilli())
	}
	p.WriteByte('\n')
}

func (p *page) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(p.Bytes()) // whoever has gone is not told
}

// resourceMetrics are a kubelet's /metrics/resource.
func (k *Kubelet) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	machine, pods := k.now(r.Context())
	p := &page{}
	p.family("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds")
	p.value("node_cpu_usage_seconds_total", machine.CPU.Seconds(), machine.At)
	p.family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes")
	p.value("node_memory_working_set_bytes", float64(machine.MemoryBytes), machine.At)
	p.containers(pods)
	p.pods(pods)
	p.family("resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise")
	p.value("resource_scrape_error", 0, time.Time{})
	p.send(w)
}

func (p *page) containers(pods []used) {
	each := func(name, kind, help string, line func(used, int)) {
		p.family(name, kind, help)
		for _, u := range pods {
			for i := range u.containers {
				line(u, i)
			}
		}
	}
	labels := func(u used, i int) []string {
		return []string{"container", u.containers[i].ID.Container, "namespace", u.pod.Namespace, "pod", u.pod.Name}
	}
	const cpu, memory, start = "container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds"
	each(cpu, "counter", "Cumulative cpu time consumed by the container in core-seconds", func(u used, i int) {
		p.value(cpu, u.containers[i].CPU.Seconds(), u.containers[i].At, labels(u, i)...)
	})
	each(memory, "gauge", "Current working set of the container in bytes", func(u used, i int) {
		p.value(memory, float64(u.containers[i].MemoryBytes), u.containers[i].At, labels(u, i)...)
	})
	each(start, "gauge", "Start time of the container since unix epoch in seconds", func(u used, i int) {
		p.value(start, float64(u.containers[i].Start.UnixNano())/1e9, time.Time{}, labels(u, i)...)
	})
}

func (p *page) pods(pods []used) {
	p.family("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds")
	for _, u := range pods {
		total := sum(u.containers)
		p.value("pod_cpu_usage_seconds_total", total.CPU.Seconds(), total.At, "namespace", u.pod.Namespace, "pod", u.pod.Name)
	}
	p.family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes")
	for _, u := range pods {
		total := sum(u.containers)
		p.value("pod_memory_working_set_bytes", float64(total.MemoryBytes), total.At, "namespace", u.pod.Namespace, "pod", u.pod.Name)
	}
}

// ownMetrics are the agent's.
func (k *Kubelet) ownMetrics(w http.ResponseWriter, _ *http.Request) {
	states := map[string]int{"created": 0, "exited": 0, "running": 0}
	running := 0
	for _, pod := range k.Pods() {
		if pod.Status.Phase == corev1.PodRunning {
			running++
		}
		for _, c := range pod.Status.ContainerStatuses {
			switch {
			case c.State.Running != nil:
				states["running"]++
			case c.State.Terminated != nil:
				states["exited"]++
			default:
				states["created"]++
			}
		}
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	p := &page{}
	p.family("go_goroutines", "gauge", "Number of goroutines that currently exist.")
	p.value("go_goroutines", float64(runtime.NumGoroutine()), time.Time{})
	p.family("go_memstats_heap_alloc_bytes", "gauge", "Number of heap bytes allocated and currently in use.")
	p.value("go_memstats_heap_alloc_bytes", float64(memory.HeapAlloc), time.Time{})
	p.family("go_memstats_sys_bytes", "gauge", "Number of bytes obtained from system.")
	p.value("go_memstats_sys_bytes", float64(memory.Sys), time.Time{})
	p.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.")
	p.value("kubelet_node_name", 1, time.Time{}, "node", k.Node)
	p.family("kubelet_running_containers", "gauge", "Number of containers currently running")
	for _, state := range []string{"created", "exited", "running"} {
		p.value("kubelet_running_containers", float64(states[state]), time.Time{}, "container_state", state)
	}
	p.family("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox")
	p.value("kubelet_running_pods", float64(running), time.Time{})
	if k.Requests != nil {
		p.requests(k.Requests())
	}
	p.family("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.")
	p.value("process_start_time_seconds", float64(k.began.UnixNano())/1e9, time.Time{})
	p.send(w)
}
