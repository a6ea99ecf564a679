package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

// ClientCertificate makes a key and a certificate for a user in groups, valid for a year, both PEM.
func (p *PKI) ClientCertificate(user string, groups ...string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client's key: %w", err)
	}
	leaf, err := p.sign(clientTemplate(user, groups...), p.ca, private.Public(), ClientLife)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client's certificate: %w", err)
	}
	if key, err = encodeKey(private); err != nil {
		return nil, nil, err
	}
	return encodeCert(leaf.Raw), key, nil
}

func clientTemplate(user string, groups ...string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// Kubeconfig is a kubeconfig file for the server's URL, with a new client certificate in it.
func (p *PKI) Kubeconfig(server, user string, groups ...string) ([]byte, error) {
	cert, key, err := p.ClientCertificate(user, groups...)
	if err != nil {
		return nil, err
	}
	const name = "wherry"
	type m map[string]any
	return yaml.Marshal(m{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": name,
		"clusters":        []m{{"name": name, "cluster": m{"server": server, "certificate-authority-data": p.CA()}}},
		"users":           []m{{"name": user, "user": m{"client-certificate-data": cert, "client-key-data": key}}},
		"contexts":        []m{{"name": name, "context": m{"cluster": name, "user": user}}},
	})
}

// ErrRequest says that a certificate request cannot be granted, wrapped with why.
var ErrRequest = errors.New("certificate request refused")

// SignNode makes the certificate (DER) that a node asks for in a PKCS #10 request (DER): signed by the
// key that it is for, and for that node and nobody else. Errors: ErrRequest.
func (p *PKI) SignNode(request []byte, node string) ([]byte, error) {
	csr, err := nodeRequest(request, node)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	leaf, err := p.sign(clientTemplate(link.NodeUserPrefix+node, link.NodesGroup), p.ca, csr.PublicKey, p.options.NodeLife)
	if err != nil {
		return nil, fmt.Errorf("make a node's certificate: %w", err)
	}
	return leaf.Raw, nil
}

// RequestKey is the hash of the key that a request is for.
func RequestKey(request []byte) (string, error) {
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return nodelink.KeyHash(csr.RawSubjectPublicKeyInfo), nil
}

func nodeRequest(request []byte, node string) (*x509.CertificateRequest, error) {
	if problems := validation.IsDNS1123Subdomain(node); len(problems) > 0 {
		return nil, fmt.Errorf("invalid node name %q: %s", node, problems[0])
	}
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	if want := link.NodeUserPrefix + node; csr.Subject.CommonName != want {
		return nil, fmt.Errorf("it is for %q, not for %q", csr.Subject.CommonName, want)
	}
	if o := csr.Subject.Organization; len(o) != 1 || o[0] != link.NodesGroup {
		return nil, fmt.Errorf("its organization is %q, not %q", o, link.NodesGroup)
	}
	return csr, strong(csr.PublicKey)
}

func strong(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 {
			return nil
		}
	}
	return errors.New("its key is too weak or of an unknown kind")
}
