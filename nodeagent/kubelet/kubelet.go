// Package kubelet is the part of a kubelet's HTTP interface that clients ask through the API server's nodes/NODE/proxy:
//
//	/healthz            ok
//	/metrics            the agent itself, in Prometheus' form
//	/metrics/resource   what the machine, pods and containers use, in Prometheus' form, under a kubelet's names
//	/pods               the pods of this node with their newest status, a v1 PodList
//	/stats/summary      what they use, as k8s.io/kubelet's stats/v1alpha1
//
// It only reads. Who may ask is the API server's business: nobody else reaches it.
package kubelet

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/usage"
	"wherry/proto/nodelink"
)

// Config is what is told about.
type Config struct {
	Node string // name
	// Pods are those of this node, with their newest status.
	Pods func() []*corev1.Pod
	// Usage measures.
	Usage func(ctx context.Context) (machine usage.Used, containers []usage.Container)
	// Requests are those that HTTP handlers have answered; nil: there are none.
	Requests func() []runtime.Requests
}

// Kubelet answers. Its methods may be called concurrently.
type Kubelet struct {
	Config
	began time.Time
	mux   *http.ServeMux
}

// New returns a Kubelet.
func New(c Config) *Kubelet {
	k := &Kubelet{Config: c, began: time.Now(), mux: http.NewServeMux()}
	k.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	k.mux.HandleFunc("GET /pods", k.pods)
	k.mux.HandleFunc("GET /pods/{$}", k.pods)
	k.mux.HandleFunc("GET /stats/summary", k.summary)
	k.mux.HandleFunc("GET /metrics", k.ownMetrics)
	k.mux.HandleFunc("GET /metrics/resource", k.resourceMetrics)
	return k
}

func (k *Kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) { k.mux.ServeHTTP(w, r) }

func (k *Kubelet) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range k.Pods() {
		list.Items = append(list.Items, *p)
	}
	send(w, list)
}

func send(w http.ResponseWriter, answer any) {
	b, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // whoever has gone is not told
}

// used is what a pod's containers use.
type used struct {
	pod        *corev1.Pod
	containers []usage.Container
}

// now measures the machine and the pods that have running containers. Where the system does not tell about the machine, it
// uses what its containers do.
func (k *Kubelet) now(ctx context.Context) (machine usage.Used, pods []used) {
	machine, all := k.Usage(ctx)
	by := map[string][]usage.Container{}
	for _, c := range all {
		by[c.ID.Pod] = append(by[c.ID.Pod], c)
	}
	if machine.CPU == 0 || machine.MemoryBytes == 0 {
		machine = instead(machine, all)
	}
	for _, p := range k.Pods() {
		if containers := by[string(p.UID)]; len(containers) > 0 {
			pods = append(pods, used{p, containers})
		}
	}
	return machine, pods
}

// instead fills in what the system does not tell.
func instead(machine usage.Used, all []usage.Container) usage.Used {
	total := sum(all)
	if machine.CPU == 0 {
		machine.CPU, machine.NanoCores = total.CPU, total.NanoCores
	}
	if machine.MemoryBytes == 0 {
		machine.MemoryBytes = total.MemoryBytes
	}
	return machine
}

// sum of containers, at the time of the last one.
func sum(all []usage.Container) (total usage.Used) {
	for _, c := range all {
		total.CPU += c.CPU
		total.NanoCores += c.NanoCores
		total.MemoryBytes += c.MemoryBytes
		total.At = c.At
	}
	return total
}

// NodeUsage is what the control plane's metrics API asks for.
func (k *Kubelet) NodeUsage(ctx context.Context) *nodelink.NodeUsage {
	machine, pods := k.now(ctx)
	message := &nodelink.NodeUsage{Machine: encode(machine)}
	for _, u := range pods {
		for _, c := range u.containers {
			message.Container = append(message.Container, &nodelink.ContainerUsage{
				Namespace: u.pod.Namespace, Pod: u.pod.Name, PodUid: string(u.pod.UID), Container: c.ID.Container, Used: encode(c.Used),
			})
		}
	}
	return message
}

func encode(u usage.Used) *nodelink.Used {
	m := &nodelink.Used{
		TimeUnixNano: u.At.UnixNano(), WindowNanos: int64(u.Window), NanoCores: u.NanoCores,
		CpuNanos: int64(u.CPU), MemoryBytes: u.MemoryBytes,
	}
	if !u.Start.IsZero() {
		m.StartUnixNano = u.Start.UnixNano()
	}
	return m
}

func (k *Kubelet) summary(w http.ResponseWriter, r *http.Request) {
	machine, pods := k.now(r.Context())
	s := stats.Summary{Node: stats.NodeStats{
		NodeName: k.Node, StartTime: metav1.NewTime(machine.Start), CPU: cpu(machine), Memory: memory(machine),
	}, Pods: []stats.PodStats{}}
	for _, u := range pods {
		s.Pods = append(s.Pods, podStats(u))
	}
	send(w, s)
}

func podStats(u used) stats.PodStats {
	total := sum(u.containers)
	s := stats.PodStats{
		PodRef: stats.PodReference{Name: u.pod.Name, Namespace: u.pod.Namespace, UID: string(u.pod.UID)},
		CPU:    cpu(total), Memory: memory(total),
	}
	if u.pod.Status.StartTime != nil {
		s.StartTime = *u.pod.Status.StartTime
	}
	for _, c := range u.containers {
		s.Containers = append(s.Containers, stats.ContainerStats{
			Name: c.ID.Container, StartTime: metav1.NewTime(c.Start), CPU: cpu(c.Used), Memory: memory(c.Used),
		})
	}
	return s
}

func cpu(u usage.Used) *stats.CPUStats {
	s := &stats.CPUStats{Time: metav1.NewTime(u.At), UsageCoreNanoSeconds: new(uint64(u.CPU))}
	if u.Window > 0 || u.NanoCores > 0 {
		s.UsageNanoCores = new(uint64(u.NanoCores))
	}
	return s
}

func memory(u usage.Used) *stats.MemoryStats {
	bytes := new(uint64(u.MemoryBytes))
	return &stats.MemoryStats{Time: metav1.NewTime(u.At), UsageBytes: bytes, WorkingSetBytes: bytes}
}
