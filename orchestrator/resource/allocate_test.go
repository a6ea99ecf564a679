package resource

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Every address but the first and last is given exactly once, the low ones last.
func TestEveryAddressIsGivenOnce(t *testing.T) {
	k := services(Options{ServiceCIDR: netip.MustParsePrefix("10.43.0.0/26"), NodePorts: [2]int32{30000, 30061}})
	taken := map[string]bool{}
	for i := range 62 {
		s := &corev1.Service{}
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		if err := k.Allocate(s, nil, func(c string) bool { return taken[c] }); err != nil {
			t.Fatalf("service %d: %v", i, err)
		}
		ip := netip.MustParseAddr(s.Spec.ClusterIP).As4()
		if low := ip[3] <= 16; low != (i >= 62-16) {
			t.Errorf("service %d has %s", i, s.Spec.ClusterIP)
		}
		for _, c := range k.Claims(s) {
			if taken[c] {
				t.Errorf("%s is given twice", c)
			}
			taken[c] = true
		}
	}
	if len(taken) != 2*62 {
		t.Errorf("%d claims", len(taken))
	}
}

func TestEveryNodeGetsABlock(t *testing.T) {
	k := nodes(Options{PodCIDR: netip.MustParsePrefix("10.42.0.0/20")})
	taken := map[string]bool{}
	for i := range 5 {
		n := &corev1.Node{}
		n.Name = "n"
		err := k.Allocate(n, nil, func(c string) bool { return taken[c] })
		if (err != nil) != (i == 4) {
			t.Fatalf("node %d: %v", i, err)
		}
		for _, c := range k.Claims(n) {
			taken[c] = true
		}
		if want := fmt.Sprintf("10.42.%d.0/22", 4*i); i < 4 && n.Spec.PodCIDR != want {
			t.Errorf("node %d has %s", i, n.Spec.PodCIDR)
		}
	}
}

func TestScale(t *testing.T) {
	for _, k := range New().All() {
		sub := k.Subresources["scale"]
		if sub == nil {
			continue
		}
		obj := k.New()
		if spec, status, selector := sub.Scale.Replicas(obj); spec != 0 || status != 0 || selector != "" {
			t.Errorf("%s: empty: %d %d %q", k.Kind, spec, status, selector)
		}
		sub.Scale.Set(obj, 3)
		if spec, _, _ := sub.Scale.Replicas(obj); spec != 3 {
			t.Errorf("%s: %d replicas", k.Kind, spec)
		}
		if sub.Scale.SpecPath.String() != ".spec.replicas" {
			t.Errorf("%s: %s", k.Kind, sub.Scale.SpecPath)
		}
	}
}
