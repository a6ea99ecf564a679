package reach_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"wherry/orchestrator/reach"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// certificate is one that a server called name makes for itself, and the bundle that trusts it.
func certificate(t *testing.T, name string) (tls.Certificate, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// serve answers with what it was asked, under a name.
func serve(t *testing.T, name string) (*httptest.Server, []byte) {
	own, bundle := certificate(t, name)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL, b)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, bundle
}

// agent stands for the node n: streams to port 8443 of its pod end at the address.
type agent struct{ address, pod string }

type stream struct{ *net.TCPConn }

func (s stream) Reset(link.Code) { _ = s.Close() }

func (a agent) Open(ctx context.Context, node string, o *nodelink.Open) (link.Stream, error) {
	p := o.GetPortForward()
	if node != "n" || p.GetPodUid() != a.pod || p.GetPort() != 8443 {
		return nil, fmt.Errorf("nothing at %s %v", node, o)
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, err
	}
	return stream{c.(*net.TCPConn)}, nil
}

// open makes a state with the Service hook, which leads to the pod p, and the Service away, which leads to this machine.
func open(t *testing.T) *state.State {
	ctx, cancel := context.WithCancel(context.Background())
	s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	service, away, slice := &corev1.Service{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}
	for text, into := range map[string]any{
		"metadata: {name: hook, namespace: default}\nspec: {ports: [{name: https, port: 443}]}":           service,
		"metadata: {name: away, namespace: default}\nspec: {type: ExternalName, externalName: localhost}": away,
		`
metadata: {name: hook-1, namespace: default, labels: {kubernetes.io/service-name: hook}}
addressType: IPv4
ports: [{name: https, port: 8443}]
endpoints: [{addresses: [10.9.9.9], conditions: {ready: false}}, {addresses: [10.1.2.3], targetRef: {kind: Pod, name: p, namespace: default}}]
`: slice,
	} {
		if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, obj := range []state.Object{p, service, away, slice} {
		kind, _ := s.Kinds().For(obj)
		if _, err := s.Create(t.Context(), kind, obj, state.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// A webhook behind a Service is called under the Service's name, by way of the agent of its pod.
func TestWebhookBehindAService(t *testing.T) {
	server, bundle := serve(t, "hook.default.svc")
	s := open(t)
	p, _ := state.Get[*corev1.Pod](s, "default", "p")
	dialer := &reach.Dialer{State: s, Nodes: agent{server.Listener.Addr().String(), string(p.UID)}}
	hooks := &reach.Webhooks{Dial: dialer.Dial}
	path := "/check?dry=1"
	at := reach.Webhook{Service: &reach.Service{Namespace: "default", Name: "hook", Path: &path}, CABundle: bundle, Timeout: 5 * time.Second}
	got, err := hooks.Post(t.Context(), at, []byte("{}"), 100)
	if err != nil || string(got) != "POST /check?dry=1&timeout=5s {}" {
		t.Errorf("%q, %v", got, err)
	}
	other := int32(444)
	for _, test := range []struct {
		want   string
		change func(*reach.Webhook)
		limit  int64
	}{
		{"the answer is larger than 3 bytes", func(*reach.Webhook) {}, 3},
		{`no service port 444 found for service "hook"`, func(w *reach.Webhook) { w.Service.Port = &other }, 100},
		{`service "none" not found`, func(w *reach.Webhook) { w.Service.Name = "none" }, 100},
		{"the server answered 302 Found", func(w *reach.Webhook) { away := "/away"; w.Service.Path = &away }, 100},
		{"certificate", func(w *reach.Webhook) { _, w.CABundle = certificate(t, "hook.default.svc") }, 100},
		{"certificate", func(w *reach.Webhook) { w.URL = &server.URL }, 100}, // it is not called 127.0.0.1
		{"the caBundle holds no certificate", func(w *reach.Webhook) { w.CABundle = []byte("x") }, 100},
	} {
		wrong, service := at, *at.Service
		wrong.Service = &service
		test.change(&wrong)
		if _, err := hooks.Post(t.Context(), wrong, []byte("{}"), test.limit); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got  %v\nwant %s", err, test.want)
		}
	}
	if _, err := new(reach.Webhooks).Post(t.Context(), reach.Webhook{Service: &reach.Service{}}, nil, 1); err == nil {
		t.Error("a Service was reached that nobody dials")
	}
}

func TestExternalName(t *testing.T) {
	server, bundle := serve(t, "away.default.svc")
	hooks := &reach.Webhooks{Dial: (&reach.Dialer{State: open(t)}).Dial}
	port := int32(server.Listener.Addr().(*net.TCPAddr).Port)
	got, err := hooks.Post(t.Context(), reach.Webhook{Service: &reach.Service{Namespace: "default", Name: "away", Port: &port}, CABundle: bundle}, []byte("{}"), 100)
	if err != nil || string(got) != "POST / {}" {
		t.Errorf("%q, %v", got, err)
	}
}
