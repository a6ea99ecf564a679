package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"

	"wherry/proto/link"
	"wherry/proto/nodelink"
)

func open(t *testing.T, dir string, o Options) *PKI {
	t.Helper()
	p, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAuthorityIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a := open(t, dir, Options{})
	b := open(t, dir, Options{})
	if a.ClusterID() == "" || a.ClusterID() != b.ClusterID() || a.CAHash() != b.CAHash() || *a.ResetKey() != *b.ResetKey() {
		t.Error("not the same after a restart")
	}
	other := open(t, t.TempDir(), Options{})
	if other.ClusterID() == a.ClusterID() || other.CAHash() == a.CAHash() || *other.ResetKey() == *a.ResetKey() {
		t.Error("two clusters share something")
	}
	if runtime.GOOS == "windows" {
		return
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil || files != 7 {
		t.Errorf("%d files: %v", files, err)
	}
}

func TestDamagedAuthorityIsRefusedNotReplaced(t *testing.T) {
	damage := map[string]func(dir string) error{
		"key missing":   func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) },
		"key cut":       func(dir string) error { return os.Truncate(filepath.Join(dir, "ca.key"), 50) },
		"other's key":   func(dir string) error { return copyFile(t, filepath.Join(dir, "ca.key")) },
		"cert is empty": func(dir string) error { return os.Truncate(filepath.Join(dir, "ca.crt"), 0) },
	}
	for name, f := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir, Options{})
			if err := f(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir, Options{}); err == nil {
				t.Error("it was taken")
			}
		})
	}
	t.Run("cut off before the certificate was written", func(t *testing.T) {
		dir := t.TempDir()
		open(t, dir, Options{})
		if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
			t.Fatal(err)
		}
		open(t, dir, Options{})
	})
}

func copyFile(t *testing.T, to string) error {
	dir := t.TempDir()
	open(t, dir, Options{})
	b, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

func TestServerCertificate(t *testing.T) {
	p := open(t, t.TempDir(), Options{Hosts: []string{"api.example.org", "192.0.2.7", "0.0.0.0"}})
	cert, err := p.serverCertificate()
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	for _, name := range []string{"localhost", "127.0.0.1", "10.43.0.1", "kubernetes.default.svc", link.ServerName, "api.example.org", "192.0.2.7", host} {
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: p.Pool()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !bytes.Equal(cert.Certificate[1], p.CADER()) {
		t.Error("the CA does not come with it")
	}
}

func TestServerCertificateIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, t.TempDir(), Options{})
		get := func() *tls.Certificate {
			c, err := p.ServerTLS().GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: p.Pool()}); err != nil {
				t.Fatal(err)
			}
			return c
		}
		first := get()
		time.Sleep(serverLife / 2)
		if get() != first {
			t.Error("renewed too early")
		}
		time.Sleep(serverLife / 2)
		if get() == first {
			t.Error("not renewed")
		}
	})
}

