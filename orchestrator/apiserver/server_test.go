package apiserver_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"wherry/orchestrator/apiserver"
	"wherry/orchestrator/apiserver/admission"
	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/apiserver/auth/node"
	"wherry/orchestrator/apiserver/auth/rbac"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store"
	"wherry/orchestrator/store/memstore"
)

// named takes who asks from the bearer token: "admin" is an administrator, others are nobody special.
type named struct{}

func (named) Authenticate(r *http.Request) (*auth.User, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok:
		return nil, nil
	case token == "forged":
		return nil, errors.New("forged")
	case token == "admin":
		return &auth.User{Name: "admin", Groups: []string{auth.GroupMasters, auth.GroupAuthenticated}}, nil
	}
	return &auth.User{Name: token, Groups: []string{auth.GroupAuthenticated}}, nil
}

// cluster is a server over a state of its own.
type cluster struct {
	t      testing.TB
	state  *state.State
	server *apiserver.Server
}

// start runs a state and a server with the namespace default until the test ends.
func start(t testing.TB, change ...func(*apiserver.Config)) *cluster {
	t.Helper()
	return startOn(t, memstore.New(), change...)
}

func startOn(t testing.TB, over store.Store, change ...func(*apiserver.Config)) *cluster {
	t.Helper()
	return startWith(t, over, resource.New(), change...)
}

func startWith(t testing.TB, over store.Store, kinds *resource.Registry, change ...func(*apiserver.Config)) *cluster {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	managers, err := apiserver.NewManagers(kinds)
	if err != nil {
		t.Fatal(err)
	}
	var st *state.State
	roles := rbac.New(func() *state.State { return st })
	authorizer := auth.InOrder{auth.Builtin{}, node.New(func() *state.State { return st }), roles}
	st, err = state.Open(ctx, over, state.Options{Kinds: kinds, Admission: admission.Default(
		admission.NodeRestriction{Authorizer: authorizer}, admission.Certificates{Authorizer: authorizer}, rbac.Guard{Authorizer: authorizer, Roles: roles}), Managers: managers})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- st.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("state: %v", err)
		}
	})
	cfg := apiserver.Config{State: st, Authenticator: named{}, Logger: slog.New(slog.DiscardHandler)}
	cfg.Authorizer = authorizer
	for _, c := range change {
		c(&cfg)
	}
	server, err := apiserver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, state: st, server: server}
	create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	create(c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	return c
}

// defaultRoles makes the roles and bindings that every cluster has.
func (c *cluster) defaultRoles() {
	c.t.Helper()
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespacePublic} {
		create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	if err := rbac.Reconcile(c.t.Context(), c.state); err != nil {
		c.t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
}

// ask sends one request as the administrator. Headers come as "Name: value".
func (c *cluster) ask(method, path, body string, headers ...string) answer {
	c.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer admin")
	r.Header.Set("User-Agent", "test/1")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
		if value == "" {
			r.Header.Del(name)
		}
	}
	w := httptest.NewRecorder()
	c.server.Handler().ServeHTTP(w, r)
	response := w.Result()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{response, string(b)}
}

// serve listens with TLS and HTTP/2, and returns a configuration for official clients.
func (c *cluster) serve() *rest.Config {
	c.t.Helper()
	ts := httptest.NewUnstartedServer(c.server.Handler())
	ts.EnableHTTP2 = true
	ts.StartTLS()
	c.t.Cleanup(ts.Close)
	return &rest.Config{
		Host: ts.URL, BearerToken: "admin", UserAgent: "clienttest/1", QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	}
}

func (c *cluster) clientset() *kubernetes.Clientset {
	c.t.Helper()
	config := c.serve()
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

const configMap = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c1"},"data":{"a":"1"}}`

const (
	contentJSON  = "Content-Type: application/json"
	contentMerge = "Content-Type: application/merge-patch+json"
	contentSMP   = "Content-Type: application/strategic-merge-patch+json"
	contentJPat  = "Content-Type: application/json-patch+json"
	contentApply = "Content-Type: application/apply-patch+yaml"
)

func TestOneObjectsLife(t *testing.T) {
	c := start(t)
	const all, one = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/configmaps/c1"
	for _, step := range []struct {
		method, path, body, header string
		code                       int
		want                       string
	}{
		{"POST", all, configMap, contentJSON, 201, `"data":{"a":"1"}`},
		{"POST", all, configMap, contentJSON, 409, `configmaps \"c1\" already exists`},
		{"GET", one, "", "", 200, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c1","namespace":"default"`},
		{"GET", all, "", "", 200, `"items":[{"metadata":{"name":"c1"`},
		{"PATCH", one, `{"data":{"b":"2"}}`, contentMerge, 200, `"data":{"a":"1","b":"2"}`},
		{"PATCH", one, `{"data":{"c":"3"}}`, contentSMP, 200, `"data":{"a":"1","b":"2","c":"3"}`},
		{"PATCH", one, `[{"op":"remove","path":"/data/b"}]`, contentJPat, 200, `"data":{"a":"1","c":"3"}`},
		{"PATCH", one + "?fieldManager=x", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c1"},"data":{"d":"4"}}`, contentApply, 200, `"data":{"a":"1","c":"3","d":"4"}`},
		{"PUT", one, configMap, contentJSON, 200, `"data":{"a":"1"}`},
		{"DELETE", one, "", "", 200, `"status":"Success","details":{"name":"c1","kind":"configmaps","uid":`},
		{"DELETE", one, "", "", 404, `configmaps \"c1\" not found`},
		{"GET", one, "", "", 404, `"reason":"NotFound"`},
	} {
		a := c.ask(step.method, step.path, step.body, step.header)
		if a.StatusCode != step.code || !strings.Contains(a.body, step.want) {
			t.Errorf("%s %s: %d %s\nwant %d ... %s ...", step.method, step.path, a.StatusCode, a.body, step.code, step.want)
		}
	}
}
