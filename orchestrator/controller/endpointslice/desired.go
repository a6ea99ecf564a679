package endpointslice

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
)

// maxPerSlice is how many endpoints a slice holds; maxInEndpoints how many the older
// Endpoints hold before they are cut.
const (
	maxPerSlice    = 100
	maxInEndpoints = 1000
)

// portGroup is a set of target ports and the pods that have them.
type portGroup struct {
	ports []discoveryv1.EndpointPort
	pods  []*corev1.Pod
}

// groups sorts the pods that can serve by what their ports are.
func groups(svc *corev1.Service, pods []*corev1.Pod) []*portGroup {
	var all []*portGroup
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range pods {
		if p.Status.PodIP == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		ports := portsOf(svc, p)
		i := slices.IndexFunc(all, func(g *portGroup) bool { return equality.Semantic.DeepEqual(g.ports, ports) })
		if i < 0 {
			i = len(all)
			all = append(all, &portGroup{ports: ports})
		}
		all[i].pods = append(all[i].pods, p)
	}
	return all
}

// portsOf is the Service's ports as the pod has them; a named one that it lacks is left out.
func portsOf(svc *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	var ports []discoveryv1.EndpointPort
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		if n, ok := target(sp, p); ok {
			name, protocol := sp.Name, cmp.Or(sp.Protocol, corev1.ProtocolTCP)
			ports = append(ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &n, AppProtocol: sp.AppProtocol})
		}
	}
	return ports
}

func target(sp *corev1.ServicePort, p *corev1.Pod) (int32, bool) {
	if sp.TargetPort.StrVal == "" {
		return cmp.Or(sp.TargetPort.IntVal, sp.Port), true
	}
	for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range containers {
			for _, port := range containers[i].Ports {
				if port.Name == sp.TargetPort.StrVal && cmp.Or(port.Protocol, corev1.ProtocolTCP) == cmp.Or(sp.Protocol, corev1.ProtocolTCP) {
					return port.ContainerPort, true
				}
			}
		}
	}
	return 0, false
}

// desiredSlices is pure: the slices that the Service is to have, without names.
func desiredSlices(svc *corev1.Service, pods []*corev1.Pod) []*discoveryv1.EndpointSlice {
	var want []*discoveryv1.EndpointSlice
	for _, g := range groups(svc, pods) {
		for chunk := range slices.Chunk(g.pods, maxPerSlice) {
			s := newSlice(svc)
			s.Ports = g.ports
			for _, p := range chunk {
				s.Endpoints = append(s.Endpoints, endpointOf(svc, p))
			}
			want = append(want, s)
		}
	}
	if len(want) == 0 { // as Kubernetes has it: an empty slice says that the Service is known
		want = append(want, newSlice(svc))
	}
	return want
}

func newSlice(svc *corev1.Service) *discoveryv1.EndpointSlice {
	labels := labelsOf(svc)
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = svc.Name, managedBy
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: svc.Namespace, GenerateName: svc.Name + "-", Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
}

// labelsOf is the Service's own labels, and the mark of a headless one.
func labelsOf(svc *corev1.Service) map[string]string {
	labels := maps.Clone(svc.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	return labels
}

func endpointOf(svc *corev1.Service, p *corev1.Pod) discoveryv1.Endpoint {
	terminating := p.DeletionTimestamp != nil
	serving := controller.IsReady(p)
	ready := serving && !terminating || svc.Spec.PublishNotReadyAddresses
	e := discoveryv1.Endpoint{
		Addresses:  []string{p.Status.PodIP},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  reference(p),
	}
	if p.Spec.NodeName != "" {
		e.NodeName = &p.Spec.NodeName
	}
	if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name {
		e.Hostname = &p.Spec.Hostname
	}
	return e
}

func reference(p *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// pair is a wanted slice and the one that is to become it; nil if it is to be made.
type pair struct{ want, have *discoveryv1.EndpointSlice }

// match gives each wanted slice one that exists, the most alike first, so that as little as
// possible is written. What is left over is spare.
func match(want, have []*discoveryv1.EndpointSlice) (pairs []pair, spare []*discoveryv1.EndpointSlice) {
	spare = slices.Clone(have)
	slices.SortFunc(spare, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	for _, w := range want {
		best, most := -1, -1
		for i, h := range spare {
			if n := alike(w, h); n > most {
				best, most = i, n
			}
		}
		p := pair{want: w}
		if best >= 0 {
			p.have = spare[best]
			spare = slices.Delete(spare, best, best+1)
		}
		pairs = append(pairs, p)
	}
	return pairs, spare
}

// alike counts common addresses; slices of other address types never match.
func alike(a, b *discoveryv1.EndpointSlice) int {
	if a.AddressType != b.AddressType {
		return -1
	}
	in := map[string]bool{}
	for _, e := range a.Endpoints {
		in[e.Addresses[0]] = true
	}
	n := 0
	for _, e := range b.Endpoints {
		if len(e.Addresses) > 0 && in[e.Addresses[0]] {
			n++
		}
	}
	return n
}

// desiredEndpoints is pure: the Service's Endpoints as Kubernetes' older API shows them.
func desiredEndpoints(svc *corev1.Service, pods []*corev1.Pod) *corev1.Endpoints {
	labels := labelsOf(svc)
	labels["endpoints.kubernetes.io/managed-by"] = "endpoint-controller"
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name, Labels: labels}}
	left := maxInEndpoints
	for _, g := range groups(svc, pods) {
		var subset corev1.EndpointSubset
		for _, port := range g.ports {
			subset.Ports = append(subset.Ports, corev1.EndpointPort{Name: *port.Name, Port: *port.Port, Protocol: *port.Protocol, AppProtocol: port.AppProtocol})
		}
		for _, p := range g.pods {
			if p.DeletionTimestamp != nil && !svc.Spec.PublishNotReadyAddresses || left == 0 {
				continue
			}
			left--
			a := corev1.EndpointAddress{IP: p.Status.PodIP, TargetRef: reference(p), NodeName: &p.Spec.NodeName}
			if p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name {
				a.Hostname = p.Spec.Hostname
			}
			if controller.IsReady(p) || svc.Spec.PublishNotReadyAddresses {
				subset.Addresses = append(subset.Addresses, a)
			} else {
				subset.NotReadyAddresses = append(subset.NotReadyAddresses, a)
			}
		}
		if len(subset.Addresses)+len(subset.NotReadyAddresses) > 0 {
			e.Subsets = append(e.Subsets, subset)
		}
	}
	return e
}
