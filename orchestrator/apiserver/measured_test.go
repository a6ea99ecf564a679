package apiserver_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/metrics/pkg/client/clientset/versioned"

	"wherry/proto/nodelink"
)

func usedSince(seconds int64, cores int64) *nodelink.Used {
	return &nodelink.Used{TimeUnixNano: (1767225600 + seconds) * 1e9, WindowNanos: 15e9, NanoCores: cores, MemoryBytes: cores}
}

// measured is a cluster with the node vm, which tells, one that does not, and pods on both.
func measured(t *testing.T) (*cluster, *fakeNodes) {
	nodes := &fakeNodes{usage: map[string]*nodelink.NodeUsage{}}
	c := start(t, withNodes(nodes))
	labeled := newNode("vm")
	labeled.Labels = map[string]string{"disk": "fast"}
	web, far, fresh := newRunningPod("web", "a"), newRunningPod("far", "a"), newRunningPod("fresh", "a")
	web.Labels = map[string]string{"app": "web"}
	far.Spec.NodeName = "silent"
	done := newRunningPod("done", "a")
	done.Status.Phase = corev1.PodSucceeded
	ensure(c, labeled, newNode("silent"), web, far, fresh, done, newPod("pending"))
	uid := func(name string) string {
		p, err := c.clientset().CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(p.UID)
	}
	young := usedSince(2, 9)
	young.WindowNanos = 0
	nodes.usage["vm"] = &nodelink.NodeUsage{Machine: usedSince(0, 250_000_000), Container: []*nodelink.ContainerUsage{
		{PodUid: uid("web"), Container: "a", Used: usedSince(2, 1<<20)},
		{PodUid: uid("web"), Container: "b", Used: usedSince(1, 2<<20)},
		{PodUid: uid("fresh"), Container: "a", Used: young},
	}}
	return c, nodes
}

func TestMetricsAPI(t *testing.T) {
	c, _ := measured(t)
	clients, err := versioned.NewForConfig(c.serve())
	if err != nil {
		t.Fatal(err)
	}
	metrics := clients.MetricsV1beta1()
	nodes, err := metrics.NodeMetricses().List(t.Context(), metav1.ListOptions{LabelSelector: "disk=fast"})
	if err != nil || len(nodes.Items) != 1 {
		t.Fatalf("%v, %v", nodes, err)
	}
	n := nodes.Items[0]
	if n.Name != "vm" || n.Usage.Cpu().String() != "250m" || n.Usage.Memory().Value() != 250_000_000 || n.Window.Duration != 15*time.Second || n.Timestamp.Unix() != 1767225600 || n.Labels["disk"] != "fast" {
		t.Errorf("%+v", n)
	}
	pods, err := metrics.PodMetricses("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 1 {
		t.Fatalf("%v, %v", pods, err)
	}
	p := pods.Items[0]
	if p.Name != "web" || p.Labels["app"] != "web" || p.Timestamp.Unix() != 1767225601 || len(p.Containers) != 2 || p.Containers[1].Usage.Memory().String() != "2Mi" {
		t.Errorf("%+v", p)
	}
	if one, err := metrics.PodMetricses("default").Get(t.Context(), "web", metav1.GetOptions{}); err != nil || one.Containers[0].Usage.Cpu().String() != "1048576n" {
		t.Errorf("%+v, %v", one, err)
	}
}

func TestMetricsAPIStory(t *testing.T) {
	c, _ := measured(t)
	const base, table = "/apis/metrics.k8s.io/v1beta1", "application/json;as=Table;v=v1;g=meta.k8s.io"
	for _, test := range []struct {
		method, path, accept string
		code                 int
		want                 string
	}{
		{"GET", "/nodes", "", 200, `"kind":"NodeMetricsList","apiVersion":"metrics.k8s.io/v1beta1"`},
		{"GET", "/nodes/silent", "", 404, `nodes.metrics.k8s.io \"silent\" not found`},
		{"GET", "/nodes/none", "", 404, `nodes.metrics.k8s.io \"none\" not found`},
		{"GET", "/namespaces/default/pods/far", "", 404, `pods.metrics.k8s.io \"default/far\" not found`},
		{"GET", "/namespaces/default/pods/fresh", "", 404, `pods.metrics.k8s.io \"default/fresh\" not found`},
		{"GET", "/namespaces/default/pods?labelSelector=app%3Dother", "", 200, `"items":[]`},
		{"GET", "/pods?fieldSelector=metadata.name%3Dweb", "", 200, `"name":"web"`},
		{"GET", "/nodes", table, 200, `"cells":["vm","250m","250000000","15s"]`},
		{"GET", "/pods", table, 200, `"cells":["web","3145728n","3Mi","15s"]`},
		{"GET", "/pods?watch=true", "", 405, "MethodNotAllowed"},
		{"POST", "/nodes", "", 405, "MethodNotAllowed"},
		{"GET", "/namespaces/default/nodes", "", 404, "could not find the requested resource"},
		{"GET", "", "", 200, `"name":"pods","singularName":"","namespaced":true,"kind":"PodMetrics","verbs":["get","list"]`},
	} {
		a := c.ask(test.method, base+test.path, "", "Accept: "+test.accept)
		if a.StatusCode != test.code || !strings.Contains(a.body, test.want) {
			t.Errorf("%s %s: %d %s, want %d %s", test.method, test.path, a.StatusCode, a.body, test.code, test.want)
		}
	}
}

// Many who ask at once, or soon after another, ask a node once.
func TestNodesAreAskedOnce(t *testing.T) {
	c, nodes := measured(t)
	asked := func() (n int) {
		nodes.mu.Lock()
		defer nodes.mu.Unlock()
		for _, o := range nodes.opened {
			if o.GetUsage() != nil {
				n++
			}
		}
		return n
	}
	for range 3 {
		c.ask("GET", "/apis/metrics.k8s.io/v1beta1/nodes/vm", "")
	}
	if n := asked(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
