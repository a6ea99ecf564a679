package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"os"
	"time"

	"wherry/proto/link"
)

// ServerTLS is for the API's listener and for the link's: the server's certificate, and
// clients' certificates asked for and verified when given. The caller sets NextProtos.
func (p *PKI) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.serverCertificate() },
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      p.Pool(),
	}
}

// serverCertificate is the present one, or a new one after two thirds of its life. The CA
// comes with it, so that a machine that only knows the CA's hash can check it.
func (p *PKI) serverCertificate() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil && time.Now().Before(p.renew) {
		return p.server, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	leaf, err := p.sign(p.serverTemplate(), p.ca, key.Public(), serverLife)
	if err != nil {
		return nil, fmt.Errorf("make the server's certificate: %w", err)
	}
	p.server = &tls.Certificate{Certificate: [][]byte{leaf.Raw, p.ca.Raw}, PrivateKey: key, Leaf: leaf}
	p.renew = time.Now().Add(serverLife * 2 / 3)
	return p.server, nil
}

func (p *PKI) serverTemplate() *x509.Certificate {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "wherry-server"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{link.ServerName, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, p.options.ServiceIP},
	}
	hosts := p.options.Hosts
	if name, err := os.Hostname(); err == nil { // a machine without a name is reached by its addresses
		hosts = append(hosts[:len(hosts):len(hosts)], name)
	}
	for _, h := range hosts {
		ip := net.ParseIP(h)
		switch {
		case ip != nil && ip.IsUnspecified():
			t.IPAddresses = append(t.IPAddresses, machineAddresses()...)
		case ip != nil:
			t.IPAddresses = append(t.IPAddresses, ip)
		case h != "":
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t
}

func machineAddresses() (ips []net.IP) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil // some systems do not tell; --listen can name the address
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			ips = append(ips, n.IP)
		}
	}
	return ips
}
