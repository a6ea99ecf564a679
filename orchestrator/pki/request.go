package pki

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// As Kubernetes' signers do: certificates are valid from a little before they are made, and those that live long
// end that much earlier.
const (
	requestBackdate = 5 * time.Minute
	shortLife       = 8 * time.Hour
)

// SignRequest makes the certificate (PEM) that a request asks for: its subject, names and key, for the usages and
// nothing else. It ends with the CA at the latest. Who may have it is the caller's business. Errors: ErrRequest.
func (p *PKI) SignRequest(r *x509.CertificateRequest, usage x509.KeyUsage, extended []x509.ExtKeyUsage, life time.Duration) ([]byte, error) {
	if err := errors.Join(r.CheckSignature(), strong(r.PublicKey)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	end := now.Add(life)
	if life >= shortLife {
		end = end.Add(-requestBackdate)
	}
	if end.After(p.ca.NotAfter) {
		end = p.ca.NotAfter
	}
	if !now.Before(end) {
		return nil, fmt.Errorf("the CA has expired at %v", p.ca.NotAfter)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: r.Subject, RawSubject: r.RawSubject, NotBefore: now.Add(-requestBackdate), NotAfter: end,
		KeyUsage: usage, ExtKeyUsage: extended, BasicConstraintsValid: true,
		DNSNames: r.DNSNames, IPAddresses: r.IPAddresses, EmailAddresses: r.EmailAddresses, URIs: r.URIs,
	}, p.ca, r.PublicKey, p.key)
	if err != nil {
		return nil, fmt.Errorf("sign a request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
