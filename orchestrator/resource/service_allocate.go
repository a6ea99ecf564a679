package resource

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// serviceAllocator gives Services their cluster IPs and node ports. The cluster has one family,
// IPv4. What is in use is known by claims, so the allocator keeps no state.
type serviceAllocator struct {
	cidr                netip.Prefix
	firstPort, lastPort int32
}

func clusterIPClaim(ip string) string   { return "clusterip/" + ip }
func nodePortClaim(port int32) string   { return fmt.Sprintf("nodeport/%d", port) }
func isHeadless(s *corev1.Service) bool { return s.Spec.ClusterIP == corev1.ClusterIPNone }

// serviceClaims are the service's cluster IPs and ports on nodes. A port is claimed for all
// protocols, as in Kubernetes.
func serviceClaims(s *corev1.Service) []string {
	var claims []string
	if needsClusterIP(s) {
		for _, ip := range s.Spec.ClusterIPs {
			if ip != "" && ip != corev1.ClusterIPNone {
				claims = append(claims, clusterIPClaim(ip))
			}
		}
	}
	if needsNodePort(s) {
		for _, p := range nodePorts(s) {
			claims = append(claims, nodePortClaim(p))
		}
	}
	if p := s.Spec.HealthCheckNodePort; needsHealthCheckPort(s) && p != 0 && !slices.Contains(nodePorts(s), p) {
		claims = append(claims, nodePortClaim(p))
	}
	return claims
}

// allocate completes s. old is nil on create.
func (a *serviceAllocator) allocate(s, old *corev1.Service, taken func(string) bool) error {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	free := func(claim string) bool { return !taken(claim) }
	if old != nil {
		held := serviceClaims(old)
		free = func(claim string) bool { return slices.Contains(held, claim) || !taken(claim) }
	}
	if err := a.setFamilies(s, old); err != nil {
		return err
	}
	if err := a.setClusterIP(s, old, free); err != nil {
		return err
	}
	return a.setNodePorts(s, old, free)
}

func invalidService(s *corev1.Service, errs ...*field.Error) error {
	return errors.NewInvalid(schema.GroupKind{Kind: "Service"}, s.Name, errs)
}

