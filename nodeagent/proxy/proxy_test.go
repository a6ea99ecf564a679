package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/podnet"
	"wherry/nodeagent/services"
)

// host is this machine's loopback. It tells what it opened, so that tests need not poll.
type host struct {
	opened chan string
	refuse error
}

func (h *host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (h *host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if h.refuse != nil {
		return nil, h.refuse
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, "127.0.0.1:0")
	if err == nil {
		h.opened <- l.Addr().String()
	}
	return l, err
}

func (h *host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	c, err := (&net.ListenConfig{}).ListenPacket(ctx, network, "127.0.0.1:0")
	if err == nil {
		h.opened <- c.LocalAddr().String()
	}
	return c, err
}

// start runs a proxy over a network with one pod and returns both.
func start(t *testing.T, h *host, c Config) (*Proxy, *podnet.Pod) {
	t.Helper()
	n := podnet.New(podnet.Config{Host: h})
	n.SetRange(netip.MustParsePrefix("10.42.1.0/24"))
	pod, err := n.Attach(podnet.Place{UID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	c.Net, c.Host = n, h
	p := New(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		n.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p, pod
}

func nodePort(protocol corev1.Protocol, endpoints ...string) *services.Table {
	port, name := int32(8080), ""
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	for _, e := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{e}})
	}
	return services.Build(services.Input{Slices: []*discoveryv1.EndpointSlice{slice}, Services: []*corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.43.0.7", Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080, Protocol: protocol}}},
	}}})
}

func TestNodePortCarriesStreams(t *testing.T) {
	h := &host{opened: make(chan string, 1)}
	p, pod := start(t, h, Config{})
	l, err := pod.Listen(t.Context(), "tcp", netip.MustParseAddrPort("0.0.0.0:8080"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the pod: shouts back what it was told
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c)
			fmt.Fprint(c, strings.ToUpper(string(b)))
			c.Close()
		}
	}()
	p.Set(nodePort(corev1.ProtocolTCP, pod.IP().String()))
	address := <-h.opened
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("wherry ", 100_000)
	go func() {
		io.WriteString(c, big)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != strings.ToUpper(big) {
		t.Fatalf("%d bytes came back of %d: %v", len(got), len(big), err)
	}
	c.Close()

	p.Set(nodePort(corev1.ProtocolTCP)) // no endpoint: the port stays, connections are reset
	for {
		c, err := net.Dial("tcp", address)
		if errors.Is(err, syscall.ECONNRESET) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "x")
		c.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(c)
		c.Close()
		if err != nil {
			break
		}
		if string(b) != "X" {
			t.Fatalf("without endpoints: %q", b)
		}
	}

	p.Set(services.Build(services.Input{}))
	for {
		c, err := net.Dial("tcp", address)
		if err != nil {
			break // closed, as it should be
		}
		c.Close()
	}
}

func TestNodePortCarriesPackets(t *testing.T) {
	h := &host{opened: make(chan string, 1)}
	p, pod := start(t, h, Config{})
	socket, err := pod.ListenPacket(t.Context(), "udp", netip.MustParseAddrPort("0.0.0.0:8080"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the pod
		b := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(b)
			if err != nil {
				return
			}
			socket.WriteTo([]byte(strings.ToUpper(string(b[:n]))), from)
		}
	}()
	p.Set(nodePort(corev1.ProtocolUDP, pod.IP().String()))
	address := <-h.opened
	for _, client := range []string{"one", "two"} {
		c, err := net.Dial("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, client)
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil || string(b[:n]) != strings.ToUpper(client) {
			t.Errorf("%q, %v", b[:n], err)
		}
	}
}

func TestPortTakenIsToldOnce(t *testing.T) {
	told := make(chan error, 10)
	h := &host{refuse: errors.New("address already in use")}
	p, _ := start(t, h, Config{Failed: func(_ services.HostFrontend, _ *services.Route, err error) { told <- err }})
	p.Set(nodePort(corev1.ProtocolTCP))
	if err := <-told; err.Error() != "opening tcp port 30080: address already in use" {
		t.Error(err)
	}
	p.Set(nodePort(corev1.ProtocolTCP))
	p.Set(nodePort(corev1.ProtocolTCP))
	if len(told) > 0 {
		t.Error("told again: ", <-told)
	}
}
