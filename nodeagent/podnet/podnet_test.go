package podnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/services"
	"wherry/proto/link"
)

// island is a network whose machine has no network of its own.
func island(t *testing.T, tunnel Tunnel) *Net {
	t.Helper()
	n := New(Config{Host: noHost{}, Tunnel: tunnel})
	n.SetRange(netip.MustParsePrefix("10.42.1.0/24"), netip.MustParsePrefix("10.42.0.0/16"))
	t.Cleanup(n.Close)
	return n
}

type noHost struct{}

var errNoHost = errors.New("the machine has no network")

func (noHost) Dial(context.Context, string, string) (net.Conn, error)       { return nil, errNoHost }
func (noHost) Listen(context.Context, string, string) (net.Listener, error) { return nil, errNoHost }
func (noHost) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return nil, errNoHost
}

func attach(t *testing.T, n *Net, uid string) *Pod {
	t.Helper()
	p, err := n.Attach(Place{UID: uid, Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// greet serves one line on every connection to the pod's port.
func greet(t *testing.T, p *Pod, bind string, line string) {
	t.Helper()
	l, err := p.Listen(t.Context(), "tcp", netip.MustParseAddrPort(bind))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, line)
			c.Close()
		}
	}()
}

func answer(c net.Conn, err error) string {
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func table(ip string, endpoints ...string) *services.Table {
	port, name := int32(8080), ""
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
	}
	for _, e := range endpoints {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{e}})
	}
	return services.Build(services.Input{Domain: "cluster.local", Slices: []*discoveryv1.EndpointSlice{slice}, Services: []*corev1.Service{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}},
	}}})
}

func TestDialFindsEveryPlace(t *testing.T) {
	far := func(_ context.Context, network string, source, target netip.AddrPort) (net.Conn, error) {
		a, b := newPipe(addr(network, source), addr(network, target))
		fmt.Fprintf(b, "tunnel from %s to %s", source.Addr(), target)
		return a, b.Close()
	}
	n := island(t, far)
	a, b := attach(t, n, "a"), attach(t, n, "b")
	greet(t, a, "0.0.0.0:8080", "a")
	greet(t, b, "0.0.0.0:8080", "b")
	greet(t, b, "127.0.0.1:9090", "b alone")
	n.SetTable(table("10.43.0.7", "10.42.1.1", b.IP().String()))

	for _, c := range []struct {
		from         *Pod
		target, want string
	}{
		{a, "127.0.0.1:8080", "a"},
		{a, b.IP().String() + ":8080", "b"},
		{b, b.IP().String() + ":9090", "b alone"},
		{a, b.IP().String() + ":9090", "dial tcp " + b.IP().String() + ":9090: connection refused"},
		{a, "10.43.0.7:80", "b"}, // the other endpoint is nowhere: tried and left
		{a, "10.43.0.7:81", "dial tcp 10.43.0.7:81: connection refused"},
		{a, "10.42.9.3:70", "tunnel from " + a.IP().String() + " to 10.42.9.3:70"},
		{a, "192.0.2.1:70", "dial tcp 192.0.2.1:70: the machine has no network"},
		{nil, "10.43.0.7:80", "b"},
	} {
		dial := n.Dial
		if c.from != nil {
			dial = c.from.Dial
		}
		if got := answer(dial(t.Context(), "tcp", netip.MustParseAddrPort(c.target))); got != c.want {
			t.Errorf("dial %s: %q, want %q", c.target, got, c.want)
		}
	}
	if got := answer(b.DialLocal(t.Context(), "tcp", 9090)); got != "b alone" {
		t.Errorf("DialLocal: %q", got)
	}
}

