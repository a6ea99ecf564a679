// Package reach dials Services of the cluster from the control plane, and posts to webhooks there and elsewhere. The
// control plane may have no route into the network of the pods: a pod is reached through its agent's session.
package reach

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/state"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// Nodes opens streams to agents.
type Nodes interface {
	Open(ctx context.Context, node string, o *nodelink.Open) (link.Stream, error)
}

// Dialer dials Services.
type Dialer struct {
	State *state.State
	Nodes Nodes // nil: pods are dialed at their addresses
}

// endpoint is where a Service is answered.
type endpoint struct {
	pod     *corev1.Pod // nil: an address that is no pod's
	address string
	port    int32
}

// Dial connects to one of the ready endpoints of a Service. Errors say which part of the way is missing.
func (d *Dialer) Dial(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	service, ok := state.Get[*corev1.Service](d.State, namespace, name)
	if !ok {
		return nil, fmt.Errorf("service %q not found", name)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(service.Spec.ExternalName, strconv.Itoa(int(port))))
	}
	portName, ok := nameOf(service, port)
	if !ok {
		return nil, fmt.Errorf("no service port %d found for service %q", port, name)
	}
	all := d.endpoints(service, portName)
	if len(all) == 0 {
		return nil, fmt.Errorf("no endpoints available for service %q", name)
	}
	return d.dial(ctx, all[rand.IntN(len(all))])
}

// Ready says why a Service cannot be dialed now; nil if it can.
func (d *Dialer) Ready(namespace, name string, port int32) error {
	service, ok := state.Get[*corev1.Service](d.State, namespace, name)
	if !ok {
		return fmt.Errorf("service/%s in %q is not present", name, namespace)
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	portName, ok := nameOf(service, port)
	if !ok {
		return fmt.Errorf("service/%s in %q is not listening on port %d", name, namespace, port)
	}
	if len(d.endpoints(service, portName)) == 0 {
		return fmt.Errorf("endpoints for service/%s in %q have no addresses with port name %q", name, namespace, portName)
	}
	return nil
}

func nameOf(service *corev1.Service, port int32) (string, bool) {
	for _, p := range service.Spec.Ports {
		if p.Port == port {
			return p.Name, true
		}
	}
	return "", false
}

func (d *Dialer) endpoints(service *corev1.Service, portName string) (all []endpoint) {
	of := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name})
	for _, slice := range state.List[*discoveryv1.EndpointSlice](d.State, state.Selector{Namespace: service.Namespace, Labels: of}) {
		port := portOf(slice, portName)
		for _, e := range slice.Endpoints {
			if port == 0 || len(e.Addresses) == 0 || e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			at := endpoint{address: e.Addresses[0], port: port}
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				at.pod, _ = state.Get[*corev1.Pod](d.State, service.Namespace, e.TargetRef.Name)
			}
			all = append(all, at)
		}
	}
	return all
}

func portOf(slice *discoveryv1.EndpointSlice, name string) int32 {
	for _, p := range slice.Ports {
		if p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) {
			return *p.Port
		}
	}
	return 0
}

func (d *Dialer) dial(ctx context.Context, at endpoint) (net.Conn, error) {
	if at.pod == nil || at.pod.Spec.NodeName == "" || d.Nodes == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(at.address, strconv.Itoa(int(at.port))))
	}
	stream, err := d.Nodes.Open(ctx, at.pod.Spec.NodeName, &nodelink.Open{Body: &nodelink.Open_PortForward{
		PortForward: &nodelink.PortForward{PodUid: string(at.pod.UID), Port: uint32(at.port)},
	}})
	if err != nil {
		return nil, fmt.Errorf("reaching pod %s through node %s: %w", at.pod.Name, at.pod.Spec.NodeName, err)
	}
	return conn{stream}, nil
}

// conn is a link's stream as a connection.
type conn struct{ link.Stream }

func (conn) LocalAddr() net.Addr  { return addr{} }
func (conn) RemoteAddr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "link" }
func (addr) String() string  { return "link" }
