package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/nodeagent/services"
)

// outside is a machine that knows one name.
type outside struct{ Upstream }

func (outside) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if strings.TrimSuffix(host, ".") == "example.org" {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
	}
	return nil, notFound(host)
}

func (outside) LookupTXT(context.Context, string) ([]string, error) {
	return []string{strings.Repeat("x", 300)}, nil
}

func world() *services.Table {
	name, port := "web", int32(8080)
	host := "db-0"
	return services.Build(services.Input{
		Domain: "cluster.local",
		Services: []*corev1.Service{
			service("default", "hello", corev1.ServiceSpec{ClusterIP: "10.43.0.7", Ports: []corev1.ServicePort{{Name: "web", Port: 80}}}),
			service("data", "db", corev1.ServiceSpec{ClusterIP: "None"}),
			service("default", "alias", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}),
			service("default", "loop", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "loop.default.svc.cluster.local"}),
		},
		Slices: []*discoveryv1.EndpointSlice{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "data", Name: "db-1", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
			Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.5"}, Hostname: &host}},
		}},
	})
}

func service(namespace, name string, spec corev1.ServiceSpec) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

func TestResolve(t *testing.T) {
	r := New(outside{})
	r.SetTable(world())
	for _, c := range []struct{ namespace, host, want string }{
		{"default", "hello", "[10.43.0.7]"},
		{"default", "HELLO", "[10.43.0.7]"},
		{"data", "hello", "lookup hello: no such host"},
		{"data", "hello.default", "[10.43.0.7]"},
		{"data", "hello.default.svc", "[10.43.0.7]"},
		{"data", "hello.default.svc.cluster.local.", "[10.43.0.7]"},
		{"data", "hello.nowhere.svc.cluster.local", "lookup hello.nowhere.svc.cluster.local: no such host"},
		{"default", "db.data", "[10.42.0.5]"},
		{"default", "db-0.db.data", "[10.42.0.5]"},
		{"default", "alias", "[192.0.2.1 2001:db8::1]"},
		{"default", "loop", "lookup loop.default.svc.cluster.local: no such host"},
		{"default", "example.org", "[192.0.2.1 2001:db8::1]"},
		{"default", "192.0.2.9", "[192.0.2.9]"},
		{"default", strings.Repeat("x", 300), "lookup " + strings.Repeat("x", 300) + ": no such host"},
	} {
		addrs, err := r.Resolve(t.Context(), c.namespace, c.host)
		got := fmt.Sprint(addrs)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s in %s: %s, want %s", c.host, c.namespace, got, c.want)
		}
	}
}

func TestServerAnswers(t *testing.T) {
	r := New(outside{})
	r.SetTable(world())
	udp, tcp := serve(t, r)
	for _, c := range []struct {
		name  string
		qtype uint16
		want  []string
	}{
		{"hello.default.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "hello.default.svc.cluster.local.\t5\tIN\tA\t10.43.0.7"}},
		{"hello.default.svc.cluster.local.", dns.TypeAAAA, []string{"NOERROR"}},
		{"_web._tcp.hello.default.svc.cluster.local.", dns.TypeSRV, []string{"NOERROR", "_web._tcp.hello.default.svc.cluster.local.\t5\tIN\tSRV\t0 1 80 hello.default.svc.cluster.local."}},
		{"_web._tcp.db.data.svc.cluster.local.", dns.TypeSRV, []string{"NOERROR", "_web._tcp.db.data.svc.cluster.local.\t5\tIN\tSRV\t0 1 8080 db-0.db.data.svc.cluster.local."}},
		{"nobody.default.svc.cluster.local.", dns.TypeA, []string{"NXDOMAIN"}},
		{"alias.default.svc.cluster.local.", dns.TypeA, []string{"NOERROR", "alias.default.svc.cluster.local.\t5\tIN\tCNAME\texample.org.", "example.org.\t5\tIN\tA\t192.0.2.1"}},
		{"example.org.", dns.TypeAAAA, []string{"NOERROR", "example.org.\t30\tIN\tAAAA\t2001:db8::1"}},
		{"elsewhere.example.", dns.TypeA, []string{"NXDOMAIN"}},
		{"example.org.", dns.TypeTXT, []string{"NOERROR", "example.org.\t30\tIN\tTXT\t\"" + strings.Repeat("x", 255) + "\" \"" + strings.Repeat("x", 45) + "\""}},
		{"example.org.", dns.TypeCAA, []string{"NOTIMP"}},
	} {
		for network, address := range map[string]string{"udp": udp, "tcp": tcp} {
			query := new(dns.Msg).SetQuestion(c.name, c.qtype)
			reply, _, err := (&dns.Client{Net: network}).ExchangeContext(t.Context(), query, address)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{dns.RcodeToString[reply.Rcode]}
			for _, rr := range reply.Answer {
				got = append(got, rr.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s %s over %s (-want +got):\n%s", c.name, dns.TypeToString[c.qtype], network, diff)
			}
		}
	}
}

// serve runs the resolver on loopback and returns its addresses.
func serve(t *testing.T, r *Resolver) (udp, tcp string) {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, packets, streams) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return packets.LocalAddr().String(), streams.Addr().String()
}

func FuzzServer(f *testing.F) {
	for _, name := range []string{"hello.default.svc.cluster.local.", "example.org.", "."} {
		b, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	r := New(outside{})
	r.SetTable(world())
	f.Fuzz(func(t *testing.T, b []byte) {
		var query dns.Msg
		if query.Unpack(b) != nil {
			return
		}
		if len(query.Question) == 1 && query.Question[0].Qtype != dns.TypeA {
			return // the machine of this test knows addresses only
		}
		reply := (&server{resolver: r}).answer(t.Context(), &query)
		if !reply.Response || reply.Id != query.Id {
			t.Errorf("not an answer to the query: %v", reply)
		}
	})
}