func TestDetachEndsWhatThePodHad(t *testing.T) {
	n := island(t, nil)
	p := attach(t, n, "a")
	l, err := p.Listen(t.Context(), "tcp", netip.MustParseAddrPort("0.0.0.0:80"))
	if err != nil {
		t.Fatal(err)
	}
	packets, err := p.ListenPacket(t.Context(), "udp", netip.MustParseAddrPort("0.0.0.0:53"))
	if err != nil {
		t.Fatal(err)
	}
	n.Detach("a")
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after detach: %v", err)
	}
	if _, _, err := packets.ReadFrom(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after detach: %v", err)
	}
	if _, err := n.Dial(t.Context(), "tcp", netip.AddrPortFrom(p.IP(), 80)); !errors.Is(err, errUnreachable) {
		t.Errorf("dial after detach: %v", err)
	}
	if again := attach(t, n, "a"); again.IP() != p.IP() {
		t.Errorf("the same pod got %s, had %s", again.IP(), p.IP())
	}
}

func TestAddressesAreUniqueUntilAllAreTaken(t *testing.T) {
	n := island(t, nil)
	n.SetRange(netip.MustParsePrefix("10.42.1.0/28"))
	seen := map[netip.Addr]bool{}
	for i := range 13 {
		ip := attach(t, n, fmt.Sprint(i)).IP()
		if seen[ip] || !n.own.Contains(ip) {
			t.Fatalf("pod %d got %s", i, ip)
		}
		seen[ip] = true
	}
	if _, err := n.Attach(Place{UID: "one too many"}); err == nil {
		t.Fatal("a 14th address in a /28")
	}
}

// echo answers every packet with its own bytes.
func echo(t *testing.T, p *Pod, port uint16) {
	t.Helper()
	c, err := p.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the pod
		b := make([]byte, 1500)
		for {
			k, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:k], from)
		}
	}()
}

func TestPacketsFindTheirWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(Config{Host: noHost{}})
		defer n.Close()
		n.SetRange(netip.MustParsePrefix("10.42.1.0/24"))
		a, b := attach(t, n, "a"), attach(t, n, "b")
		echo(t, b, 7)
		udp := table("10.43.0.7", b.IP().String())
		n.SetTable(udp)

		socket, err := a.ListenPacket(t.Context(), "udp", netip.MustParseAddrPort("0.0.0.0:0"))
		if err != nil {
			t.Fatal(err)
		}
		target := net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.IP(), 7))
		if _, err := socket.WriteTo([]byte("to a pod"), target); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		k, from, err := socket.ReadFrom(buf)
		if err != nil || string(buf[:k]) != "to a pod" || from.String() != target.String() {
			t.Fatalf("%q from %v, %v", buf[:k], from, err)
		}

		c, err := n.Dial(t.Context(), "udp", netip.AddrPortFrom(b.IP(), 7))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "from the host")
		if k, err := c.Read(buf); err != nil || string(buf[:k]) != "from the host" {
			t.Fatalf("%q, %v", buf[:k], err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(buf); err == nil || !err.(net.Error).Timeout() {
			t.Fatalf("a read without a packet: %v", err)
		}
		c.Close()
	})
}

func TestPacketStreamKeepsPacketsApart(t *testing.T) {
	a, b := newPipe(addr("tcp", netip.AddrPort{}), addr("tcp", netip.AddrPort{}))
	x := StreamConn(stream{a}, "udp", netip.AddrPort{}, netip.AddrPort{})
	y := StreamConn(stream{b}, "udp", netip.AddrPort{}, netip.AddrPort{})
	for _, s := range []string{"one", "", "three"} {
		if _, err := x.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 2) // shorter than the packet: the rest is lost, not the next one
	for _, want := range []string{"on", "", "th"} {
		if k, err := y.Read(buf); err != nil || string(buf[:k]) != want {
			t.Fatalf("%q, %v; want %q", buf[:k], err, want)
		}
	}
	if _, err := x.Write(make([]byte, maxPacket+1)); err == nil {
		t.Fatal("a packet that is too long was taken")
	}
}

type stream struct{ *conn }

func (s stream) Reset(link.Code) { s.Close() }

func BenchmarkPipe(b *testing.B) {
	x, y := newPipe(&net.TCPAddr{}, &net.TCPAddr{})
	go io.Copy(io.Discard, y)
	buf := make([]byte, 32<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := x.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	x.Close()
}
