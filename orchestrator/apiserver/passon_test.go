package apiserver_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/apiserver/aggregate"
	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/apiservice"
	"wherry/orchestrator/pki"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// wardle is an aggregated server that answers the group wardle.example.com.
type wardle struct {
	*httptest.Server
	caBundle string // base64
	broken   atomic.Bool
	next     chan string // what a watch tells
}

// certify makes a certificate for name, and the authority that made it, PEM.
func certify(t *testing.T, name string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "wardle"}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func startWardle(t *testing.T, proxyCA []byte) *wardle {
	t.Helper()
	w := &wardle{next: make(chan string)}
	certificate, ca := certify(t, "wardle.default.svc")
	w.caBundle = base64.StdEncoding.EncodeToString(ca)
	w.Server = httptest.NewUnstartedServer(w)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(proxyCA)
	w.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	w.EnableHTTP2 = true
	w.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	w.StartTLS()
	t.Cleanup(w.Close)
	return w
}

const flunders = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders"

func (s *wardle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.broken.Load():
		http.Error(w, "no", http.StatusInternalServerError)
	case strings.HasSuffix(r.URL.Path, "/v1alpha1"), strings.HasSuffix(r.URL.Path, "/apps/v1"):
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"wardle.example.com/v1alpha1","resources":[
			{"name":"flunders","singularName":"flunder","namespaced":true,"kind":"Flunder","verbs":["get","list","watch"],"shortNames":["fl"]},
			{"name":"flunders/status","namespaced":true,"kind":"Flunder","verbs":["get"]}]}`)
	case strings.HasSuffix(r.URL.Path, "/away"):
		http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/connect"):
		s.upgrade(w, r)
	case r.URL.Query().Get("watch") != "":
		s.watch(w, r)
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{
			"method": r.Method, "uri": r.RequestURI, "headers": r.Header, "host": r.Host, "proto": r.Proto, "client": r.TLS.PeerCertificates[0].Subject.CommonName})
	}
}

func (s *wardle) watch(w http.ResponseWriter, r *http.Request) {
	for {
		select {
		case line := <-s.next:
			_, _ = io.WriteString(w, line+"\n")
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (s *wardle) upgrade(w http.ResponseWriter, r *http.Request) {
	c, b, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Seen-User: %s\r\n\r\n", r.Header.Get("Upgrade"), r.Header.Get("X-Remote-User"))
	line, err := b.ReadString('\n')
	if err == nil {
		_, _ = io.WriteString(c, "echo "+line)
	}
}

// aggregated is a cluster with a wardle behind the Service default/wardle.
type aggregated struct {
	*cluster
	wardle *wardle
	down   atomic.Bool // the Service cannot be dialed
}

func startAggregated(t *testing.T) *aggregated {
	t.Helper()
	authority, err := pki.Open(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := &aggregated{wardle: startWardle(t, authority.FrontProxy().CA())}
	dial := func(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
		if a.down.Load() || namespace != "default" || name != "wardle" || port != 443 {
			return nil, errors.New("no route")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", a.wardle.Listener.Addr().String())
	}
	var servers *aggregate.Aggregator
	a.cluster = start(t, func(cfg *apiserver.Config) {
		servers = aggregate.New(aggregate.Config{State: cfg.State, Dial: dial, Certificate: authority.FrontProxy().Certificate, Logger: cfg.Logger})
		cfg.Aggregator = servers
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- controller.Run(ctx, a.state, slog.New(slog.DiscardHandler), nil,
			apiservice.NewLocal(a.state, a.server.GroupVersions()...), apiservice.NewAvailability(a.state, servers.Check))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("controllers: %v", err)
		}
	})
	return a
}

const registrations = "/apis/apiregistration.k8s.io/v1/apiservices"

func (a *aggregated) register(name, trust string) {
	a.t.Helper()
	version, group, _ := strings.Cut(name, ".")
	body := fmt.Sprintf(`{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":%q},"spec":{"group":%q,"version":%q,
		"groupPriorityMinimum":2000,"versionPriority":200,"service":{"namespace":"default","name":"wardle"},%s}}`, name, group, version, trust)
	if r := a.ask(http.MethodPost, registrations, body, "Content-Type: application/json"); r.StatusCode != http.StatusCreated {
		a.t.Fatalf("%d %s", r.StatusCode, r.body)
	}
}

func (a *aggregated) trust() string { return fmt.Sprintf(`"caBundle":%q`, a.wardle.caBundle) }

// service makes the Service with a ready endpoint.
func (a *aggregated) service() {
	a.t.Helper()
	create(a.cluster, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "wardle"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}})
	a.endpoint("10.42.0.9")
}

func (a *aggregated) endpoint(addresses ...string) {
	a.t.Helper()
	port, none := int32(8443), ""
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "wardle", Labels: map[string]string{discoveryv1.LabelServiceName: "wardle"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &none, Port: &port}},
	}
	for _, address := range addresses {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
	}
	create(a.cluster, slice)
}

// reason waits until an APIService says why it is or is not available, in these words.
func (a *aggregated) reason(name, want string) *apiregistrationv1.APIService {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	kind, _ := a.state.Kinds().For(&apiregistrationv1.APIService{})
	w, err := a.state.Watch(ctx, kind, state.WatchOptions{Initial: true, Selector: state.Selector{Name: name}})
	if err != nil {
		a.t.Fatal(err)
	}
	defer w.Close()
	last := ""
	for {
		events, _, err := w.Next(ctx)
		if err != nil {
			a.t.Fatalf("%s is %s, not %s: %v", name, last, want, err)
		}
		for _, e := range events {
			if e.Entry == nil || e.Type == state.Deleted {
				continue
			}
			s := e.Entry.Object().(*apiregistrationv1.APIService)
			if last = resource.AvailableCondition(s).Reason; last == want {
				return s
			}
		}
	}
}

// Who asks and how is told by us alone, over TLS that both sides have checked.
func TestRequestsArePassedOnWithTheirUser(t *testing.T) {
	a := startAggregated(t)
	a.service()
	a.register("v1alpha1.wardle.example.com", a.trust())
	a.reason("v1alpha1.wardle.example.com", "Passed")
	r := a.ask(http.MethodPost, flunders+"/a%2Fb?x=1&x=2", "body", "X-Remote-User: evil", "X-Remote-Group: system:evil", "X-Remote-Extra-Scopes: all", "X-Remote-Uid: 7", "X-Forwarded-For: 1.2.3.4",
		"Impersonate-User: jane", "Impersonate-Extra-Example.Com%2FScope: deep", "Impersonate-Uid: 42", "Impersonate-Group: system:masters")
	var got struct {
		Method, URI, Host, Proto, Client string
		Headers                          http.Header
	}
	if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.StatusCode != 200 {
		t.Fatalf("%d %s", r.StatusCode, r.body)
	}
	if got.Method != "POST" || got.URI != flunders+"/a%2Fb?x=1&x=2" || got.Client != "front-proxy-client" || got.Proto != "HTTP/2.0" || got.Host != "wardle.default.svc:443" {
		t.Errorf("%+v", got)
	}
	for name, want := range map[string]string{
		"X-Remote-User": "jane", "X-Remote-Uid": "42", "X-Remote-Group": "system:masters,system:authenticated", "X-Remote-Extra-Scopes": "",
		"X-Remote-Extra-Example.com%2fscope": "deep", "Authorization": "", "Impersonate-User": "", "X-Forwarded-For": "192.0.2.1",
	} {
		if text := strings.Join(got.Headers[http.CanonicalHeaderKey(name)], ","); text != want {
			t.Errorf("%s: %q, want %q", name, text, want)
		}
	}
	for _, step := range []struct {
		path, user string
		code       int
		want       string
	}{
		{flunders, "nobody", 403, `cannot list resource \"flunders\" in API group \"wardle.example.com\"`},
		{flunders + "/x/away", "admin", 502, "the backend attempted to redirect this request, which is not permitted"},
		{"/apis/wardle.example.com/v1alpha1", "admin", 200, `"singularName":"flunder"`},
		{"/apis/wardle.example.com/v2/flunders", "admin", 404, "404 page not found"},
		{"/api/v1/namespaces/default", "admin", 200, `"name":"default"`},
	} {
		expect(t, step.path, a.ask(http.MethodGet, step.path, "", "Authorization: Bearer "+step.user), step.code, step.want)
	}
	a.down.Store(true) // upgraded connections are new ones
	if r := a.ask(http.MethodGet, flunders, "", "Connection: Upgrade", "Upgrade: websocket"); r.StatusCode != 503 || !strings.Contains(r.body, "error trying to reach service: dialing service default/wardle: no route") {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

// Watches are passed on as they come, and upgraded connections in both directions.
func TestStreamsArePassedOn(t *testing.T) {
	a := startAggregated(t)
	a.service()
	a.register("v1alpha1.wardle.example.com", a.trust())
	a.reason("v1alpha1.wardle.example.com", "Passed")
	front := httptest.NewServer(a.server.Handler())
	defer front.Close()

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+flunders+"?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer admin")
	go func() { a.wardle.next <- "one" }()
	answer, err := front.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(answer.Body)
	if line, err := lines.ReadString('\n'); line != "one\n" {
		t.Errorf("%q %v", line, err)
	}
	a.wardle.next <- "two" // after the first was read
	if line, err := lines.ReadString('\n'); line != "two\n" {
		t.Errorf("%q %v", line, err)
	}
	answer.Body.Close()

	for _, protocol := range []string{"SPDY/3.1", "websocket"} {
		c, err := net.Dial("tcp", front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(c, "GET %s/x/connect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nX-Remote-User: evil\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", flunders, protocol)
		b := bufio.NewReader(c)
		upgraded, err := http.ReadResponse(b, nil)
		if err != nil || upgraded.StatusCode != 101 || upgraded.Header.Get("X-Seen-User") != "admin" {
			t.Fatalf("%s: %v %v", protocol, upgraded, err)
		}
		_, _ = io.WriteString(c, "hello\n")
		if line, err := b.ReadString('\n'); line != "echo hello\n" {
			t.Errorf("%s: %q %v", protocol, line, err)
		}
		c.Close()
	}
}

func change[T state.Object](a *aggregated, name string, f func(T)) {
	a.t.Helper()
	if _, err := state.Update(a.t.Context(), a.state, "default", name, func(obj T) error {
		f(obj)
		return nil
	}); err != nil {
		a.t.Fatal(err)
	}
}

// The condition Available says what is missing, and requests are refused meanwhile.
func TestAvailability(t *testing.T) {
	a := startAggregated(t)
	const name = "v1alpha1.wardle.example.com"
	refused := func() {
		t.Helper()
		if r := a.ask(http.MethodGet, flunders, ""); r.StatusCode != 503 || r.body != "service unavailable\n" {
			t.Errorf("%d %q", r.StatusCode, r.body)
		}
	}
	a.register(name, a.trust())
	s := a.reason(name, "ServiceNotFound")
	if c := s.Status.Conditions[0]; c.Message != `service/wardle in "default" is not present` || c.Status != apiregistrationv1.ConditionFalse {
		t.Errorf("%+v", c)
	}
	refused()
	create(a.cluster, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "wardle"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 444}}}})
	a.reason(name, "ServicePortError")
	change(a, "wardle", func(s *corev1.Service) { s.Spec.Ports[0].Port = 443 })
	a.reason(name, "EndpointsNotFound")
	a.endpoint()
	a.reason(name, "MissingEndpoints")
	a.wardle.broken.Store(true)
	change(a, "wardle", func(s *discoveryv1.EndpointSlice) {
		s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.42.0.9"}}}
	})
	const url = "https://wardle.default.svc:443/apis/wardle.example.com/v1alpha1"
	if c := a.reason(name, "FailedDiscoveryCheck").Status.Conditions[0]; c.Message != "failing or missing response from "+url+": bad status from "+url+": 500" {
		t.Errorf("%+v", c)
	}
	refused()
	a.wardle.broken.Store(false)
	a.reason(name, "Passed") // asked again by itself
	if r := a.ask(http.MethodGet, flunders, ""); r.StatusCode != 200 {
		t.Errorf("%d %q", r.StatusCode, r.body)
	}
	if r := a.ask(http.MethodGet, registrations+"/"+name, "", asTable); !strings.Contains(r.body, `["v1alpha1.wardle.example.com","default/wardle","True"`) {
		t.Error(r.body)
	}
}

