package story

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// csr USER GROUP...: a new key in USER.key, and in USER.yaml a CertificateSigningRequest for it.
func csr(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) >= 1, "csr USER GROUP...")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	keep := func(name, kind string, der []byte) []byte {
		b := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		ts.Check(os.WriteFile(ts.MkAbs(args[0]+name), b, 0o600))
		return b
	}
	keep(".key", "PRIVATE KEY", der)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: args[0], Organization: args[1:]}}, key)
	ts.Check(err)
	hour := int32(3600)
	manifest, err := yaml.Marshal(&certificatesv1.CertificateSigningRequest{
		TypeMeta:   metav1.TypeMeta{APIVersion: "certificates.k8s.io/v1", Kind: "CertificateSigningRequest"},
		ObjectMeta: metav1.ObjectMeta{Name: args[0]},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: keep(".csr", "CERTIFICATE REQUEST", request), SignerName: certificatesv1.KubeAPIServerClientSignerName, ExpirationSeconds: &hour,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".yaml"), manifest, 0o600))
}
