package ipaddress_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/ipaddress"
	"wherry/orchestrator/state"
)

func run(t *testing.T, f func(c *controllertest.Cluster)) {
	controllertest.Run(t, func(s *state.State, _ controller.Events) []controller.Controller {
		return []controller.Controller{ipaddress.New(s)}
	}, f)
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// addresses are all, each as "ip namespace/service".
func addresses(c *controllertest.Cluster) []string {
	c.Settle(time.Minute)
	var all []string
	for _, a := range state.List[*networkingv1.IPAddress](c.State, state.Selector{}) {
		all = append(all, a.Name+" "+a.Spec.ParentRef.Namespace+"/"+a.Spec.ParentRef.Name)
	}
	return all
}

func expect(c *controllertest.Cluster, want ...string) {
	c.T.Helper()
	if got := addresses(c); !slices.Equal(got, want) {
		c.T.Errorf("addresses %q, want %q", got, want)
	}
}

func TestAddressesFollowServices(t *testing.T) {
	run(t, func(c *controllertest.Cluster) {
		controllertest.Create(c, service("a", "10.43.0.10"))
		controllertest.Create(c, service("headless", "None"))
		expect(c, "10.43.0.10 default/a")

		// Who deletes the object gets it again: the Service still has the address.
		if err := state.Delete[*networkingv1.IPAddress](c.T.Context(), c.State, "", "10.43.0.10", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect(c, "10.43.0.10 default/a")

		// An address goes from one Service to another.
		if err := state.Delete[*corev1.Service](c.T.Context(), c.State, "default", "a", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		controllertest.Create(c, service("b", "10.43.0.10"))
		expect(c, "10.43.0.10 default/b")
		if err := state.Delete[*corev1.Service](c.T.Context(), c.State, "default", "b", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect(c)
	})
}

// An address that somebody else notes down is given to no Service.
func TestReservedAddress(t *testing.T) {
	run(t, func(c *controllertest.Cluster) {
		reserved := &networkingv1.IPAddress{
			ObjectMeta: metav1.ObjectMeta{Name: "10.43.0.20"},
			Spec:       networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}},
		}
		controllertest.Create(c, reserved)
		_, err := state.Create(c.T.Context(), c.State, service("a", "10.43.0.20"))
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "provided IP is already allocated") {
			t.Errorf("a Service with a reserved address: %v", err)
		}
		controllertest.Create(c, service("b", "10.43.0.21"))
		reserved.Name = "10.43.0.21"
		c.Settle(0)
		if _, err := state.Create(c.T.Context(), c.State, reserved); !apierrors.IsAlreadyExists(err) {
			t.Errorf("reserving a Service's address: %v", err)
		}
		expect(c, "10.43.0.20 /g", "10.43.0.21 default/b")
	})
}