// A server with another's certificate is not talked to.
func TestServersMustBeTrusted(t *testing.T) {
	a := startAggregated(t)
	a.service()
	_, other := certify(t, "wardle.default.svc")
	a.register("v1alpha1.wardle.example.com", fmt.Sprintf(`"caBundle":%q`, base64.StdEncoding.EncodeToString(other)))
	if c := a.reason("v1alpha1.wardle.example.com", "FailedDiscoveryCheck").Status.Conditions[0]; !strings.Contains(c.Message, "x509: certificate signed by unknown authority") {
		t.Errorf("%+v", c)
	}
	a.register("v1beta1.wardle.example.com", `"caBundle":"YQ=="`)
	a.reason("v1beta1.wardle.example.com", "FailedDiscoveryCheck")
	a.register("v1.wardle.example.com", `"insecureSkipTLSVerify":true`)
	a.reason("v1.wardle.example.com", "Passed")
}

// Discovery tells of all servers; of one that does not answer what it said last.
func TestDiscoveryOfAggregatedServers(t *testing.T) {
	a := startAggregated(t)
	const whole = "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	const flunder = `{"resource":"flunders","responseKind":{"group":"","version":"","kind":"Flunder"},"scope":"Namespaced","singularResource":"flunder","verbs":["get","list","watch"],"shortNames":["fl"],"subresources":[{"subresource":"status",`
	a.register("v1alpha1.wardle.example.com", a.trust())
	a.reason("v1alpha1.wardle.example.com", "ServiceNotFound")
	expect(t, "nothing known", a.ask(http.MethodGet, "/apis", "", whole), 200, `{"metadata":{"name":"wardle.example.com"},"versions":[{"version":"v1alpha1","freshness":"Stale"}]}`)
	a.service()
	a.reason("v1alpha1.wardle.example.com", "Passed")
	expect(t, "current", a.ask(http.MethodGet, "/apis", "", whole), 200, flunder, `"freshness":"Current"}]},{"metadata":{"name":"wardle.example.com"}`)
	expect(t, "group", a.ask(http.MethodGet, "/apis/wardle.example.com", ""), 200, `"preferredVersion":{"groupVersion":"wardle.example.com/v1alpha1","version":"v1alpha1"}`)
	expect(t, "groups", a.ask(http.MethodGet, "/apis", ""), 200, `"name":"wardle.example.com"`, `"name":"apps"`)
	if err := state.Delete[*corev1.Service](t.Context(), a.state, "default", "wardle", state.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.reason("v1alpha1.wardle.example.com", "ServiceNotFound")
	expect(t, "stale", a.ask(http.MethodGet, "/apis", "", whole), 200, flunder, `"freshness":"Stale"}]}`)
	if err := state.Delete[*apiregistrationv1.APIService](t.Context(), a.state, "", "v1alpha1.wardle.example.com", state.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if r := a.ask(http.MethodGet, "/apis", "", whole); strings.Contains(r.body, "wardle") {
		t.Error("still told of")
	}
	expect(t, "gone", a.ask(http.MethodGet, flunders, ""), 404, "404 page not found")
}

// A Service takes a built-in group and version over until the APIService is deleted; not that of APIServices.
func TestBuiltInVersionsCanBeTakenOver(t *testing.T) {
	a := startAggregated(t)
	a.service()
	a.reason("v1.apps", "Local")
	patch := func(name string) {
		t.Helper()
		body := fmt.Sprintf(`{"spec":{"service":{"namespace":"default","name":"wardle"},%s}}`, a.trust())
		expect(t, "patch", a.ask(http.MethodPatch, registrations+"/"+name, body, "Content-Type: application/merge-patch+json"), 200)
	}
	patch("v1.apps")
	a.reason("v1.apps", "Passed")
	expect(t, "theirs", a.ask(http.MethodGet, "/apis/apps/v1/deployments", ""), 200, `"client":"front-proxy-client"`)
	expect(t, "discovered", a.ask(http.MethodGet, "/apis/apps/v1", ""), 200, "flunders")
	expect(t, "delete", a.ask(http.MethodDelete, registrations+"/v1.apps", ""), 200)
	expect(t, "ours", a.ask(http.MethodGet, "/apis/apps/v1/deployments", ""), 200, `"kind":"DeploymentList"`)
	a.reason("v1.apps", "Local")
	a.register("v1.apiregistration.k8s.io", a.trust())
	expect(t, "never", a.ask(http.MethodGet, registrations, ""), 200, `"kind":"APIServiceList"`)
}
