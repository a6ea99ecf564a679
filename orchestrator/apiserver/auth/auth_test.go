package auth_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wherry/orchestrator/apiserver/auth"
)

var (
	admin  = &auth.User{Name: "admin", Groups: []string{auth.GroupMasters, auth.GroupAuthenticated}}
	jane   = &auth.User{Name: "jane", Groups: []string{auth.GroupAuthenticated}}
	nobody = auth.Anonymous
)

func path(user *auth.User, verb, path string) *auth.Attributes {
	return &auth.Attributes{User: user, Verb: verb, Path: path}
}

func pods(user *auth.User, verb string) *auth.Attributes {
	return &auth.Attributes{User: user, Verb: verb, Resource: true, Version: "v1", Plural: "pods", Namespace: "default"}
}

func TestBuiltin(t *testing.T) {
	for _, test := range []struct {
		a    *auth.Attributes
		want auth.Decision
	}{
		{pods(admin, "delete"), auth.Allow},
		{path(admin, "post", "/anything"), auth.Allow},
		{pods(jane, "get"), auth.NoOpinion},
		{path(jane, "get", "/api"), auth.NoOpinion},
		{path(nobody, "get", "/healthz"), auth.NoOpinion},
	} {
		got, _, err := auth.Builtin{}.Authorize(t.Context(), test.a)
		if err != nil || got != test.want {
			t.Errorf("%s %s %s%s: %v, %v; want %v", test.a.User.Name, test.a.Verb, test.a.Path, test.a.Plural, got, err, test.want)
		}
	}
}

func TestForbiddenIsWordedAsKubernetes(t *testing.T) {
	status := pods(jane, "get")
	status.Name, status.Subresource, status.Group = "web", "status", "apps"
	nodes := &auth.Attributes{User: jane, Verb: "list", Resource: true, Version: "v1", Plural: "nodes"}
	for _, test := range []struct {
		a            *auth.Attributes
		reason, want string
	}{
		{pods(jane, "list"), "", `pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"`},
		{nodes, "", `nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope`},
		{status, "no", `pods.apps "web" is forbidden: User "jane" cannot get resource "pods/status" in API group "apps" in the namespace "default": no`},
		{path(nobody, "get", "/"), "", `forbidden: User "system:anonymous" cannot get path "/"`},
		{path(nobody, "get", "/<b>"), "", `forbidden: User "system:anonymous" cannot get path "/&lt;b&gt;"`},
	} {
		if got := auth.Forbidden(test.a, test.reason).Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestCertificates(t *testing.T) {
	request := func(subject *pkix.Name) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		r.TLS = &tls.ConnectionState{}
		if subject != nil {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{{Subject: *subject}}}
		}
		return r
	}
	got, err := auth.Certificates{}.Authenticate(request(&pkix.Name{CommonName: "admin", Organization: []string{auth.GroupMasters}}))
	if err != nil {
		t.Fatal(err)
	}
	want := *admin
	want.Extra = map[string][]string{"authentication.kubernetes.io/credential-id": {
		"X509SHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}} // of nothing
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
	uid := pkix.AttributeTypeAndValue{Type: []int{1, 3, 6, 1, 4, 1, 57683, 2}, Value: "u1"}
	if user, err := (auth.Certificates{}).Authenticate(request(&pkix.Name{CommonName: "jane", Names: []pkix.AttributeTypeAndValue{uid}})); err != nil || user.UID != "u1" {
		t.Errorf("the uid: %v, %v", user, err)
	}
	if user, err := (auth.Certificates{}).Authenticate(request(nil)); user != nil || err != nil {
		t.Errorf("without a certificate: %v, %v", user, err)
	}
	if _, err := (auth.Certificates{}).Authenticate(request(&pkix.Name{})); err == nil {
		t.Error("a certificate without a name was taken")
	}
}

type fixed struct {
	user *auth.User
	err  error
}

func (f fixed) Authenticate(*http.Request) (*auth.User, error) { return f.user, f.err }

func TestAnyOfTakesTheFirstAnswer(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		all  auth.AnyOf
		want *auth.User
		err  error
	}{
		{nil, nil, nil},
		{auth.AnyOf{fixed{}, fixed{user: jane}, fixed{user: admin}}, jane, nil},
		{auth.AnyOf{fixed{err: broken}, fixed{user: jane}}, nil, broken},
	} {
		if got, err := test.all.Authenticate(nil); got != test.want || err != test.err {
			t.Errorf("got %v, %v; want %v, %v", got, err, test.want, test.err)
		}
	}
}

func TestInOrderTakesTheFirstOpinion(t *testing.T) {
	order := auth.InOrder{auth.Builtin{}, auth.Builtin{}}
	if got, _, err := order.Authorize(t.Context(), pods(admin, "get")); got != auth.Allow || err != nil {
		t.Errorf("admin: %v, %v", got, err)
	}
	if got, _, err := order.Authorize(t.Context(), pods(jane, "get")); got != auth.NoOpinion || err != nil {
		t.Errorf("jane: %v, %v", got, err)
	}
	rules, err := order.Rules(t.Context(), admin, "default")
	if err != nil || len(rules.Paths) != 1 || len(rules.Resources) != 1 {
		t.Errorf("rules are joined, each told once: %+v, %v", rules, err)
	}
}
