package orchestrator

import (
	"context"
	"fmt"
	"net/netip"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"wherry/orchestrator/apiserver/auth/rbac"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// bootstrap makes what every Kubernetes cluster has from its first moment: the namespaces
// default, kube-system, kube-public and kube-node-lease, the default roles and their bindings, the runtime classes of every node, the Services
// kubernetes (the API) and kube-dns (answered by every agent), and resource.Initial. What exists is left as it is.
func (o *Orchestrator) bootstrap(ctx context.Context) error {
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		if err := ensure(ctx, o.state, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	if err := rbac.Reconcile(ctx, o.state); err != nil {
		return err
	}
	for _, name := range []string{"wasm", "wasm-process", "wasm-interpreter", "wasm-http"} { // every node has them
		class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: name}
		if err := ensure(ctx, o.state, class); err != nil {
			return err
		}
	}
	if err := ensure(ctx, o.state, service(metav1.NamespaceDefault, "kubernetes", o.config.apiIP(), map[string]string{"component": "apiserver", "provider": "kubernetes"},
		corev1.ServicePort{Name: "https", Port: 443, TargetPort: intstr.FromInt32(int32(o.port()))})); err != nil {
		return err
	}
	if err := ensure(ctx, o.state, service(metav1.NamespaceSystem, "kube-dns", o.config.dnsIP(), map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
		corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, corev1.ServicePort{Name: "dns-tcp", Port: 53})); err != nil {
		return err
	}
	if err := o.initial(ctx); err != nil {
		return err
	}
	return o.publishAPI(ctx)
}

// initial makes resource.Initial, all at once: the store needs one transaction for many that wait together.
func (o *Orchestrator) initial(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, obj := range resource.Initial(resource.Options{ServiceCIDR: o.config.ServiceCIDR}) {
		group.Go(func() error {
			if err := o.makeWithStatus(ctx, obj); err != nil {
				return fmt.Errorf("making %s: %w", obj.GetName(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// makeWithStatus creates obj unless it exists, and then writes the status that it comes with.
func (o *Orchestrator) makeWithStatus(ctx context.Context, obj state.Object) error {
	kind, _ := o.state.Kinds().For(obj)
	_, err := o.state.Get(ctx, kind, "", obj.GetName())
	if !apierrors.IsNotFound(err) {
		return err
	}
	if _, err = o.state.Create(ctx, kind, obj, state.CreateOptions{}); err != nil {
		return err
	}
	switch obj := obj.(type) {
	case *networkingv1.ServiceCIDR:
		_, err = state.UpdateStatus(ctx, o.state, "", obj.Name, func(live *networkingv1.ServiceCIDR) error {
			live.Status = obj.Status
			return nil
		})
	case *flowcontrolv1.FlowSchema:
		_, err = state.UpdateStatus(ctx, o.state, "", obj.Name, func(live *flowcontrolv1.FlowSchema) error {
			live.Status = obj.Status
			return nil
		})
	}
	return err
}

// ensure creates obj unless it exists.
func ensure[T state.Object](ctx context.Context, s *state.State, obj T) error {
	if _, ok := state.Get[T](s, obj.GetNamespace(), obj.GetName()); ok {
		return nil
	}
	if _, err := state.Create(ctx, s, obj); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making %s: %w", obj.GetName(), err)
	}
	return nil
}

func service(namespace, name string, ip netip.Addr, labels map[string]string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.ServiceSpec{ClusterIP: ip.String(), Ports: ports},
	}
}

// publishAPI keeps the endpoints of default/kubernetes at the address that this server is
// reached by. A server that listens on loopback only has none that a pod could reach.
func (o *Orchestrator) publishAPI(ctx context.Context) error {
	ip, ok := o.advertised()
	if !ok {
		return nil
	}
	port, name, protocol, ready := int32(o.port()), "https", corev1.ProtocolTCP, true
	labels := map[string]string{discoveryv1.LabelServiceName: "kubernetes"}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: labels},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	if err := ensure(ctx, o.state, slice); err != nil {
		return err
	}
	_, err := state.Update(ctx, o.state, slice.Namespace, slice.Name, func(live *discoveryv1.EndpointSlice) error {
		live.Endpoints, live.Ports, live.Labels = slice.Endpoints, slice.Ports, labels
		return nil
	})
	if err != nil {
		return fmt.Errorf("publishing the API's address: %w", err)
	}
	endpoints := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: ip.String()}}, Ports: []corev1.EndpointPort{{Name: name, Port: port, Protocol: protocol}}}},
	}
	if err := ensure(ctx, o.state, endpoints); err != nil {
		return err
	}
	_, err = state.Update(ctx, o.state, endpoints.Namespace, endpoints.Name, func(live *corev1.Endpoints) error {
		live.Subsets = endpoints.Subsets
		return nil
	})
	return err
}
