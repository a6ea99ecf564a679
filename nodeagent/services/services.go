// Package services turns Services, EndpointSlices and the pods of this node into routes.
// It is pure: the same objects give the same Table. Readers (podnet, proxy, dns) take a
// whole new Table each time something changes.
package services

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Input is the world as the control plane last described it.
type Input struct {
	Node     string // this node's name
	Domain   string // cluster domain, "cluster.local"
	Services []*corev1.Service
	Slices   []*discoveryv1.EndpointSlice
	// Pods of this node that have an address, for host ports.
	Pods []*corev1.Pod
}

// Frontend is where traffic comes in.
type Frontend struct {
	Network string // "tcp" or "udp"
	Addr    netip.AddrPort
}

// HostFrontend is a port of the node itself; an invalid Addr means every address.
type HostFrontend struct {
	Network string
	Addr    netip.Addr
	Port    uint16
}

// Route is where the traffic of one port of one Service goes.
type Route struct {
	Namespace, Service, Port string
	// Endpoints are ready, or terminating but still serving when none is ready.
	Endpoints []Endpoint
	// Affinity keeps a client on its endpoint for as long; 0: each connection is free.
	Affinity time.Duration
}

// Endpoint is one backend.
type Endpoint struct {
	Addr     netip.AddrPort
	Node     string
	Hostname string
}

// Table is an immutable set of routes and names.
type Table struct {
	cluster map[Frontend]*Route
	host    map[HostFrontend]*Route
	ips     map[netip.Addr]bool
	names   map[string]*Name
	domain  string
}

// Name is what DNS knows of one name of the cluster.
type Name struct {
	Addrs []netip.Addr
	CNAME string // of an ExternalName Service
	SRV   []SRV
}

// SRV is one service record.
type SRV struct {
	Target string
	Port   uint16
}

// Build computes the routes.
func Build(in Input) *Table {
	t := &Table{
		cluster: map[Frontend]*Route{}, host: map[HostFrontend]*Route{},
		ips: map[netip.Addr]bool{}, names: map[string]*Name{}, domain: in.Domain,
	}
	byService := groupSlices(in.Slices)
	for _, svc := range in.Services {
		t.addService(in, svc, byService[svc.Namespace+"/"+svc.Name])
	}
	for _, pod := range in.Pods {
		t.addHostPorts(pod)
	}
	return t
}

func groupSlices(all []*discoveryv1.EndpointSlice) map[string][]*discoveryv1.EndpointSlice {
	m := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range all {
		if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
			key := s.Namespace + "/" + name
			m[key] = append(m[key], s)
		}
	}
	for _, group := range m {
		slices.SortFunc(group, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	}
	return m
}

func (t *Table) addService(in Input, svc *corev1.Service, group []*discoveryv1.EndpointSlice) {
	t.addNames(svc, group)
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	ips := clusterIPs(svc)
	for _, ip := range ips {
		t.ips[ip] = true
	}
	for i := range svc.Spec.Ports {
		port := &svc.Spec.Ports[i]
		network, ok := networkOf(port.Protocol)
		if !ok {
			continue // SCTP: the API refuses to serve what no proxy here carries
		}
		found := endpoints(port, group)
		inside := t.route(svc, port, policy(found, in.Node, svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal))
		for _, ip := range ips {
			t.cluster[Frontend{network, netip.AddrPortFrom(ip, uint16(port.Port))}] = inside
		}
		if port.NodePort != 0 {
			local := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
			t.host[HostFrontend{Network: network, Port: uint16(port.NodePort)}] = t.route(svc, port, policy(found, in.Node, local))
		}
	}
}

func (t *Table) route(svc *corev1.Service, port *corev1.ServicePort, endpoints []Endpoint) *Route {
	r := &Route{Namespace: svc.Namespace, Service: svc.Name, Port: port.Name, Endpoints: endpoints}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		r.Affinity = 3 * time.Hour // corev1.DefaultClientIPServiceAffinitySeconds
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			r.Affinity = time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
		}
	}
	return r
}

// candidate is an endpoint before traffic policies have chosen.
type candidate struct {
	Endpoint
	ready, serving bool
}

func endpoints(port *corev1.ServicePort, group []*discoveryv1.EndpointSlice) []candidate {
	var found []candidate
	seen := map[netip.AddrPort]bool{}
	for _, slice := range group {
		number, ok := slicePort(slice, port)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			c, ok := endpoint(&slice.Endpoints[i], number)
			if ok && !seen[c.Addr] {
				seen[c.Addr] = true
				found = append(found, c)
			}
		}
	}
	return found
}

