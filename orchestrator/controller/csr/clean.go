package csr

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How long requests are kept, as Kubernetes does.
const (
	keepIssued  = time.Hour
	keepRefused = time.Hour // denied or failed
	keepPending = 24 * time.Hour
)

// lifetime is how long the request is still kept; 0 or less: no longer.
func lifetime(csr *certificatesv1.CertificateSigningRequest) time.Duration {
	left := time.Duration(1<<63 - 1)
	until := func(since metav1.Time, keep time.Duration) {
		if !since.IsZero() {
			left = min(left, time.Until(since.Add(keep)))
		}
	}
	issued := len(csr.Status.Certificate) > 0
	if len(csr.Status.Conditions) == 0 {
		until(csr.CreationTimestamp, keepPending)
	}
	for _, c := range csr.Status.Conditions {
		switch {
		case c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed:
			until(c.LastUpdateTime, keepRefused)
		case c.Type == certificatesv1.CertificateApproved && issued:
			until(c.LastUpdateTime, keepIssued)
			until(metav1.NewTime(end(csr.Status.Certificate)), 0)
		case c.Type == certificatesv1.CertificateApproved:
			until(c.LastUpdateTime, keepPending)
		}
	}
	return left
}

// end is when the first certificate ends; zero if there is none to read.
func end(certificates []byte) time.Time {
	block, _ := pem.Decode(certificates)
	if block == nil {
		return time.Time{}
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}
	}
	return certificate.NotAfter
}
