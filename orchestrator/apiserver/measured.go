package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// The metrics API: what nodes and pods use, as metrics-server tells it (metrics.k8s.io/v1beta1). The nodes are asked when
// somebody asks; nothing is stored.

var (
	nodeMetrics = measuredKind("NodeMetrics", "nodes", false, func() resource.Object { return &metricsv1beta1.NodeMetrics{} }, func(obj resource.Object) []any {
		m := obj.(*metricsv1beta1.NodeMetrics)
		return measuredRow(m.Name, m.Usage, m.Window)
	})
	podMetrics = measuredKind("PodMetrics", "pods", true, func() resource.Object { return &metricsv1beta1.PodMetrics{} }, func(obj resource.Object) []any {
		m := obj.(*metricsv1beta1.PodMetrics)
		total := corev1.ResourceList{}
		for _, c := range m.Containers {
			for name, q := range c.Usage {
				q.Add(total[name])
				total[name] = q
			}
		}
		return measuredRow(m.Name, total, m.Window)
	})
)

// measuredKind is no kind of the registry: nothing of it is stored.
func measuredKind(kind, plural string, namespaced bool, empty func() resource.Object, row func(resource.Object) []any) *resource.Kind {
	return &resource.Kind{
		GroupVersionKind: metricsv1beta1.SchemeGroupVersion.WithKind(kind), Plural: plural, Namespaced: namespaced, New: empty, Row: row,
		Columns: []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: "Name of the resource"},
			{Name: "cpu", Type: "string", Format: "quantity"},
			{Name: "memory", Type: "string", Format: "quantity"},
			{Name: "Window", Type: "string", Format: "duration"},
		},
	}
}

func measuredRow(name string, used corev1.ResourceList, window metav1.Duration) []any {
	return []any{name, used.Cpu().String(), used.Memory().String(), window.Duration.String()}
}

func (c *call) nodeMetrics() error {
	node, ok := state.Get[*corev1.Node](c.s.state, "", c.at.name)
	if !ok {
		return apierrors.NewNotFound(c.kind.GroupResource(), c.at.name)
	}
	if m := measuredNode(node, c.s.usage(c.ctx(), []string{node.Name})[node.Name]); m != nil {
		return c.object(http.StatusOK, m)
	}
	return apierrors.NewNotFound(c.kind.GroupResource(), c.at.name)
}

func (c *call) allNodeMetrics() error {
	o, err := c.listOptions(false)
	if err != nil {
		return err
	}
	nodes := state.List[*corev1.Node](c.s.state, o.selector)
	var names []string
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	told := c.s.usage(c.ctx(), names)
	var all []resource.Object
	for _, n := range nodes {
		if m := measuredNode(n, told[n.Name]); m != nil {
			all = append(all, m)
		}
	}
	return c.measured(all)
}

func (c *call) podMetrics() error {
	full := c.at.namespace + "/" + c.at.name
	pod, ok := state.Get[*corev1.Pod](c.s.state, c.at.namespace, c.at.name)
	if !ok {
		return apierrors.NewNotFound(c.kind.GroupResource(), full)
	}
	for _, m := range c.measurePods([]*corev1.Pod{pod}) {
		return c.object(http.StatusOK, m)
	}
	return apierrors.NewNotFound(c.kind.GroupResource(), full)
}

func (c *call) allPodMetrics() error {
	o, err := c.listOptions(false)
	if err != nil {
		return err
	}
	return c.measured(c.measurePods(state.List[*corev1.Pod](c.s.state, o.selector)))
}

func (c *call) measured(all []resource.Object) error {
	return c.page(metav1.ListMeta{}, len(all), func(i int) item { return c.s.item(c.kind, all[i]) })
}

// measurePods asks the nodes of running pods, and leaves out those that nobody tells about.
func (c *call) measurePods(pods []*corev1.Pod) (all []resource.Object) {
	on := map[string]bool{}
	var names []string
	for _, p := range pods {
		if node := p.Spec.NodeName; node != "" && p.Status.Phase == corev1.PodRunning && !on[node] {
			on[node] = true
			names = append(names, node)
		}
	}
	by := map[string][]*nodelink.ContainerUsage{}
	for _, u := range c.s.usage(c.ctx(), names) {
		for _, container := range u.Container {
			by[container.PodUid] = append(by[container.PodUid], container)
		}
	}
	for _, p := range pods {
		if m := measuredPod(p, by[string(p.UID)]); m != nil {
			all = append(all, m)
		}
	}
	return all
}

// measuredNode is nil if the node did not tell.
func measuredNode(node *corev1.Node, u *nodelink.NodeUsage) *metricsv1beta1.NodeMetrics {
	if u.GetMachine().GetWindowNanos() == 0 {
		return nil
	}
	return &metricsv1beta1.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: node.Name, Labels: node.Labels, CreationTimestamp: metav1.Now()},
		Timestamp:  metav1.NewTime(time.Unix(0, u.Machine.TimeUnixNano)),
		Window:     metav1.Duration{Duration: time.Duration(u.Machine.WindowNanos)},
		Usage:      used(u.Machine),
	}
}

