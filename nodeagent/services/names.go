package services

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// addNames follows the Kubernetes DNS specification 1.1.0: a Service's name answers with
// its cluster IPs, a headless one's with its endpoints, each port with an SRV record.
func (t *Table) addNames(svc *corev1.Service, group []*discoveryv1.EndpointSlice) {
	base := svc.Name + "." + svc.Namespace + ".svc." + t.domain
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		t.name(base).CNAME = strings.TrimSuffix(svc.Spec.ExternalName, ".")
		return
	}
	ips := clusterIPs(svc)
	if len(ips) == 0 {
		t.addHeadless(svc, base, group)
		return
	}
	t.name(base).Addrs = ips
	for _, p := range svc.Spec.Ports {
		t.addSRV(base, p.Name, p.Protocol, SRV{Target: base, Port: uint16(p.Port)})
	}
}

func (t *Table) addHeadless(svc *corev1.Service, base string, group []*discoveryv1.EndpointSlice) {
	seen := map[netip.Addr]bool{}
	for _, slice := range group {
		for i := range slice.Endpoints {
			c, ok := endpoint(&slice.Endpoints[i], 0)
			if !ok || !c.ready && !svc.Spec.PublishNotReadyAddresses || seen[c.Addr.Addr()] {
				continue
			}
			ip := c.Addr.Addr()
			seen[ip] = true
			label := c.Hostname
			if label == "" {
				label = strings.NewReplacer(".", "-", ":", "-").Replace(ip.String())
			}
			t.name(base).Addrs = append(t.name(base).Addrs, ip)
			host := t.name(label + "." + base)
			host.Addrs = append(host.Addrs, ip)
			t.addEndpointSRV(base, label, slice)
		}
	}
}

func (t *Table) addEndpointSRV(base, label string, slice *discoveryv1.EndpointSlice) {
	for _, p := range slice.Ports {
		if p.Name == nil || p.Port == nil {
			continue
		}
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		t.addSRV(base, *p.Name, protocol, SRV{Target: label + "." + base, Port: uint16(*p.Port)})
	}
}

func (t *Table) addSRV(base, port string, protocol corev1.Protocol, record SRV) {
	if port == "" {
		return
	}
	n := t.name("_" + port + "._" + strings.ToLower(string(protocolOf(protocol))) + "." + base)
	n.SRV = append(n.SRV, record)
}

func (t *Table) name(fqdn string) *Name {
	n := t.names[fqdn]
	if n == nil {
		n = &Name{}
		t.names[fqdn] = n
	}
	return n
}
