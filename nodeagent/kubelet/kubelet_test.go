package kubelet

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"wherry/nodeagent/runtime"
	"wherry/nodeagent/usage"
)

var (
	at    = time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	start = at.Add(-time.Minute)
)

func use(cpu time.Duration, cores, memory int64) usage.Used {
	return usage.Used{Point: usage.Point{At: at, CPU: cpu, MemoryBytes: memory}, Start: start, Window: 15 * time.Second, NanoCores: cores}
}

// node has two pods: web with the containers a and b, and one that has not begun.
func node(machine usage.Used) *Kubelet {
	pod := func(name string, phase corev1.PodPhase, states ...corev1.ContainerState) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}}
		p.Status = corev1.PodStatus{Phase: phase, StartTime: &metav1.Time{Time: start}}
		for _, s := range states {
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{State: s})
		}
		return p
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	pods := []*corev1.Pod{pod("web", corev1.PodRunning, running, running), pod("new", corev1.PodPending, corev1.ContainerState{})}
	containers := []usage.Container{
		{ID: runtime.ID{Pod: "uid-web", Container: "a"}, Used: use(time.Second, 1e6, 1<<20)},
		{ID: runtime.ID{Pod: "uid-web", Container: "b"}, Used: use(2*time.Second, 2e6, 2<<20)},
		{ID: runtime.ID{Pod: "uid-gone", Container: "c"}, Used: use(4*time.Second, 4e6, 4<<20)},
	}
	return New(Config{
		Node: "vm", Pods: func() []*corev1.Pod { return pods },
		Usage: func(context.Context) (usage.Used, []usage.Container) { return machine, containers },
	})
}

func get(k *Kubelet, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	k.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestSummary(t *testing.T) {
	var s stats.Summary
	if err := json.Unmarshal(get(node(use(time.Hour, 5e8, 1<<30)), "/stats/summary").Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Node.NodeName != "vm" || *s.Node.CPU.UsageNanoCores != 5e8 || *s.Node.Memory.WorkingSetBytes != 1<<30 || !s.Node.StartTime.Time.Equal(start) {
		t.Errorf("node: %+v", s.Node)
	}
	if len(s.Pods) != 1 || s.Pods[0].PodRef.Name != "web" || *s.Pods[0].CPU.UsageNanoCores != 3e6 || *s.Pods[0].CPU.UsageCoreNanoSeconds != 3e9 {
		t.Fatalf("pods: %+v", s.Pods)
	}
	if c := s.Pods[0].Containers; len(c) != 2 || c[1].Name != "b" || *c[1].Memory.WorkingSetBytes != 2<<20 || !c[1].CPU.Time.Time.Equal(at) {
		t.Errorf("containers: %+v", c)
	}
}

func TestResourceMetrics(t *testing.T) {
	w := get(node(use(time.Hour, 5e8, 1<<30)), "/metrics/resource")
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		`node_cpu_usage_seconds_total 3600 1767225660000`,
		`node_memory_working_set_bytes 1.073741824e+09 1767225660000`,
		`container_cpu_usage_seconds_total{container="a",namespace="default",pod="web"} 1 1767225660000`,
		`container_cpu_usage_seconds_total{container="b",namespace="default",pod="web"} 2 1767225660000`,
		`container_memory_working_set_bytes{container="a",namespace="default",pod="web"} 1.048576e+06 1767225660000`,
		`container_memory_working_set_bytes{container="b",namespace="default",pod="web"} 2.097152e+06 1767225660000`,
		`container_start_time_seconds{container="a",namespace="default",pod="web"} 1.7672256e+09`,
		`container_start_time_seconds{container="b",namespace="default",pod="web"} 1.7672256e+09`,
		`pod_cpu_usage_seconds_total{namespace="default",pod="web"} 3 1767225660000`,
		`pod_memory_working_set_bytes{namespace="default",pod="web"} 3.145728e+06 1767225660000`,
		`resource_scrape_error 0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPaths(t *testing.T) {
	for _, test := range []struct {
		path string
		code int
		want string
	}{
		{"/healthz", 200, "ok"},
		{"/pods", 200, `"kind":"PodList","apiVersion":"v1"`},
		{"/pods/", 200, `"name":"new"`},
		{"/metrics", 200, "kubelet_running_pods 1\n"},
		{"/metrics", 200, `kubelet_running_containers{container_state="running"} 2`},
		{"/exec/default/web/a", 404, ""},
		{"/", 404, ""},
	} {
		if w := get(node(usage.Used{}), test.path); w.Code != test.code || !strings.Contains(w.Body.String(), test.want) {
			t.Errorf("%s: %d %s", test.path, w.Code, w.Body)
		}
	}
}

// Where the system does not tell, the machine uses what its containers do, also those of pods that have just gone.
func TestUntoldMachine(t *testing.T) {
	u := node(usage.Used{Point: usage.Point{At: at}, Window: time.Second}).NodeUsage(t.Context())
	if u.Machine.NanoCores != 7e6 || u.Machine.MemoryBytes != 7<<20 || u.Machine.WindowNanos != 1e9 {
		t.Errorf("%v", u.Machine)
	}
	if len(u.Container) != 2 || u.Container[0].Pod != "web" || u.Container[0].Used.NanoCores != 1e6 || u.Container[0].Used.StartUnixNano != start.UnixNano() {
		t.Errorf("%v", u.Container)
	}
}