// measuredPod carries the time of the container that was measured first. It is nil if one is not known yet.
func measuredPod(pod *corev1.Pod, containers []*nodelink.ContainerUsage) *metricsv1beta1.PodMetrics {
	if len(containers) == 0 {
		return nil
	}
	m := &metricsv1beta1.PodMetrics{ObjectMeta: metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels, CreationTimestamp: metav1.Now()}}
	first := containers[0].Used
	for _, c := range containers {
		if c.Used.GetWindowNanos() == 0 {
			return nil
		}
		if c.Used.TimeUnixNano < first.TimeUnixNano {
			first = c.Used
		}
		m.Containers = append(m.Containers, metricsv1beta1.ContainerMetrics{Name: c.Container, Usage: used(c.Used)})
	}
	m.Timestamp = metav1.NewTime(time.Unix(0, first.TimeUnixNano))
	m.Window = metav1.Duration{Duration: time.Duration(first.WindowNanos)}
	return m
}

func used(u *nodelink.Used) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *quantity.NewScaledQuantity(u.NanoCores, quantity.Nano),
		corev1.ResourceMemory: *quantity.NewQuantity(u.MemoryBytes, quantity.BinarySI),
	}
}

// Bounds of asking the nodes.
const (
	usageTimeout  = 10 * time.Second
	usageAtOnce   = 64               // nodes
	usageFreshFor = 5 * time.Second  // what a node said is told again for so long
	maxUsage      = 1 << 20          // bytes of one answer: some thousands of containers
	usageForget   = 64 * time.Second // what nobody has asked for in so long is forgotten
)

// usages are what nodes said lately. The zero value is ready.
type usages struct {
	mu    sync.Mutex
	nodes map[string]*told
}

// told is the answer of one node, once done is closed; usage is nil if it did not answer.
type told struct {
	at    time.Time
	done  chan struct{}
	usage *nodelink.NodeUsage
}

// usage asks nodes what they use. Those that do not answer are left out.
func (s *Server) usage(ctx context.Context, nodes []string) map[string]*nodelink.NodeUsage {
	answers := make([]*nodelink.NodeUsage, len(nodes))
	var group errgroup.Group
	group.SetLimit(usageAtOnce)
	for i, node := range nodes {
		group.Go(func() error {
			answers[i] = s.usageOf(ctx, node)
			return nil
		})
	}
	_ = group.Wait() // nobody fails
	all := make(map[string]*nodelink.NodeUsage, len(nodes))
	for i, node := range nodes {
		if answers[i] != nil {
			all[node] = answers[i]
		}
	}
	return all
}

// usageOf asks one node, unless it has just been asked.
func (s *Server) usageOf(ctx context.Context, node string) *nodelink.NodeUsage {
	t, mine := s.usages.take(node)
	if mine {
		defer close(t.done)
		u, err := s.askUsage(ctx, node)
		if err != nil {
			s.log.Debug("a node does not tell what it uses", "node", node, "error", err)
			s.usages.drop(node, t)
			return nil
		}
		t.usage = u
		return u
	}
	select {
	case <-t.done:
		return t.usage
	case <-ctx.Done():
		return nil
	}
}

// take returns what a node said, or will say. mine says that the caller has to ask.
func (u *usages) take(node string) (t *told, mine bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if t := u.nodes[node]; t != nil && now.Sub(t.at) < usageFreshFor {
		return t, false
	}
	if u.nodes == nil {
		u.nodes = map[string]*told{}
	}
	for name, t := range u.nodes {
		if now.Sub(t.at) > usageForget {
			delete(u.nodes, name)
		}
	}
	t = &told{at: now, done: make(chan struct{})}
	u.nodes[node] = t
	return t, true
}

func (u *usages) drop(node string, t *told) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.nodes[node] == t {
		delete(u.nodes, node)
	}
}

func (s *Server) askUsage(ctx context.Context, node string) (*nodelink.NodeUsage, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), usageTimeout) // others may wait for the answer
	defer cancel()
	stream, err := s.openNode(ctx, node, &nodelink.Open{Body: &nodelink.Open_Usage{Usage: &nodelink.Usage{}}})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { stream.Reset(link.CodeCanceled) })
	defer stop()
	defer func() { _ = stream.Close() }() // the node has closed it already
	u := &nodelink.NodeUsage{}
	if err := nodelink.ReadMessage(stream, u, maxUsage); err != nil {
		return nil, fmt.Errorf("read the usage of node %s: %w", node, cmp.Or(ctx.Err(), err))
	}
	return u, nil
}
