package nodeagent

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"wherry/nodeagent/services"
	"wherry/proto/nodelink"
)

// world is what the control plane has said. It is a pod.Objects. The objects are shared: nobody changes them.
type world struct {
	mu         sync.Mutex
	node       *corev1.Node
	pods       map[string]*corev1.Pod // by namespace/name, as all that follow
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	services   map[string]*corev1.Service
	slices     map[string]*discoveryv1.EndpointSlice
	tokens     map[string]map[tokenWish]string // by pod uid
}

func newWorld() *world {
	return &world{
		pods:       map[string]*corev1.Pod{},
		configMaps: map[string]*corev1.ConfigMap{},
		secrets:    map[string]*corev1.Secret{},
		services:   map[string]*corev1.Service{},
		slices:     map[string]*discoveryv1.EndpointSlice{},
		tokens:     map[string]map[tokenWish]string{},
	}
}

// news is what changed in one step.
type news struct {
	pods       []*corev1.Pod   // new or changed
	gone       []string        // uids of pods that are not the node's any more
	namespaces map[string]bool // whose ConfigMaps or Secrets changed
	routes     bool            // Services or endpoints changed
	node       bool
}

// apply takes changes over. An object that cannot be decoded is left out, and named in the error.
func (w *world) apply(changes []*nodelink.Change) (news, []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := news{namespaces: map[string]bool{}}
	var errs []error
	for _, c := range changes {
		if err := w.applyOne(c, &n); err != nil {
			errs = append(errs, fmt.Errorf("decode %v %s/%s: %w", c.GetKind(), c.GetNamespace(), c.GetName(), err))
		}
	}
	return n, errs
}

func (w *world) applyOne(c *nodelink.Change, n *news) (err error) {
	key := c.GetNamespace() + "/" + c.GetName()
	switch c.GetKind() {
	case nodelink.Kind_KIND_NODE:
		n.node = true
		w.node, err = decode[corev1.Node](c)
	case nodelink.Kind_KIND_POD:
		err = w.applyPod(c, key, n)
	case nodelink.Kind_KIND_CONFIG_MAP:
		n.namespaces[c.GetNamespace()] = true
		err = set(w.configMaps, key, c)
	case nodelink.Kind_KIND_SECRET:
		n.namespaces[c.GetNamespace()] = true
		err = set(w.secrets, key, c)
	case nodelink.Kind_KIND_SERVICE:
		n.routes = true
		err = set(w.services, key, c)
	case nodelink.Kind_KIND_ENDPOINT_SLICE:
		n.routes = true
		err = set(w.slices, key, c)
	}
	return err
}

// applyPod also notices that another pod has taken the name.
func (w *world) applyPod(c *nodelink.Change, key string, n *news) error {
	old := w.pods[key]
	if err := set(w.pods, key, c); err != nil {
		return err
	}
	p := w.pods[key]
	if p != nil && p != old {
		n.pods = append(n.pods, p)
	}
	if old != nil && (p == nil || p.UID != old.UID) {
		n.gone = append(n.gone, string(old.UID))
		delete(w.tokens, string(old.UID))
	}
	return nil
}

type object[T any] interface {
	*T
	Unmarshal([]byte) error
	GetUID() types.UID
}

// decode returns the object, nil if it is gone.
func decode[T any, P object[T]](c *nodelink.Change) (*T, error) {
	if len(c.GetObject()) == 0 {
		return nil, nil
	}
	o := new(T)
	if err := P(o).Unmarshal(c.GetObject()); err != nil {
		return nil, err
	}
	return o, nil
}

// set takes an object over, or drops it if it is gone and no other has taken its name.
func set[T any, P object[T]](m map[string]*T, key string, c *nodelink.Change) error {
	o, err := decode[T, P](c)
	if err != nil {
		return err
	}
	if o != nil {
		m[key] = o
	} else if old := m[key]; old != nil && (c.GetUid() == "" || string(P(old).GetUID()) == c.GetUid()) {
		delete(m, key)
	}
	return nil
}

// ConfigMap implements pod.Objects.
func (w *world) ConfigMap(namespace, name string) *corev1.ConfigMap {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.configMaps[namespace+"/"+name]
}

// Secret implements pod.Objects.
func (w *world) Secret(namespace, name string) *corev1.Secret {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.secrets[namespace+"/"+name]
}

// Services implements pod.Objects.
func (w *world) Services(namespace string) []*corev1.Service {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*corev1.Service
	for _, s := range w.services {
		if s.Namespace == namespace {
			all = append(all, s)
		}
	}
	return all
}

// has says whether the pod is the node's.
func (w *world) has(uid string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pods {
		if string(p.UID) == uid {
			return true
		}
	}
	return false
}

// owner says whose port a route is: a Service's, or a pod's host port.
func (w *world) owner(namespace, name string) (kind string, uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.services[namespace+"/"+name]; s != nil {
		return "Service", s.UID
	}
	if p := w.pods[namespace+"/"+name]; p != nil {
		return "Pod", p.UID
	}
	return "Service", ""
}

// podCIDR is the node's block of addresses; "" if it has none yet.
func (w *world) podCIDR() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.node == nil {
		return ""
	}
	return w.node.Spec.PodCIDR
}

// input is what routes are computed of. status returns what a pod's status is here.
func (w *world) input(node, domain string, status func(uid string) *corev1.PodStatus) services.Input {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := services.Input{
		Node: node, Domain: domain,
		Services: slices.Collect(maps.Values(w.services)),
		Slices:   slices.Collect(maps.Values(w.slices)),
	}
	for _, p := range w.pods {
		s := status(string(p.UID))
		if s == nil || s.PodIP == "" || !hasHostPort(p) {
			continue
		}
		here := *p
		here.Status = *s
		in.Pods = append(in.Pods, &here)
	}
	return in
}

func hasHostPort(p *corev1.Pod) bool {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				return true
			}
		}
	}
	return false
}
