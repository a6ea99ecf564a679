package apiserver

import (
	"context"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/state"
)

// DialService connects to a port of a Service: to a ready pod behind it through the pod's agent, for the control plane
// need not have a way into the pods' network; to an endpoint that is no pod, or an external name, directly.
func (s *Server) DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	service, ok := state.Get[*corev1.Service](s.state, namespace, name)
	if !ok {
		return nil, fmt.Errorf("service %q not found", name)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(service.Spec.ExternalName, strconv.Itoa(int(port))))
	}
	portName, err := servicePort(service, strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	c := &call{s: s}
	if pod, number := c.endpoint(service, portName); pod != nil {
		s.streams.Add(1)
		stream, err := c.connect(ctx, pod, uint16(number))
		s.streams.Done()
		if err != nil {
			return nil, err
		}
		return streamConn{stream}, nil
	}
	if address := s.outside(service, portName); address != "" {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	return nil, fmt.Errorf("no endpoints available for service %q", name)
}

// outside is the address of a ready endpoint that is no pod, "" if there is none.
func (s *Server) outside(service *corev1.Service, portName string) string {
	of := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name})
	for _, slice := range state.List[*discoveryv1.EndpointSlice](s.state, state.Selector{Namespace: service.Namespace, Labels: of}) {
		number := slicePort(slice, portName)
		for _, e := range slice.Endpoints {
			if ready := e.Conditions.Ready; number != 0 && (ready == nil || *ready) && e.TargetRef == nil && len(e.Addresses) > 0 {
				return net.JoinHostPort(e.Addresses[0], strconv.Itoa(number))
			}
		}
	}
	return ""
}
