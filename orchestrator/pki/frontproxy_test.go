package pki

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"testing/synctest"
	"time"
)

// The front proxy's certificates are its own authority's, which is kept, and are made anew in time.
func TestFrontProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		first, err := p.FrontProxy().Certificate()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(again.FrontProxy().CA())
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca)
		client := x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		if _, err := first.Leaf.Verify(client); err != nil || first.Leaf.Subject.CommonName != "front-proxy-client" {
			t.Errorf("%s: %v", first.Leaf.Subject, err)
		}
		if _, err := first.Leaf.Verify(x509.VerifyOptions{Roots: p.Pool(), KeyUsages: client.KeyUsages}); err == nil {
			t.Error("the cluster's CA answers for it, too")
		}
		time.Sleep(ClientLife / 2)
		if same, _ := p.FrontProxy().Certificate(); same != first {
			t.Error("made anew too early")
		}
		time.Sleep(ClientLife / 4)
		if other, _ := p.FrontProxy().Certificate(); other == first {
			t.Error("not made anew")
		}
	})
}
