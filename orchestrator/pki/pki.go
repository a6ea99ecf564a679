package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"wherry/proto/nodelink"
)

const (
	year = 365 * 24 * time.Hour
	// early is how long before its making a certificate is valid: clocks differ.
	early = 24 * time.Hour

	caLife     = 20 * year
	serverLife = year
	// ClientLife is how long users' certificates are valid, as those in kubeconfigs.
	ClientLife = year
)

// Options complete Open.
type Options struct {
	// Hosts are the names and addresses that the server is reached by, beside those that it
	// always has. An unspecified address stands for all of this machine.
	Hosts []string
	// ServiceIP is the cluster IP of default/kubernetes; nil means 10.43.0.1.
	ServiceIP net.IP
	// NodeLife is how long nodes' certificates are valid; 0 means a year. Agents renew
	// them after two thirds of it.
	NodeLife time.Duration
}

// PKI is the authority of one cluster. All methods may be called concurrently.
type PKI struct {
	options Options
	ca      *x509.Certificate
	key     crypto.Signer
	reset   [32]byte
	tokens  *TokenKeys
	sealer  *Sealer
	front   *FrontProxy

	mu     sync.Mutex
	server *tls.Certificate
	renew  time.Time // when server is to be replaced
}

// Open reads the authority in dir, or makes one there if there is none.
func Open(dir string, o Options) (*PKI, error) {
	if o.NodeLife == 0 {
		o.NodeLife = year
	}
	if o.ServiceIP == nil {
		o.ServiceIP = net.IPv4(10, 43, 0, 1)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the CA: %w", err)
	}
	p := &PKI{options: o}
	err := p.load(dir)
	if errors.Is(err, os.ErrNotExist) {
		err = p.create(dir)
	}
	if err != nil {
		return nil, err
	}
	if err := p.loadReset(dir); err != nil {
		return nil, err
	}
	if p.front, err = loadFrontProxy(dir); err != nil {
		return nil, err
	}
	return p, p.loadKeys(dir)
}

func (p *PKI) load(dir string) error {
	file := filepath.Join(dir, "ca.crt")
	certs, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the CA's certificate: %w", err)
	}
	keys, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if errors.Is(err, os.ErrNotExist) {
		// Not wrapped: a new CA would cut off every node.
		return fmt.Errorf("%s has no ca.key beside it: restore it from a backup", file)
	}
	if err != nil {
		return fmt.Errorf("read the CA's key: %w", err)
	}
	pair, err := tls.X509KeyPair(certs, keys)
	if err != nil {
		return fmt.Errorf("read the CA in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return fmt.Errorf("%s is not a certificate authority's", file)
	}
	p.ca, p.key = pair.Leaf, key
	return nil
}

// create makes a new authority. The certificate is written last: without it there is none.
func (p *PKI) create(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the CA's key: %w", err)
	}
	id := strings.ToLower(rand.Text())
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "wherry", SerialNumber: id},
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	p.key = key
	if p.ca, err = p.sign(template, template, key.Public(), caLife); err != nil {
		return fmt.Errorf("make the CA's certificate: %w", err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "ca.key"), keyPEM); err != nil {
		return fmt.Errorf("write the CA's key: %w", err)
	}
	if err := writeFile(filepath.Join(dir, "ca.crt"), p.CA()); err != nil {
		return fmt.Errorf("write the CA's certificate: %w", err)
	}
	return nil
}

func (p *PKI) loadReset(dir string) error {
	file := filepath.Join(dir, "reset.key")
	b, err := os.ReadFile(file)
	if err == nil && len(b) == len(p.reset) {
		copy(p.reset[:], b)
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the reset key: %w", err)
	}
	rand.Read(p.reset[:])
	if err := writeFile(file, p.reset[:]); err != nil {
		return fmt.Errorf("write the reset key: %w", err)
	}
	return nil
}

// ClusterID is random, made with the CA, and never changes.
func (p *PKI) ClusterID() string { return p.ca.Subject.SerialNumber }

// CA is the authority's certificate, PEM.
func (p *PKI) CA() []byte { return encodeCert(p.ca.Raw) }

// CADER is the authority's certificate, DER.
func (p *PKI) CADER() []byte { return p.ca.Raw }

// CAHash names the authority's key, as join tokens do.
func (p *PKI) CAHash() string { return nodelink.KeyHash(p.ca.RawSubjectPublicKeyInfo) }

// Pool holds the authority alone.
func (p *PKI) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.ca)
	return pool
}

// ResetKey is for link.Options.
func (p *PKI) ResetKey() *[32]byte {
	key := p.reset
	return &key
}

// FrontProxy is who requests to aggregated servers come from.
func (p *PKI) FrontProxy() *FrontProxy { return p.front }

func (p *PKI) sign(template, parent *x509.Certificate, public crypto.PublicKey, life time.Duration) (*x509.Certificate, error) {
	return sign(template, parent, public, p.key, life)
}

// sign makes a certificate for the public key with the parent's key, valid from a while ago.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = now.Add(-early), now.Add(life)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
