package apiserver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/clusterrole"
	"wherry/orchestrator/state"
)

// TestWhatRolesSeeAndAreRefused: each user has one of Kubernetes' roles in the namespace default (root: in the whole cluster).
func TestWhatRolesSeeAndAreRefused(t *testing.T) {
	c := start(t)
	c.defaultRoles()
	c.aggregate()
	for _, role := range []string{"view", "edit", "admin"} {
		grant(c, "default", role, role+"er")
	}
	grant(c, "", "cluster-admin", "root")
	const rolesPath, deployments = rbacPath + "namespaces/default/roles", "/apis/apps/v1/namespaces/default/deployments"
	role := func(name string) string { return `{"metadata":{"name":"` + name + `"},"rules":[]}` }
	for _, test := range []struct{ method, path, body, may string }{ // may: who is not refused
		{"GET", "/api", "", "nobody viewer editer adminer root"},
		{"GET", "/metrics", "", "root"},
		{"GET", inDefault + "pods", "", "viewer editer adminer root"},
		{"GET", inDefault + "configmaps", "", "viewer editer adminer root"},
		{"GET", inDefault + "secrets", "", "editer adminer root"},
		{"GET", deployments, "", "viewer editer adminer root"},
		{"GET", "/api/v1/namespaces/default", "", "viewer editer adminer root"},
		{"GET", "/api/v1/namespaces/kube-system/pods", "", "root"},
		{"GET", "/api/v1/pods", "", "root"},
		{"GET", "/api/v1/nodes", "", "root"},
		{"GET", rolesPath, "", "adminer root"},
		{"GET", rbacPath + "clusterroles", "", "root"},
		{"POST", inDefault + "configmaps", cm("NAME", ""), "editer adminer root"},
		{"DELETE", inDefault + "configmaps", "", "editer adminer root"},
		{"POST", inDefault + "resourcequotas", `{"metadata":{"name":"NAME"}}`, "root"},
		{"POST", inDefault + "pods/none/eviction", `{}`, "editer adminer root"},
		{"POST", inDefault + "serviceaccounts/none/token", `{}`, "editer adminer root"},
		{"POST", rolesPath, role("NAME"), "adminer root"},
		{"POST", rbacPath + "clusterroles", role("NAME"), "root"},
		{"POST", accessReviews + "selfsubjectaccessreviews", `{"spec":{` + podsAttr + `}}`, "nobody viewer editer adminer root"},
		{"POST", accessReviews + "namespaces/default/localsubjectaccessreviews", `{"spec":{"user":"x",` + podsAttr + `}}`, "adminer root"},
		{"POST", accessReviews + "subjectaccessreviews", `{"spec":{"user":"x",` + podsAttr + `}}`, "root"},
	} {
		for _, who := range []string{"nobody", "viewer", "editer", "adminer", "root"} {
			a := c.as(who, test.method, test.path, strings.ReplaceAll(test.body, "NAME", "by-"+who))
			if may := strings.Contains(" "+test.may+" ", " "+who+" "); may != (a.StatusCode != 403) {
				t.Errorf("%s %s %s: %d %.200s", who, test.method, test.path, a.StatusCode, a.body)
			}
		}
	}
}

// aggregate runs the controller of aggregated roles until they have their rules.
func (c *cluster) aggregate() {
	c.t.Helper()
	ctx := c.t.Context()
	done := make(chan error, 1)
	go func() {
		done <- controller.Run(ctx, c.state, slog.New(slog.DiscardHandler), nil, clusterrole.New(c.state))
	}()
	c.t.Cleanup(func() {
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	kind, _ := c.state.Kinds().For(&rbacv1.ClusterRole{})
	w, err := c.state.Watch(ctx, kind, state.WatchOptions{Initial: true, Selector: state.Selector{Name: "admin"}})
	if err != nil {
		c.t.Fatal(err)
	}
	defer w.Close()
	last := time.Now().Add(10 * time.Second)
	for time.Now().Before(last) {
		events, _, err := w.Next(ctx)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, e := range events {
			if e.Entry != nil && len(e.Entry.Object().(*rbacv1.ClusterRole).Rules) > 25 {
				return
			}
		}
	}
	c.t.Fatal("admin has no rules")
}

func signingRequest(t testing.TB, subject pkix.Name) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// TestCertificateRequests: who may ask, approve and sign.
func TestCertificateRequests(t *testing.T) {
	c := start(t)
	clusterRole(c, "asker", rule("create,get,update,patch", "certificates.k8s.io", "certificatesigningrequests,certificatesigningrequests/approval,certificatesigningrequests/status"))
	grant(c, "", "asker", "asker", "approver", "signer", "approver-of-all")
	clusterRole(c, "approve", rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client"))
	clusterRole(c, "approve-all", rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/*"))
	clusterRole(c, "sign", rule("sign", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client"))
	grant(c, "", "approve", "approver")
	grant(c, "", "approve-all", "approver-of-all")
	grant(c, "", "sign", "signer")
	const path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	csr := func(name, signer string, subject pkix.Name) string {
		return fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"signerName":"kubernetes.io/%s","usages":["client auth"],"request":%q}}`, name, signer, signingRequest(t, subject))
	}
	approved := `{"status":{"conditions":[{"type":"Approved","status":"True","reason":"x"}]}}`
	failed := `{"status":{"conditions":[{"type":"Failed","status":"True","reason":"x"}]}}`
	user := pkix.Name{CommonName: "u"}
	c.story("asker",
		asked{"POST", path, csr("a", "kube-apiserver-client", user), 201, ""}, asked{"POST", path, csr("b", "kube-apiserver-client-kubelet", user), 201, ""},
		asked{"POST", path, csr("m", "kube-apiserver-client", pkix.Name{CommonName: "u", Organization: []string{"x", "system:masters"}}), 403, "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"},
		asked{"PATCH", path + "/a/approval", approved, 403, `user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`},
		asked{"PATCH", path + "/a/status", failed, 403, `user not permitted to sign requests with signerName "kubernetes.io/kube-apiserver-client"`},
		asked{"PATCH", path + "/a/status", `{"metadata":{"labels":{"x":"y"}}}`, 200, ""},
	)
	c.story("approver", asked{"PATCH", path + "/b/approval", approved, 403, "kube-apiserver-client-kubelet"}, asked{"PATCH", path + "/a/approval", approved, 200, ""})
	c.story("approver-of-all", asked{"PATCH", path + "/b/approval", approved, 200, ""})
	c.story("signer", asked{"PATCH", path + "/b/status", strings.Replace(failed, "[", `[{"type":"Approved","status":"True","reason":"x"},`, 1), 403, "user not permitted to sign"})
	if a := c.as("asker", "GET", path+"/a", ""); !strings.Contains(a.body, `"username":"asker"`) {
		t.Errorf("who asked is not told: %s", a.body)
	}
}

// FuzzCertificateRequest sends requests that anybody may write.
func FuzzCertificateRequest(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"), "kubernetes.io/kube-apiserver-client")
	good, err := base64.StdEncoding.DecodeString(signingRequest(f, pkix.Name{CommonName: "u"}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, "kubernetes.io/kubelet-serving")
	c := start(f)
	f.Fuzz(func(t *testing.T, request []byte, signer string) {
		body := fmt.Sprintf(`{"metadata":{"generateName":"x-"},"spec":{"signerName":%q,"usages":["client auth"],"request":%q}}`, signer, base64.StdEncoding.EncodeToString(request))
		asking := &cluster{t: t, state: c.state, server: c.server}
		if a := asking.ask("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests?dryRun=All", body, contentJSON); a.StatusCode >= 500 {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
}
