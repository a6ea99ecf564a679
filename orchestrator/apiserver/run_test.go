package apiserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/apiserver/auth"
)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) issue(name pkix.Name, usage x509.ExtKeyUsage) tls.Certificate {
	cert, key := a.sign(&x509.Certificate{Subject: name, ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) client(certs ...tls.Certificate) *http.Client {
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: a.pool(), Certificates: certs}}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A real server: HTTP/2 over TLS, users by their certificates, and an end that watches
// notice as an end, not as a break.
func TestRun(t *testing.T) {
	c := start(t, func(cfg *apiserver.Config) { cfg.Authenticator = nil })
	ca := newAuthority(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	config := &tls.Config{
		Certificates: []tls.Certificate{ca.issue(pkix.Name{CommonName: "server"}, x509.ExtKeyUsageServerAuth)},
		ClientCAs:    ca.pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}
	go func() { done <- c.server.Run(ctx, ln, config) }()
	base := "https://" + ln.Addr().String()
	c.defaultRoles()

	admin := ca.client(ca.issue(pkix.Name{CommonName: "admin", Organization: []string{auth.GroupMasters}}, x509.ExtKeyUsageClientAuth))
	jane := ca.client(ca.issue(pkix.Name{CommonName: "jane"}, x509.ExtKeyUsageClientAuth))
	for _, test := range []struct {
		client *http.Client
		path   string
		code   int
	}{
		{admin, "/api/v1/pods", 200}, {jane, "/api/v1/pods", 403}, {jane, "/api", 200}, {ca.client(), "/api", 403}, {ca.client(), "/readyz", 200},
	} {
		response, err := test.client.Get(base + test.path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != test.code || response.ProtoMajor != 2 {
			t.Errorf("%s: %s %d, want %d", test.path, response.Proto, response.StatusCode, test.code)
		}
	}
	watch, err := admin.Get(base + maps + "?watch=true")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := io.ReadAll(watch.Body); err != nil {
		t.Errorf("the watch broke: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if a := c.ask("GET", "/readyz", "", "Authorization: "); a.StatusCode != 500 || !strings.Contains(a.body, "[-]shutdown failed: reason withheld") {
		t.Errorf("after the end: %d %s", a.StatusCode, a.body)
	}
}

func TestRunSaysWhyItCannotServe(t *testing.T) {
	c := start(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	config := &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue(pkix.Name{}, x509.ExtKeyUsageServerAuth)}}
	if err := c.server.Run(t.Context(), ln, config); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Run on a closed listener: %v", err)
	}
}

type panicking struct{ apiserver.Nodes }

func TestPanicsBecomeStatuses(t *testing.T) {
	c := start(t, withNodes(panicking{}))
	ensure(c, newNode("vm"), newRunningPod("p", "a"))
	a := c.ask("GET", "/api/v1/namespaces/default/pods/p/log", "")
	if a.StatusCode != 500 || !strings.Contains(a.body, `"reason":"InternalError"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestReadinessByName(t *testing.T) {
	broken := errors.New("no quorum, password hunter2")
	c := start(t, func(cfg *apiserver.Config) {
		cfg.Ready = []apiserver.Check{{Name: "store", Run: func(context.Context) error { return broken }}}
	})
	for path, want := range map[string]int{"/livez": 200, "/readyz": 500, "/readyz/store": 500, "/readyz?exclude=store": 200, "/healthz": 500} {
		if a := c.ask("GET", path, ""); a.StatusCode != want || strings.Contains(a.body, "hunter2") {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
}