func TestKubeconfig(t *testing.T) {
	p := open(t, t.TempDir(), Options{})
	file, err := p.Kubeconfig("https://127.0.0.1:6443", "admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:6443" || !bytes.Equal(config.CAData, p.CA()) {
		t.Errorf("%+v", config)
	}
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	if s := pair.Leaf.Subject; s.CommonName != "admin" || !slices.Equal(s.Organization, []string{"system:masters"}) {
		t.Error(s)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: p.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
}

func request(t testing.TB, subject pkix.Name) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, DNSNames: []string{"kubernetes.default.svc"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func nodeName(name string) pkix.Name {
	return pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}
}

func TestSignNode(t *testing.T) {
	p := open(t, t.TempDir(), Options{NodeLife: time.Hour})
	csr := request(t, nodeName("n1"))
	der, err := p.SignNode(csr, "n1")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := RequestKey(csr); err != nil || key != nodelink.KeyHash(cert.RawSubjectPublicKeyInfo) {
		t.Error("another key", err)
	}
	if cert.IsCA || len(cert.DNSNames) != 0 || cert.Subject.CommonName != "system:node:n1" || time.Until(cert.NotAfter) > time.Hour {
		t.Errorf("%+v", cert)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: p.Pool()}); err == nil {
		t.Error("a node could pose as the server")
	}
}

func TestSignNodeRefuses(t *testing.T) {
	p := open(t, t.TempDir(), Options{})
	forged := request(t, nodeName("n1"))
	forged[len(forged)-1] ^= 1
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024)
	var weak []byte
	if err == nil {
		weak, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: nodeName("n1")}, weakKey)
	}
	if err != nil {
		t.Log("no weak key can be made here:", err)
	}
	cases := map[string]struct {
		csr  []byte
		node string
	}{
		"another node":   {request(t, nodeName("n2")), "n1"},
		"a user":         {request(t, pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}), "n1"},
		"another group":  {request(t, pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:masters"}}), "n1"},
		"more groups":    {request(t, pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes", "system:masters"}}), "n1"},
		"invalid name":   {request(t, nodeName("Not A Name")), "Not A Name"},
		"no name":        {request(t, nodeName("")), ""},
		"not the signer": {forged, "n1"},
		"weak":           {weak, "n1"},
		"garbage":        {[]byte("hello"), "n1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := p.SignNode(c.csr, c.node); !errors.Is(err, ErrRequest) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// stored is the Secret as the API stores it.
func stored(s *corev1.Secret) *corev1.Secret {
	s.Data = map[string][]byte{}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
	return s
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t, t.TempDir(), Options{})
		token := NewToken(p.CAHash())
		if back, err := nodelink.ParseToken(token.String()); err != nil || back != token {
			t.Fatal(back, err)
		}
		secret := stored(TokenSecret(token, time.Hour, "for the shed"))
		if secret.Name != "bootstrap-token-"+token.ID || strings.Contains(secret.String(), p.CAHash()) {
			t.Error(secret.Name)
		}
		check := func(what string, s *corev1.Secret, id, sec string, want error) {
			t.Helper()
			if err := CheckToken(s, id, sec); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s: got %v, want %v", what, err, want)
			}
		}
		check("good", secret, token.ID, token.Secret, nil)
		check("missing", nil, token.ID, token.Secret, ErrTokenUnknown)
		check("wrong secret", secret, token.ID, "0123456789abcdef", ErrTokenUnknown)
		check("no secret", secret, token.ID, "", ErrTokenUnknown)
		check("empty secret stored", stored(TokenSecret(nodelink.Token{ID: token.ID}, 0, "")), token.ID, "", ErrTokenUnknown)
		check("other id", secret, "zzzzzz", token.Secret, ErrTokenUnknown)
		opaque := secret.DeepCopy()
		opaque.Type = corev1.SecretTypeOpaque
		check("not a token", opaque, token.ID, token.Secret, ErrTokenUnknown)
		odd := secret.DeepCopy()
		odd.Data["expiration"] = []byte("tomorrow")
		check("odd expiration", odd, token.ID, token.Secret, ErrTokenExpired)
		time.Sleep(2 * time.Hour)
		check("expired", secret, token.ID, token.Secret, ErrTokenExpired)
		check("for ever", stored(TokenSecret(token, 0, "")), token.ID, token.Secret, nil)
	})
}

func FuzzSignNode(f *testing.F) {
	f.Add(request(f, nodeName("n1")))
	f.Add(request(f, pkix.Name{CommonName: "admin"}))
	p, err := Open(f.TempDir(), Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, csr []byte) {
		der, err := p.SignNode(csr, "n1")
		if err != nil {
			return
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil || cert.Subject.CommonName != "system:node:n1" || !slices.Equal(cert.Subject.Organization, []string{"system:nodes"}) {
			t.Fatalf("%v, %v", cert, err)
		}
	})
}
