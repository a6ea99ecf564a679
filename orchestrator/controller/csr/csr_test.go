package csr_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/csr"
	"wherry/orchestrator/pki"
	"wherry/orchestrator/state"
)

type object = certificatesv1.CertificateSigningRequest

// run runs the controller with an authority of its own. Users that begin with "may-" may have a node's certificate.
func run(t *testing.T, f func(c *cluster)) {
	dir := t.TempDir()
	var authority *pki.PKI
	controllertest.Run(t, func(s *state.State, _ controller.Events) []controller.Controller {
		var err error
		if authority, err = pki.Open(dir, pki.Options{}); err != nil {
			t.Fatal(err)
		}
		return []controller.Controller{csr.New(csr.Config{State: s, Authority: authority, May: func(_ context.Context, user *authenticationv1.UserInfo, subresource string) (bool, error) {
			return user.Username == "may-"+subresource || user.Username == "system:node:self" && subresource == "selfnodeclient", nil
		}})}
	}, func(c *controllertest.Cluster) { f(&cluster{c, func() *pki.PKI { return authority }}) })
}

type cluster struct {
	*controllertest.Cluster
	authority func() *pki.PKI // once the controller runs
}

func request(t *testing.T, template x509.CertificateRequest) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func (c *cluster) ask(name, signer, user string, subject pkix.Name, change func(*x509.CertificateRequest, *object)) {
	c.T.Helper()
	template := x509.CertificateRequest{Subject: subject}
	obj := &object{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: "kubernetes.io/" + signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
	}}
	if change != nil {
		change(&template, obj)
	}
	obj.Spec.Request = request(c.T, template)
	kind, _ := c.State.Kinds().For(obj)
	_, err := c.State.Create(c.T.Context(), kind, obj, state.CreateOptions{User: &authenticationv1.UserInfo{Username: user}})
	if err != nil {
		c.T.Fatal(err)
	}
}

func (c *cluster) decide(name string, t certificatesv1.RequestConditionType) {
	c.T.Helper()
	kind, _ := c.State.Kinds().For(&object{})
	_, _, err := c.State.Update(c.T.Context(), kind, "", name, func(live state.Object) (state.Object, error) {
		obj := live.(*object)
		obj.Status.Conditions = append(obj.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: t, Status: corev1.ConditionTrue, Reason: "Test", LastUpdateTime: metav1.Now()})
		return obj, nil
	}, state.UpdateOptions{Subresource: "approval"})
	if err != nil {
		c.T.Fatal(err)
	}
}

// status is what became of a request: its conditions, and whether there is a certificate.
func (c *cluster) status(name string) string {
	c.Settle(0)
	obj, ok := state.Get[*object](c.State, "", name)
	if !ok {
		return "gone"
	}
	var all []string
	for _, condition := range obj.Status.Conditions {
		text := string(condition.Type)
		if condition.Type == certificatesv1.CertificateFailed {
			text += ": " + condition.Message
		}
		all = append(all, text)
	}
	if len(obj.Status.Certificate) > 0 {
		all = append(all, "issued")
	}
	return strings.Join(all, ", ")
}

func (c *cluster) certificate(name string) *x509.Certificate {
	c.T.Helper()
	obj, _ := state.Get[*object](c.State, "", name)
	block, _ := pem.Decode(obj.Status.Certificate)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.T.Fatal(err)
	}
	return certificate
}

var nodeA = pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}

