package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// FrontProxyName is who the API server is to aggregated servers.
const FrontProxyName = "front-proxy-client"

// FrontProxy is the authority of one client: the API server where it passes requests on to aggregated servers. They
// believe it who sent them. It is not the cluster's CA, which makes certificates for others too.
type FrontProxy struct {
	ca  *x509.Certificate
	key crypto.Signer

	mu     sync.Mutex
	client *tls.Certificate
	renew  time.Time // when client is to be replaced
}

// loadFrontProxy reads the authority in dir, or makes one there if there is none.
func loadFrontProxy(dir string) (*FrontProxy, error) {
	certFile, keyFile := filepath.Join(dir, "front-proxy-ca.crt"), filepath.Join(dir, "front-proxy-ca.key")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if errors.Is(err, os.ErrNotExist) {
		return createFrontProxy(certFile, keyFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read the front proxy's CA in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s is not a certificate authority's", certFile)
	}
	return &FrontProxy{ca: pair.Leaf, key: key}, nil
}

func createFrontProxy(certFile, keyFile string) (*FrontProxy, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the front proxy's key: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "front-proxy-ca"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	f := &FrontProxy{key: key}
	if f.ca, err = sign(template, template, key.Public(), key, caLife); err != nil {
		return nil, fmt.Errorf("make the front proxy's CA: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(writeFile(keyFile, keyPEM), writeFile(certFile, f.CA())); err != nil {
		return nil, fmt.Errorf("write the front proxy's CA: %w", err)
	}
	return f, nil
}

// CA is the authority's certificate, PEM.
func (f *FrontProxy) CA() []byte { return encodeCert(f.ca.Raw) }

// Certificate is the client's present one, or a new one after two thirds of its life.
func (f *FrontProxy) Certificate() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.client != nil && time.Now().Before(f.renew) {
		return f.client, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the front proxy's key: %w", err)
	}
	leaf, err := sign(clientTemplate(FrontProxyName), f.ca, key.Public(), f.key, ClientLife)
	if err != nil {
		return nil, fmt.Errorf("make the front proxy's certificate: %w", err)
	}
	f.client = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	f.renew = time.Now().Add(ClientLife * 2 / 3)
	return f.client, nil
}
