// Package ipaddress keeps an IPAddress for every cluster IP that a Service has. The Service holds the
// address; the object tells of it.
package ipaddress

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// New returns the controller. Its keys are cluster IPs of Services: the namespace is the Service's namespace/name,
// the name is the address.
func New(s *state.State) controller.Controller {
	c := &addresses{s}
	return controller.Controller{
		Name:      "ipaddress",
		Sources:   []controller.Source{controller.On(ofService), controller.On(ofAddress)},
		Reconcile: c.reconcile,
	}
}

func ofService(s *corev1.Service) []controller.Key {
	var keys []controller.Key
	for _, ip := range s.Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone {
			keys = append(keys, key(s.Namespace, s.Name, ip))
		}
	}
	return keys
}

func ofAddress(a *networkingv1.IPAddress) []controller.Key {
	if !managed(a) {
		return nil
	}
	return []controller.Key{key(a.Spec.ParentRef.Namespace, a.Spec.ParentRef.Name, a.Name)}
}

func key(namespace, service, ip string) controller.Key {
	return controller.Key{Namespace: namespace + "/" + service, Name: ip}
}

func managed(a *networkingv1.IPAddress) bool {
	return a.Labels[networkingv1.LabelManagedBy] == resource.ManagedByAllocator && a.Spec.ParentRef != nil
}

type addresses struct{ state *state.State }

func (c *addresses) reconcile(ctx context.Context, k controller.Key) (time.Duration, error) {
	namespace, name, _ := strings.Cut(k.Namespace, "/")
	service, ok := state.Get[*corev1.Service](c.state, namespace, name)
	wanted := ok && slices.Contains(service.Spec.ClusterIPs, k.Name)
	address, there := state.Get[*networkingv1.IPAddress](c.state, "", k.Name)
	switch {
	case wanted && !there:
		_, err := state.Create(ctx, c.state, addressOf(service, k.Name))
		return 0, err
	case there && managed(address) && key(address.Spec.ParentRef.Namespace, address.Spec.ParentRef.Name, k.Name) != k:
		if wanted {
			return 0, fmt.Errorf("%s is still another Service's", k.Name)
		}
	case there && managed(address) && !wanted:
		err := state.Delete[*networkingv1.IPAddress](ctx, c.state, "", k.Name, state.DeleteOptions{})
		if !apierrors.IsNotFound(err) {
			return 0, err
		}
	}
	return 0, nil
}

func addressOf(s *corev1.Service, ip string) *networkingv1.IPAddress {
	family := corev1.IPv4Protocol
	if addr, err := netip.ParseAddr(ip); err == nil && addr.Is6() {
		family = corev1.IPv6Protocol
	}
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(family),
			networkingv1.LabelManagedBy:       resource.ManagedByAllocator,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: s.Namespace, Name: s.Name}},
	}
}