// setFamilies defaults ipFamilyPolicy and ipFamilies and refuses what a cluster of one
// family cannot do.
func (a *serviceAllocator) setFamilies(s, old *corev1.Service) error {
	spec := &s.Spec
	selectorless := isHeadless(s) && len(spec.Selector) == 0
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if old != nil && old.Spec.IPFamilyPolicy != nil {
			policy = *old.Spec.IPFamilyPolicy
		} else if selectorless {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		spec.IPFamilyPolicy = &policy
	}
	var inOld *core.Service
	if old != nil {
		inOld = internal[core.Service](old)
	}
	if errs := validation.ValidateServiceClusterIPsRelatedFields(internal[core.Service](s), inOld); len(errs) > 0 {
		return invalidService(s, errs...)
	}
	if old != nil {
		if err := releaseSecond(s, old); err != nil {
			return err
		}
	}
	if errs := a.checkFamilies(s, selectorless); len(errs) > 0 {
		return invalidService(s, errs...)
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if selectorless && *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 {
		other := corev1.IPv6Protocol
		if spec.IPFamilies[0] == corev1.IPv6Protocol {
			other = corev1.IPv4Protocol
		}
		spec.IPFamilies = append(spec.IPFamilies, other)
	}
	return nil
}

// releaseSecond lets a service go back to one family, if it says so.
func releaseSecond(s, old *corev1.Service) error {
	spec, was := &s.Spec, &old.Spec
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, was.ClusterIPs) {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
		if len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, was.IPFamilies) {
			spec.IPFamilies = spec.IPFamilies[:1]
		}
		return nil
	}
	path := field.NewPath("spec", "ipFamilyPolicy")
	var errs field.ErrorList
	if n := len(spec.ClusterIPs); n > 0 && n < len(was.ClusterIPs) {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP"))
	}
	if n := len(spec.IPFamilies); n > 0 && n < len(was.IPFamilies) {
		errs = append(errs, field.Invalid(path, spec.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family"))
	}
	if len(errs) > 0 {
		return invalidService(s, errs...)
	}
	return nil
}

func (a *serviceAllocator) checkFamilies(s *corev1.Service, selectorless bool) field.ErrorList {
	spec, path := &s.Spec, field.NewPath("spec")
	policy := *spec.IPFamilyPolicy
	var errs field.ErrorList
	if policy == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) == 2 {
			errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"))
		}
		if len(spec.IPFamilies) == 2 {
			errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"))
		}
	}
	for i, ip := range spec.ClusterIPs {
		if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() && i >= len(spec.IPFamilies) {
			errs = append(errs, field.Invalid(path.Child("clusterIPs").Index(i), spec.ClusterIPs, "IPv6 is not configured on this cluster"))
		}
	}
	if len(errs) > 0 || selectorless {
		return errs
	}
	if policy == corev1.IPFamilyPolicyRequireDualStack {
		errs = append(errs, field.Invalid(path.Child("ipFamilyPolicy"), spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	for i, f := range spec.IPFamilies {
		if f != corev1.IPv4Protocol {
			errs = append(errs, field.Invalid(path.Child("ipFamilies").Index(i), f, "not configured on this cluster"))
		}
	}
	return errs
}

// setClusterIP takes the address that is asked for, or a free one. A service keeps its
// address for life; validation refuses a change.
func (a *serviceAllocator) setClusterIP(s, old *corev1.Service, free func(string) bool) error {
	if isHeadless(s) || (len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone) {
		return nil
	}
	if old != nil && needsClusterIP(old) {
		return nil
	}
	path := field.NewPath("spec", "clusterIPs")
	if len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] != "" {
		ip := s.Spec.ClusterIPs[0]
		if why := a.refuseIP(ip, free); why != "" {
			return invalidService(s, field.Invalid(path, s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", ip, why)))
		}
		s.Spec.ClusterIP = ip
		return nil
	}
	ip, ok := a.freeIP(free)
	if !ok {
		return errors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: range is full", s.Name))
	}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = ip, []string{ip}
	return nil
}

func (a *serviceAllocator) refuseIP(ip string, free func(string) bool) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || !a.usable(addr) {
		return "the provided network does not match the current range"
	}
	if !free(clusterIPClaim(ip)) {
		return "provided IP is already allocated"
	}
	return ""
}

// usable says whether addr is in the range and is neither its first nor last address.
func (a *serviceAllocator) usable(addr netip.Addr) bool {
	return a.cidr.Contains(addr) && a.cidr.Contains(addr.Prev()) && a.cidr.Contains(addr.Next())
}

// freeIP starts at a random place behind the low addresses, which are left to those who ask for one by
// name as long as there are others.
func (a *serviceAllocator) freeIP(free func(string) bool) (string, bool) {
	size := uint32(1) << (32 - a.cidr.Bits())
	low := reservedIPs(size)
	for _, r := range [][2]uint32{{low + 1, size - 1}, {1, low + 1}} {
		if i, ok := probe(r[0], r[1], func(i uint32) bool { return free(clusterIPClaim(a.ip(i))) }); ok {
			return a.ip(i), true
		}
	}
	return "", false
}

// reservedIPs is how many of size addresses are kept for static use.
func reservedIPs(size uint32) uint32 {
	if size <= 16 {
		return 0
	}
	return min(max(size/16, 16), 256)
}

func (a *serviceAllocator) ip(i uint32) string {
	b := a.cidr.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+i)
	return netip.AddrFrom4(b).String()
}

// probe finds a number in [from, to) that is free, from a random one on.
func probe(from, to uint32, free func(uint32) bool) (uint32, bool) {
	if from >= to {
		return 0, false
	}
	n := to - from
	start := rand.Uint32N(n)
	for i := range n {
		if at := from + (start+i)%n; free(at) {
			return at, true
		}
	}
	return 0, false
}

// setNodePorts takes the ports that are asked for, or free ones, for types that need them.
func (a *serviceAllocator) setNodePorts(s, old *corev1.Service, free func(string) bool) error {
	if needsNodePort(s) {
		if err := a.setServicePorts(s, old, free); err != nil {
			return err
		}
	}
	if !needsHealthCheckPort(s) || (old != nil && needsHealthCheckPort(old)) {
		return nil
	}
	if p := s.Spec.HealthCheckNodePort; p != 0 {
		if why := a.refusePort(p, free); why != "" {
			return errors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %d: %s", p, why))
		}
		return nil
	}
	p, ok := a.freePort(s, free)
	if !ok {
		return errors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort: range is full"))
	}
	s.Spec.HealthCheckNodePort = p
	return nil
}

// setServicePorts gives the same node port to entries with the same port number, such as
// TCP and UDP 53.
func (a *serviceAllocator) setServicePorts(s, old *corev1.Service, free func(string) bool) error {
	automatic := s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort == 0 && !automatic {
			continue
		}
		if p.NodePort == 0 && old == nil {
			p.NodePort = siblingPort(s.Spec.Ports, p.Port)
		}
		if p.NodePort == 0 {
			port, ok := a.freePort(s, free)
			if !ok {
				return errors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: range is full"))
			}
			p.NodePort = port
			continue
		}
		if why := a.refusePort(p.NodePort, free); why != "" {
			path := field.NewPath("spec", "ports").Index(i).Child("nodePort")
			return invalidService(s, field.Invalid(path, p.NodePort, why))
		}
	}
	return nil
}

func siblingPort(ports []corev1.ServicePort, port int32) int32 {
	for _, p := range ports {
		if p.Port == port && p.NodePort != 0 {
			return p.NodePort
		}
	}
	return 0
}

func (a *serviceAllocator) refusePort(p int32, free func(string) bool) string {
	switch {
	case free(nodePortClaim(p)) && p >= a.firstPort && p <= a.lastPort:
		return ""
	case p < a.firstPort || p > a.lastPort:
		return fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", a.firstPort, a.lastPort)
	default:
		return "provided port is already allocated"
	}
}

// freePort finds a port that nobody has claimed and that s does not use itself.
func (a *serviceAllocator) freePort(s *corev1.Service, free func(string) bool) (int32, bool) {
	own := nodePorts(s)
	p, ok := probe(uint32(a.firstPort), uint32(a.lastPort)+1, func(p uint32) bool {
		return !slices.Contains(own, int32(p)) && free(nodePortClaim(int32(p)))
	})
	return int32(p), ok
}
