package resource

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	serviceutil "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func services(o Options) *Kind {
	alloc := &serviceAllocator{cidr: o.ServiceCIDR, firstPort: o.NodePorts[0], lastPort: o.NodePorts[1]}
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("Service"),
		Plural:              "services",
		Singular:            "service",
		ShortNames:          []string{"svc"},
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[corev1.Service],
		NewList:             newList[corev1.ServiceList],
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,

		PrepareForCreate: typed(func(s *corev1.Service) {
			s.Status = corev1.ServiceStatus{}
			if s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
				s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
			}
			routeNothing(s)
		}),
		PrepareForUpdate: typedUpdate(func(s, old *corev1.Service) {
			s.Status = *old.Status.DeepCopy()
			keepAllocated(s, old)
			alignClusterIPs(s, old)
			dropOfOldType(s, old)
			routeNothing(s)
		}),
		Validate:       validate(validation.ValidateServiceCreate),
		ValidateUpdate: validateUpdate(validation.ValidateServiceUpdate),
		Warnings: typedWarnings(func(s, old *corev1.Service) []string {
			if old == nil {
				return serviceutil.GetWarningsForService(internal[core.Service](s), nil)
			}
			return serviceutil.GetWarningsForService(internal[core.Service](s), internal[core.Service](old))
		}),
		Resets: resets(statusField),

		Claims: func(obj Object) []string { return serviceClaims(obj.(*corev1.Service)) },
		Allocate: func(obj, old Object, taken func(string) bool) error {
			before, _ := old.(*corev1.Service)
			return alloc.allocate(obj.(*corev1.Service), before, taken)
		},

		Fields: func(obj Object) fields.Set {
			s := obj.(*corev1.Service)
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		FieldNames: []string{"spec.clusterIP", "spec.type"},
		Columns:    serviceColumns(),
		Row:        row(serviceRow),
		Subresources: map[string]*Subresource{"status": {
			PrepareForUpdate: typedUpdate(func(s, old *corev1.Service) { s.Spec = *old.Spec.DeepCopy() }),
			ValidateUpdate:   validateUpdate(validation.ValidateServiceStatusUpdate),
			Warnings:         typedWarnings(serviceStatusWarnings),
			Resets:           resets(specField),
		}},
	}
}

// routeNothing takes away what says how traffic is routed to a service that is a name.
func routeNothing(s *corev1.Service) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		s.Spec.InternalTrafficPolicy = nil
	}
}

// serviceStatusWarnings are about addresses that programs read differently.
func serviceStatusWarnings(s, _ *corev1.Service) []string {
	var warnings []string
	for i, at := range s.Status.LoadBalancer.Ingress {
		if at.IP != "" {
			warnings = append(warnings, utilvalidation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(i), at.IP)...)
		}
	}
	return warnings
}

func needsClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func needsNodePort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func needsHealthCheckPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func externallyAccessible(s *corev1.Service) bool {
	return needsNodePort(s) || (s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0)
}