func slicePort(slice *discoveryv1.EndpointSlice, port *corev1.ServicePort) (uint16, bool) {
	for _, p := range slice.Ports {
		name, protocol := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if name == port.Name && protocol == protocolOf(port.Protocol) && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

func endpoint(e *discoveryv1.Endpoint, port uint16) (candidate, bool) {
	if len(e.Addresses) == 0 {
		return candidate{}, false
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return candidate{}, false // an FQDN slice
	}
	c := candidate{Endpoint: Endpoint{Addr: netip.AddrPortFrom(ip, port)}}
	if e.NodeName != nil {
		c.Node = *e.NodeName
	}
	if e.Hostname != nil {
		c.Hostname = *e.Hostname
	}
	// Unknown means ready, and serving defaults to ready (discovery.k8s.io/v1 EndpointConditions).
	c.ready = e.Conditions.Ready == nil || *e.Conditions.Ready
	c.serving = c.ready
	if e.Conditions.Serving != nil {
		c.serving = *e.Conditions.Serving
	}
	return c, true
}

// policy keeps the endpoints that may be used: local ones if asked, ready ones if there are
// any, else those that terminate but still serve.
func policy(all []candidate, node string, local bool) []Endpoint {
	var ready, serving []Endpoint
	for _, c := range all {
		if local && c.Node != node {
			continue
		}
		if c.ready {
			ready = append(ready, c.Endpoint)
		} else if c.serving {
			serving = append(serving, c.Endpoint)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return serving
}

func (t *Table) addHostPorts(pod *corev1.Pod) {
	ip, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || pod.Spec.HostNetwork {
		return
	}
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			network, ok := networkOf(p.Protocol)
			if p.HostPort == 0 || !ok {
				continue
			}
			f := HostFrontend{Network: network, Port: uint16(p.HostPort)}
			if addr, err := netip.ParseAddr(p.HostIP); err == nil && !addr.IsUnspecified() {
				f.Addr = addr
			}
			t.host[f] = &Route{Namespace: pod.Namespace, Service: pod.Name, Port: p.Name,
				Endpoints: []Endpoint{{Addr: netip.AddrPortFrom(ip, uint16(p.ContainerPort))}}}
		}
	}
}

func networkOf(p corev1.Protocol) (string, bool) {
	switch protocolOf(p) {
	case corev1.ProtocolTCP:
		return "tcp", true
	case corev1.ProtocolUDP:
		return "udp", true
	}
	return "", false
}

func protocolOf(p corev1.Protocol) corev1.Protocol { return cmp.Or(p, corev1.ProtocolTCP) }

func clusterIPs(svc *corev1.Service) []netip.Addr {
	texts := svc.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{svc.Spec.ClusterIP}
	}
	var ips []netip.Addr
	for _, s := range texts {
		if ip, err := netip.ParseAddr(s); err == nil { // "None" and "" are no addresses
			ips = append(ips, ip)
		}
	}
	return ips
}

// Cluster finds the route of a cluster IP and port.
func (t *Table) Cluster(network string, addr netip.AddrPort) (*Route, bool) {
	r, ok := t.cluster[Frontend{network, addr}]
	return r, ok
}

// IsClusterIP says whether ip belongs to a Service, on whatever port.
func (t *Table) IsClusterIP(ip netip.Addr) bool { return t.ips[ip] }

// Host is every port of the node that has a route. The map must not be modified.
func (t *Table) Host() map[HostFrontend]*Route { return t.host }

// Lookup finds a fully qualified name without its last dot, whatever its case.
func (t *Table) Lookup(name string) (*Name, bool) {
	n, ok := t.names[strings.ToLower(name)]
	return n, ok
}

// Domain is the cluster domain, "cluster.local".
func (t *Table) Domain() string { return t.domain }

// Pick chooses an endpoint at random, avoiding those that tried says have failed; false if
// none is left.
func (r *Route) Pick(tried map[netip.AddrPort]bool) (Endpoint, bool) {
	n := len(r.Endpoints)
	if n == 0 {
		return Endpoint{}, false
	}
	first := rand.IntN(n)
	for i := range n {
		if e := r.Endpoints[(first+i)%n]; !tried[e.Addr] {
			return e, true
		}
	}
	return Endpoint{}, false
}