func TestApprovedRequestsAreSigned(t *testing.T) {
	run(t, func(c *cluster) {
		hour := int32(3600)
		c.ask("jane", "kube-apiserver-client", "somebody", pkix.Name{CommonName: "jane", Organization: []string{"devs"}},
			func(_ *x509.CertificateRequest, o *object) { o.Spec.ExpirationSeconds = &hour })
		if got := c.status("jane"); got != "" {
			t.Errorf("nobody approved: %s", got)
		}
		c.decide("jane", certificatesv1.CertificateApproved)
		if got := c.status("jane"); got != "Approved, issued" {
			t.Fatalf("approved: %s", got)
		}
		got := c.certificate("jane")
		if life := time.Until(got.NotAfter); life < 59*time.Minute || life > time.Hour || time.Since(got.NotBefore) < 5*time.Minute {
			t.Errorf("valid from %v to %v", got.NotBefore, got.NotAfter)
		}
		if got.Subject.CommonName != "jane" || got.Subject.Organization[0] != "devs" || got.IsCA || got.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Errorf("%+v", got.Subject)
		}
		if _, err := got.Verify(x509.VerifyOptions{Roots: c.authority().Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Error(err)
		}
		if _, err := got.Verify(x509.VerifyOptions{Roots: c.authority().Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
			t.Error("a client's certificate serves")
		}
	})
}

func TestRequestsAreChecked(t *testing.T) {
	serving := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	for name, test := range map[string]struct {
		signer  string
		subject pkix.Name
		change  func(*x509.CertificateRequest, *object)
		want    string
	}{
		"client":        {"kube-apiserver-client", pkix.Name{CommonName: "x"}, nil, "Approved, issued"},
		"client serves": {"kube-apiserver-client", pkix.Name{CommonName: "x"}, func(_ *x509.CertificateRequest, o *object) { o.Spec.Usages = serving }, "Approved, Failed: invalid usage for client certificate: server auth"},
		"no purpose": {"kube-apiserver-client", pkix.Name{CommonName: "x"}, func(_ *x509.CertificateRequest, o *object) { o.Spec.Usages = serving[:1] },
			"Approved, Failed: missing required usage for client certificate: client auth"},
		"node":      {"kube-apiserver-client-kubelet", nodeA, nil, "Approved, issued"},
		"no node":   {"kube-apiserver-client-kubelet", pkix.Name{CommonName: "system:node:a"}, nil, "Approved, Failed: subject organization is not system:nodes"},
		"node name": {"kube-apiserver-client-kubelet", pkix.Name{CommonName: "a", Organization: nodeA.Organization}, nil, "Approved, Failed: subject common name does not begin with system:node:"},
		"node with names": {"kube-apiserver-client-kubelet", nodeA, func(r *x509.CertificateRequest, _ *object) { r.DNSNames = []string{"a"} },
			"Approved, Failed: DNS subjectAltNames are not allowed"},
		"serving": {"kubelet-serving", nodeA, func(r *x509.CertificateRequest, o *object) {
			r.IPAddresses, o.Spec.Usages = []net.IP{net.IPv4(10, 0, 0, 1)}, serving
		}, "Approved, issued"},
		"serving nothing": {"kubelet-serving", nodeA, func(_ *x509.CertificateRequest, o *object) { o.Spec.Usages = serving }, "Approved, Failed: DNS or IP subjectAltName is required"},
		"serving client": {"kubelet-serving", nodeA, func(r *x509.CertificateRequest, _ *object) { r.DNSNames = []string{"a"} },
			"Approved, Failed: usages did not match [digital signature key encipherment server auth]"},
		"others' signer": {"others", pkix.Name{CommonName: "x"}, func(_ *x509.CertificateRequest, o *object) { o.Spec.SignerName = "example.com/x" }, "Approved"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(c *cluster) {
				c.ask("r", test.signer, "x", test.subject, test.change)
				c.decide("r", certificatesv1.CertificateApproved)
				if got := c.status("r"); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestNodesAreApprovedAtOnce(t *testing.T) {
	run(t, func(c *cluster) {
		self := pkix.Name{CommonName: "system:node:self", Organization: nodeA.Organization}
		for i, test := range []struct {
			user, signer string
			subject      pkix.Name
			want         string
		}{
			{"may-nodeclient", "kube-apiserver-client-kubelet", nodeA, "Approved, issued"},
			{"system:node:self", "kube-apiserver-client-kubelet", self, "Approved, issued"},
			{"system:node:self", "kube-apiserver-client-kubelet", nodeA, ""},
			{"may-selfnodeclient", "kube-apiserver-client-kubelet", nodeA, ""},
			{"x", "kube-apiserver-client-kubelet", nodeA, ""},
			{"may-nodeclient", "kube-apiserver-client-kubelet", pkix.Name{CommonName: "x"}, ""},
			{"may-nodeclient", "kube-apiserver-client", nodeA, ""},
		} {
			name := fmt.Sprint("r", i)
			c.ask(name, test.signer, test.user, test.subject, nil)
			if got := c.status(name); got != test.want {
				t.Errorf("%s asks for %s of %s: %q, want %q", test.user, test.subject.CommonName, test.signer, got, test.want)
			}
		}
	})
}

func TestOldRequestsGo(t *testing.T) {
	run(t, func(c *cluster) {
		for _, name := range []string{"pending", "denied", "issued", "failed", "unsigned"} {
			c.ask(name, "kube-apiserver-client", "x", pkix.Name{CommonName: "x"}, func(_ *x509.CertificateRequest, o *object) {
				switch name {
				case "failed":
					o.Spec.Usages = o.Spec.Usages[:1]
				case "unsigned":
					o.Spec.SignerName = "example.com/x"
				}
			})
		}
		c.decide("denied", certificatesv1.CertificateDenied)
		for _, name := range []string{"issued", "failed", "unsigned"} {
			c.decide(name, certificatesv1.CertificateApproved)
		}
		left := func() string {
			var all []string
			for _, o := range state.List[*object](c.State, state.Selector{}) {
				all = append(all, o.Name)
			}
			return strings.Join(all, " ")
		}
		for _, step := range []struct {
			after time.Duration
			want  string
		}{
			{59 * time.Minute, "denied failed issued pending unsigned"}, {2 * time.Minute, "pending unsigned"},
			{22 * time.Hour, "pending unsigned"}, {2 * time.Hour, ""},
		} {
			c.Settle(step.after)
			if got := left(); got != step.want {
				t.Errorf("after %v more: %s, want %s", step.after, got, step.want)
			}
		}
	})
}