// keepAllocated fills what the server has given to the old service and the client did not
// repeat, so that a manifest without addresses and ports can be written again.
func keepAllocated(s, old *corev1.Service) {
	if needsClusterIP(s) && needsClusterIP(old) {
		if s.Spec.ClusterIP == "" {
			s.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	}
	if needsNodePort(s) && needsNodePort(old) {
		keepNodePorts(s, old)
	}
	if needsHealthCheckPort(s) && needsHealthCheckPort(old) && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

func keepNodePorts(s, old *corev1.Service) {
	now := nodePorts(s)
	byName := make(map[string]int32)
	for _, p := range old.Spec.Ports {
		byName[p.Name] = p.NodePort
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if was := byName[p.Name]; p.NodePort == 0 && !slices.Contains(now, was) {
			p.NodePort = was
		}
	}
}

// nodePorts are the ports that the service asks for or has, without repetition.
func nodePorts(s *corev1.Service) []int32 {
	var ports []int32
	for _, p := range s.Spec.Ports {
		if p.NodePort != 0 && !slices.Contains(ports, p.NodePort) {
			ports = append(ports, p.NodePort)
		}
	}
	return ports
}

// alignClusterIPs follows a client that changes or clears clusterIP and does not know
// clusterIPs.
func alignClusterIPs(s, old *corev1.Service) {
	same := slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs)
	switch {
	case s.Spec.ClusterIP == old.Spec.ClusterIP:
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	case !same:
		// Validation says what is wrong.
	case s.Spec.ClusterIP == "":
		s.Spec.ClusterIPs = nil
	default:
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
}

// dropOfOldType clears what only the old type needed, unless the client has changed it,
// so that a change of type alone is a valid update.
func dropOfOldType(s, old *corev1.Service) {
	spec, was := &s.Spec, &old.Spec
	if needsClusterIP(old) && !needsClusterIP(s) {
		if spec.ClusterIP == was.ClusterIP && slices.Equal(spec.ClusterIPs, was.ClusterIPs) {
			spec.ClusterIP, spec.ClusterIPs = "", nil
		}
		if slices.Equal(spec.IPFamilies, was.IPFamilies) {
			spec.IPFamilies = nil
		}
		if equalPointers(spec.IPFamilyPolicy, was.IPFamilyPolicy) {
			spec.IPFamilyPolicy = nil
		}
	}
	if needsNodePort(old) && !needsNodePort(s) && containsAll(nodePorts(old), nodePorts(s)) {
		for i := range spec.Ports {
			spec.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheckPort(old) && !needsHealthCheckPort(s) && spec.HealthCheckNodePort == was.HealthCheckNodePort {
		spec.HealthCheckNodePort = 0
	}
	if was.Type == corev1.ServiceTypeLoadBalancer && spec.Type != corev1.ServiceTypeLoadBalancer {
		if equalPointers(spec.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts) {
			spec.AllocateLoadBalancerNodePorts = nil
		}
		if equalPointers(spec.LoadBalancerClass, was.LoadBalancerClass) {
			spec.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(s) && spec.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		spec.ExternalTrafficPolicy = ""
	}
	if spec.Type != corev1.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

func equalPointers[T comparable](a, b *T) bool {
	return a == b || (a != nil && b != nil && *a == *b)
}

func containsAll(all, some []int32) bool {
	return !slices.ContainsFunc(some, func(p int32) bool { return !slices.Contains(all, p) })
}

func serviceColumns() []metav1.TableColumnDefinition {
	spec := corev1.ServiceSpec{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("Type", "string", spec["type"]),
		column("Cluster-IP", "string", spec["clusterIP"]),
		column("External-IP", "string", spec["externalIPs"]),
		column("Port(s)", "string", spec["ports"]),
		ageColumn,
		wide("Selector", "string", spec["selector"]),
	}
}

func serviceRow(s *corev1.Service) []any {
	clusterIP := "<none>"
	if len(s.Spec.ClusterIPs) > 0 {
		clusterIP = s.Spec.ClusterIPs[0]
	}
	return []any{
		s.Name, string(s.Spec.Type), clusterIP, externalIPCell(s), orNone(portsCell(s.Spec.Ports)),
		age(s), labels.FormatLabels(s.Spec.Selector),
	}
}

func externalIPCell(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return orNone(strings.Join(s.Spec.ExternalIPs, ","))
	case corev1.ServiceTypeLoadBalancer:
		var ips []string
		for _, i := range s.Status.LoadBalancer.Ingress {
			if i.IP != "" {
				ips = append(ips, i.IP)
			} else if i.Hostname != "" {
				ips = append(ips, i.Hostname)
			}
		}
		slices.Sort(ips)
		if ips = append(slices.Compact(ips), s.Spec.ExternalIPs...); len(ips) > 0 {
			return strings.Join(ips, ",")
		}
		return "<pending>"
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	default:
		return "<unknown>"
	}
}

func portsCell(ports []corev1.ServicePort) string {
	var cells []string
	for _, p := range ports {
		if p.NodePort > 0 {
			cells = append(cells, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			cells = append(cells, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return strings.Join(cells, ",")
}
