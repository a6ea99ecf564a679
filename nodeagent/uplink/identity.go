package uplink

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
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// identity is who the node is: in its directory
//
//	node.key    the private key, made before joining and kept (PKCS #8, PEM)
//	ca.crt      the cluster's CA (PEM)
//	cluster     the cluster's id
//	node.crt    the certificate (PEM); written last: with it the node has joined
type identity struct {
	dir   string
	node  string
	token *nodelink.Token // nil: none
	key   crypto.Signer

	mu      sync.Mutex
	cluster string
	ca      *x509.Certificate
	cert    *x509.Certificate // nil: not joined
}

func openIdentity(dir, node, token string) (*identity, error) {
	id := &identity{dir: dir, node: node}
	if token != "" {
		t, err := nodelink.ParseToken(token)
		if err != nil {
			return nil, err
		}
		id.token = &t
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the node's key: %w", err)
	}
	if err := id.loadKey(); err != nil {
		return nil, err
	}
	if err := id.loadCertificates(); err != nil {
		return nil, err
	}
	if id.cert == nil && id.token == nil {
		return nil, errors.New("this node has not joined a cluster: start it with --token; `wherry token create` on the control plane makes one")
	}
	return id, nil
}

func (id *identity) file(name string) string { return filepath.Join(id.dir, name) }

func (id *identity) loadKey() error {
	b, err := os.ReadFile(id.file("node.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return id.makeKey()
	}
	if err != nil {
		return fmt.Errorf("read the node's key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return fmt.Errorf("%s is damaged", id.file("node.key"))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("read the node's key: %w", err)
	}
	id.key, _ = key.(crypto.Signer)
	if id.key == nil {
		return fmt.Errorf("%s holds no key for signing", id.file("node.key"))
	}
	return nil
}

func (id *identity) makeKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the node's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the node's key: %w", err)
	}
	id.key = key
	if err := writeFile(id.file("node.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return fmt.Errorf("write the node's key: %w", err)
	}
	return nil
}

// loadCertificates reads what joining has left, if it was completed.
func (id *identity) loadCertificates() error {
	cert, err := readCertificate(id.file("node.crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ca, err := readCertificate(id.file("ca.crt"))
	if err != nil {
		return err
	}
	cluster, err := os.ReadFile(id.file("cluster"))
	if err != nil {
		return fmt.Errorf("read the cluster's id: %w", err)
	}
	if name := link.NodeUserPrefix + id.node; cert.Subject.CommonName != name {
		return fmt.Errorf("the data directory belongs to %s, not to %s: use that node name, or another data directory", cert.Subject.CommonName, name)
	}
	if id.token != nil && id.token.CAHash != nodelink.KeyHash(ca.RawSubjectPublicKeyInfo) {
		return fmt.Errorf("the data directory belongs to cluster %s, the token to another: use another data directory to join that one", cluster)
	}
	id.cert, id.ca, id.cluster = cert, ca, string(cluster)
	return nil
}

func readCertificate(file string) (*x509.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is damaged", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cert, nil
}

// request is a PKCS #10 request for the node's certificate.
func (id *identity) request() ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: link.NodeUserPrefix + id.node, Organization: []string{link.NodesGroup}},
	}, id.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return der, nil
}

// joined keeps what a join has brought.
func (id *identity) joined(r *nodelink.JoinResponse, ca *x509.Certificate) error {
	if err := writeFile(id.file("ca.crt"), encodeCertificate(ca.Raw)); err != nil {
		return fmt.Errorf("write the CA's certificate: %w", err)
	}
	if err := writeFile(id.file("cluster"), []byte(r.ClusterId)); err != nil {
		return fmt.Errorf("write the cluster's id: %w", err)
	}
	id.mu.Lock()
	id.ca, id.cluster = ca, r.ClusterId
	id.mu.Unlock()
	return id.renewed(r.Certificate)
}

// renewed keeps a new certificate.
func (id *identity) renewed(der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("the new certificate: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(id.key.Public())
	if err != nil {
		return fmt.Errorf("encode the node's public key: %w", err)
	}
	if string(public) != string(cert.RawSubjectPublicKeyInfo) {
		return errors.New("the new certificate is for another key")
	}
	if err := writeFile(id.file("node.crt"), encodeCertificate(der)); err != nil {
		return fmt.Errorf("write the node's certificate: %w", err)
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.cert = cert
	return nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (id *identity) clusterID() string {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.cluster
}

// mustJoin says whether there is no certificate that the control plane would take, and a token to
// get one.
func (id *identity) mustJoin() bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.token != nil && (id.cert == nil || time.Now().After(id.cert.NotAfter))
}

func (id *identity) expiresIn() time.Duration {
	id.mu.Lock()
	defer id.mu.Unlock()
	return time.Until(id.cert.NotAfter)
}

// renewIn is how long until two thirds of the certificate's life have passed.
func (id *identity) renewIn() time.Duration {
	id.mu.Lock()
	defer id.mu.Unlock()
	life := id.cert.NotAfter.Sub(id.cert.NotBefore)
	return time.Until(id.cert.NotBefore.Add(life * 2 / 3))
}

// sessionTLS is the configuration of a node's session.
func (id *identity) sessionTLS() (*tls.Config, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.cert == nil {
		return nil, errors.New("this node has no certificate")
	}
	roots := x509.NewCertPool()
	roots.AddCert(id.ca)
	pair := tls.Certificate{Certificate: [][]byte{id.cert.Raw}, PrivateKey: id.key, Leaf: id.cert}
	since := id.cert.NotBefore
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{link.ProtocolNode},
		ServerName: link.ServerName,
		RootCAs:    roots,
		// Sent whatever authorities the server names.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
		Time:                 func() time.Time { return atLeast(since) },
	}, nil
}

// atLeast is the time as far as this machine can know it: a clock that has not been set
// since the machine was started is behind the making of the node's own certificate.
func atLeast(since time.Time) time.Time {
	if now := time.Now(); now.After(since) {
		return now
	}
	return since
}

// joinTLS trusts the CA that the token names and nobody else.
func (id *identity) joinTLS(found func(ca *x509.Certificate)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{link.ProtocolJoin},
		ServerName: link.ServerName,
		// VerifyConnection does it: the CA comes with the server's certificate.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			ca, err := pinned(cs.PeerCertificates, id.token.CAHash)
			if err == nil {
				found(ca)
			}
			return err
		},
	}
}

var errOtherCluster = errors.New("the server's certificate authority is not the one that the token names: " +
	"the token is of another cluster, or somebody is in between")

// pinned verifies a server's certificates by the CA among them whose key has the hash.
func pinned(chain []*x509.Certificate, hash string) (*x509.Certificate, error) {
	for _, ca := range chain {
		if !ca.IsCA || nodelink.KeyHash(ca.RawSubjectPublicKeyInfo) != hash {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(ca)
		_, err := chain[0].Verify(x509.VerifyOptions{
			Roots: roots, DNSName: link.ServerName, CurrentTime: atLeast(chain[0].NotBefore.Add(time.Second)),
		})
		return ca, err
	}
	return nil, errOtherCluster
}

// writeFile replaces a file as a whole, for its owner only.
func writeFile(name string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already if all went well
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}
