package fit

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// nonMissing is what a container that asks for nothing weighs when nodes are compared, as
// in Kubernetes.
var nonMissing = corev1.ResourceList{
	corev1.ResourceCPU:    quantity.MustParse("100m"),
	corev1.ResourceMemory: quantity.MustParse("200Mi"),
}

// Pod is a pod made ready to be placed, and to be counted where it is.
type Pod struct {
	Pod *corev1.Pod
	// Refused says why no node at all may take the pod; "" if one may.
	Refused string

	requests     Resources
	weight       Resources
	ports        []hostPort
	required     nodeaffinity.RequiredNodeAffinity
	preferred    *nodeaffinity.PreferredSchedulingTerms // nil: none
	affinity     []term
	antiAffinity []term
	wishes       []wish
	owner        types.UID // the controller's; "" if there is none
}

// term is a PodAffinityTerm made ready.
type term struct {
	key        string // topology
	pods       labels.Selector
	namespaces map[string]bool
	selected   labels.Selector // of namespaces; nil: none
}

// wish is a term that is preferred, or with a negative weight avoided.
type wish struct {
	term
	weight int64
}

type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// NewPod reads what matters of a pod.
func NewPod(pod *corev1.Pod) *Pod {
	p := &Pod{
		Pod:      pod,
		requests: newResources(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})),
		required: nodeaffinity.GetRequiredNodeAffinity(pod),
		ports:    hostPorts(pod),
	}
	p.weight = newResources(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{
		NonMissingContainerRequests: nonMissing,
	}))
	if c := metav1.GetControllerOf(pod); c != nil {
		p.owner = c.UID
	}
	p.Refused = p.read()
	return p
}

// read parses selectors, and says what cannot be honoured.
func (p *Pod) read() string {
	spec := &p.Pod.Spec
	for _, v := range spec.Volumes {
		if claim := v.PersistentVolumeClaim; claim != nil {
			return fmt.Sprintf("persistentvolumeclaim %q not found", claim.ClaimName)
		}
		if v.Ephemeral != nil {
			return fmt.Sprintf("volume %q needs a persistentvolumeclaim, which this cluster does not provide", v.Name)
		}
	}
	if len(spec.ResourceClaims) > 0 {
		return fmt.Sprintf("resource claim %q cannot be allocated: this cluster has no dynamic resources", spec.ResourceClaims[0].Name)
	}
	if spec.Affinity == nil {
		return ""
	}
	if a := spec.Affinity.NodeAffinity; a != nil && len(a.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		preferred, err := nodeaffinity.NewPreferredSchedulingTerms(a.PreferredDuringSchedulingIgnoredDuringExecution)
		if err != nil {
			return err.Error()
		}
		p.preferred = preferred
	}
	if err := p.readAffinity(spec.Affinity); err != nil {
		return err.Error()
	}
	return ""
}

func (p *Pod) readAffinity(a *corev1.Affinity) (err error) {
	if a.PodAffinity != nil {
		if p.affinity, err = p.terms(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
		if err := p.wish(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1); err != nil {
			return err
		}
	}
	if a.PodAntiAffinity != nil {
		if p.antiAffinity, err = p.terms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return err
		}
		return p.wish(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	return nil
}

func (p *Pod) terms(given []corev1.PodAffinityTerm) ([]term, error) {
	var terms []term
	for _, g := range given {
		t, err := p.term(g)
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	return terms, nil
}

func (p *Pod) wish(given []corev1.WeightedPodAffinityTerm, sign int64) error {
	for _, g := range given {
		t, err := p.term(g.PodAffinityTerm)
		if err != nil {
			return err
		}
		p.wishes = append(p.wishes, wish{t, sign * int64(g.Weight)})
	}
	return nil
}

func (p *Pod) term(g corev1.PodAffinityTerm) (term, error) {
	t := term{key: g.TopologyKey, namespaces: map[string]bool{}}
	var err error
	if t.pods, err = metav1.LabelSelectorAsSelector(g.LabelSelector); err != nil {
		return t, err
	}
	for _, ns := range g.Namespaces {
		t.namespaces[ns] = true
	}
	if g.NamespaceSelector != nil {
		if t.selected, err = metav1.LabelSelectorAsSelector(g.NamespaceSelector); err != nil {
			return t, err
		}
	} else if len(g.Namespaces) == 0 {
		t.namespaces[p.Pod.Namespace] = true
	}
	return t, nil
}

// matches says whether the term means a pod.
func (t *term) matches(c *Cluster, pod *corev1.Pod) bool {
	if !t.namespaces[pod.Namespace] && !t.selects(c, pod.Namespace) {
		return false
	}
	return t.pods.Matches(labels.Set(pod.Labels))
}

func (t *term) selects(c *Cluster, namespace string) bool {
	if t.selected == nil {
		return false
	}
	var set labels.Set
	if c.Namespace != nil {
		set = c.Namespace(namespace)
	}
	return t.selected.Matches(set)
}

func hostPorts(pod *corev1.Pod) []hostPort {
	var ports []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				ports = append(ports, hostPort{
					cmp.Or(p.HostIP, "0.0.0.0"), cmp.Or(p.Protocol, corev1.ProtocolTCP), p.HostPort,
				})
			}
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return ports
}
