package link_test

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
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"wherry/proto/link"
	"wherry/proto/link/linktest"
)

// authority signs what the tests need.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(t, template)
	return a
}

func (a *authority) sign(t testing.TB, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) leaf(t testing.TB, name pkix.Name, usage x509.ExtKeyUsage) tls.Certificate {
	cert, key := a.sign(t, &x509.Certificate{Subject: name, DNSNames: []string{link.ServerName}, ExtKeyUsage: []x509.ExtKeyUsage{usage}})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) server(t testing.TB) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{a.leaf(t, pkix.Name{CommonName: "server"}, x509.ExtKeyUsageServerAuth)},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    a.pool(),
	}
}

func (a *authority) client(t testing.TB, certs ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: a.pool(), ServerName: link.ServerName, Certificates: certs}
}

func (a *authority) node(t testing.TB, name string) tls.Certificate {
	return a.leaf(t, pkix.Name{CommonName: link.NodeUserPrefix + name, Organization: []string{link.NodesGroup}}, x509.ExtKeyUsageClientAuth)
}

// network makes packet connections that reach each other.
type network func() net.PacketConn

func loopback(t testing.TB) network {
	return func() net.PacketConn {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

func listen(t testing.TB, a *authority, conn net.PacketConn, o link.Options) link.Listener {
	t.Helper()
	l, err := link.ListenQUIC(conn, a.server(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func connect(t testing.TB, n network) linktest.Pair {
	t.Helper()
	a := newAuthority(t)
	server := n()
	l := listen(t, a, server, link.Options{})
	d, err := link.DialQUIC(t.Context(), n(), server.LocalAddr(), a.client(t, a.node(t, "n1")), link.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close(link.CodeOK, "")
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return linktest.Pair{Dialer: d, Acceptor: s}
}

func TestSuiteOverLoopback(t *testing.T) {
	linktest.Test(t, func(t *testing.T) linktest.Pair { return connect(t, loopback(t)) })
}

func TestSuiteInABubble(t *testing.T) {
	linktest.Bubble(t, synctest.Test, func(t *testing.T) linktest.Pair {
		return connect(t, (&linktest.Network{Latency: 5 * time.Millisecond}).Conn)
	})
}

func TestWhoMayCome(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	wrongGroup := ours.leaf(t, pkix.Name{CommonName: "system:node:n1"}, x509.ExtKeyUsageClientAuth)
	user := ours.leaf(t, pkix.Name{CommonName: "admin", Organization: []string{link.NodesGroup}}, x509.ExtKeyUsageClientAuth)
	server := ours.leaf(t, pkix.Name{CommonName: "system:node:n1", Organization: []string{link.NodesGroup}}, x509.ExtKeyUsageServerAuth)
	cases := map[string]struct {
		certs    []tls.Certificate
		protocol string
		code     link.Code
	}{
		"a node":                    {[]tls.Certificate{ours.node(t, "n1")}, link.ProtocolNode, link.CodeOK},
		"a machine that joins":      {nil, link.ProtocolJoin, link.CodeOK},
		"nobody as node":            {nil, link.ProtocolNode, link.CodeUnauthorized},
		"another cluster's node":    {[]tls.Certificate{theirs.node(t, "n1")}, link.ProtocolNode, link.CodeUnauthorized},
		"a node without its group":  {[]tls.Certificate{wrongGroup}, link.ProtocolNode, link.CodeUnauthorized},
		"a user":                    {[]tls.Certificate{user}, link.ProtocolNode, link.CodeUnauthorized},
		"a server's certificate":    {[]tls.Certificate{server}, link.ProtocolNode, link.CodeUnauthorized},
		"somebody else's protocol":  {[]tls.Certificate{ours.node(t, "n1")}, "h3", link.CodeVersion},
		"a node of a later version": {[]tls.Certificate{ours.node(t, "n1")}, "wherry-node/2", link.CodeVersion},
	}
	conn := loopback(t)()
	l := listen(t, ours, conn, link.Options{})
	defer l.Close()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tc := ours.client(t)
			// Sent whoever the server says that it trusts.
			tc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(c.certs) == 0 {
					return &tls.Certificate{}, nil
				}
				return &c.certs[0], nil
			}
			tc.NextProtos = []string{c.protocol}
			s, err := link.DialQUIC(t.Context(), loopback(t)(), conn.LocalAddr(), tc, link.Options{})
			if c.code == link.CodeOK {
				if err != nil {
					t.Fatal(err)
				}
				accepted, err := l.Accept(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if accepted.Protocol() != c.protocol || s.Protocol() != c.protocol {
					t.Errorf("protocol %q", accepted.Protocol())
				}
				s.Close(link.CodeOK, "")
				return
			}
			if err == nil { // TLS 1.3: the client is done before the server has looked
				<-s.Context().Done()
				err = context.Cause(s.Context())
			}
			var e *link.Error
			if !errors.As(err, &e) || e.Code != c.code {
				t.Errorf("got %v, want code %v", err, c.code)
			}
		})
	}
}

func TestDialRefusesAnotherClustersServer(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	conn := loopback(t)()
	l := listen(t, theirs, conn, link.Options{})
	defer l.Close()
	_, err := link.DialQUIC(t.Context(), loopback(t)(), conn.LocalAddr(), ours.client(t, ours.node(t, "n1")), link.Options{})
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("got %v", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a := &linktest.Network{}, newAuthority(t)
		n.Cut("", true)
		server := n.Conn()
		defer server.Close()
		_, err := link.DialQUIC(t.Context(), n.Conn(), server.LocalAddr(), a.client(t), link.Options{})
		if !errors.Is(err, link.ErrLost) {
			t.Errorf("got %v", err)
		}
	})
}

func TestIdleSessionsLiveAndCutOnesAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &linktest.Network{}
		p := connect(t, n.Conn)
		time.Sleep(2 * time.Hour)
		for _, s := range []link.Session{p.Dialer, p.Acceptor} {
			if s.Context().Err() != nil {
				t.Fatalf("two hours of silence: %v", context.Cause(s.Context()))
			}
		}
		n.Cut("", true)
		start := time.Now()
		for _, s := range []link.Session{p.Dialer, p.Acceptor} {
			<-s.Context().Done()
			if cause := context.Cause(s.Context()); !errors.Is(cause, link.ErrLost) {
				t.Errorf("cut: %v", cause)
			}
		}
		if took := time.Since(start); took > time.Minute+time.Second {
			t.Errorf("noticed after %v", took)
		}
	})
}

func TestARestartedListenerIsNoticedWithTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const server = "10.0.0.1:6443"
		n, a := &linktest.Network{Latency: 5 * time.Millisecond}, newAuthority(t)
		o := link.Options{ResetKey: &[32]byte{1, 2, 3}}
		conn := n.ConnAt(server)
		l := listen(t, a, conn, o)
		d, err := link.DialQUIC(t.Context(), n.Conn(), conn.LocalAddr(), a.client(t, a.node(t, "n1")), o)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close(link.CodeOK, "")
		s, err := d.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("heartbeat")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n.Cut("", true) // nobody hears its last words
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		n.Cut("", false)
		l = listen(t, a, n.ConnAt(server), o)
		defer l.Close()
		start := time.Now()
		if _, err := s.Write([]byte("heartbeat")); err != nil {
			t.Fatal(err)
		}
		<-d.Context().Done()
		if cause := context.Cause(d.Context()); !errors.Is(cause, link.ErrLost) {
			t.Errorf("cause %v", cause)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("noticed after %v", took)
		}
	})
}

func TestAFleetThatReturnsIsAdmitted(t *testing.T) {
	const fleet = 80 // more than quic-go's queue holds
	synctest.Test(t, func(t *testing.T) {
		n, a := &linktest.Network{Latency: 5 * time.Millisecond}, newAuthority(t)
		conn := n.Conn()
		l := listen(t, a, conn, link.Options{})
		tc := a.client(t, a.node(t, "n1"))
		errs := make(chan error, fleet)
		for range fleet {
			pc := n.Conn()
			go func() {
				s, err := link.DialQUIC(t.Context(), pc, conn.LocalAddr(), tc, link.Options{})
				if err == nil {
					err = s.Close(link.CodeOK, "")
				}
				errs <- err
			}()
		}
		for range fleet {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkEcho(b *testing.B) {
	p := connect(b, loopback(b))
	s, err := p.Dialer.Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		peer, err := p.Acceptor.Accept(b.Context())
		if err != nil {
			b.Error(err)
			return
		}
		io.Copy(peer, peer)
		peer.Close()
	}()
	buf := make([]byte, 64)
	for b.Loop() {
		if _, err := s.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(s, buf); err != nil {
			b.Fatal(err)
		}
	}
	s.CloseWrite()
	<-done
}

func BenchmarkOpenStream(b *testing.B) {
	p := connect(b, loopback(b))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			s, err := p.Acceptor.Accept(context.Background())
			if err != nil {
				return
			}
			io.Copy(s, s)
			s.Close()
		}
	}()
	buf := make([]byte, 64)
	for b.Loop() {
		s, err := p.Dialer.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s.Write(buf)
		s.CloseWrite()
		if _, err := io.ReadFull(s, buf); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
	p.Acceptor.Close(link.CodeOK, "")
	<-done
}

// BenchmarkSessionMemory reports the memory of both ends of an idle session.
func BenchmarkSessionMemory(b *testing.B) {
	a := newAuthority(b)
	conn := loopback(b)()
	l := listen(b, a, conn, link.Options{})
	defer l.Close()
	tc := a.client(b, a.node(b, "n1"))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var sessions []link.Session
	for b.Loop() {
		s, err := link.DialQUIC(b.Context(), loopback(b)(), conn.LocalAddr(), tc, link.Options{})
		if err != nil {
			b.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/float64(len(sessions)), "B/session")
	for _, s := range sessions {
		s.Close(link.CodeOK, "")
	}
}
