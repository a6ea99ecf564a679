package discovery_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"wherry/orchestrator/apiserver/discovery"
	"wherry/orchestrator/resource"
)

var extra = []discovery.Resource{
	{
		GroupVersionResource: corev1.SchemeGroupVersion.WithResource("pods"), Subresource: "log",
		Kind: corev1.SchemeGroupVersion.WithKind("Pod"), Namespaced: true, Verbs: []string{"get"},
	},
	{
		GroupVersionResource: corev1.SchemeGroupVersion.WithResource("pods"), Subresource: "eviction",
		Kind: policyv1.SchemeGroupVersion.WithKind("Eviction"), Namespaced: true, Verbs: []string{"create"},
	},
	{
		GroupVersionResource: authorizationv1.SchemeGroupVersion.WithResource("selfsubjectaccessreviews"),
		Kind:                 authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview"),
		Singular:             "selfsubjectaccessreview", Verbs: []string{"create"},
	},
}

func newHandler(t *testing.T) http.Handler {
	t.Helper()
	h, err := discovery.New(resource.New(), nil, extra...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// The client's own code must find every kind, through the one document and through many.
func TestClientFindsEveryKind(t *testing.T) {
	server := httptest.NewServer(newHandler(t))
	defer server.Close()
	client := clientdiscovery.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: server.URL})
	protobuf := clientdiscovery.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf"}})
	legacy := clientdiscovery.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: server.URL})
	legacy.UseLegacyDiscovery = true
	for name, c := range map[string]*clientdiscovery.DiscoveryClient{"aggregated": client, "legacy": legacy, "protobuf": protobuf} {
		t.Run(name, func(t *testing.T) {
			_, lists, err := c.ServerGroupsAndResources()
			if err != nil {
				t.Fatal(err)
			}
			served := map[schema.GroupVersionKind]string{}
			for _, list := range lists {
				gv, err := schema.ParseGroupVersion(list.GroupVersion)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range list.APIResources {
					if !strings.Contains(r.Name, "/") {
						served[gv.WithKind(r.Kind)] = r.Name
					}
				}
			}
			for _, k := range resource.New().All() {
				if served[k.GroupVersionKind] != k.Plural {
					t.Errorf("%v is served as %q", k.GroupVersionKind, served[k.GroupVersionKind])
				}
			}
			if _, ok := served[extra[2].Kind]; !ok {
				t.Errorf("%v is not served", extra[2].Kind)
			}
		})
	}
}

func TestUnchangedDocumentIsNotSentAgain(t *testing.T) {
	h := newHandler(t)
	first := get(h, "/apis", "Accept", aggregated)
	etag := first.Header().Get("ETag")
	if first.Code != http.StatusOK || etag == "" || first.Header().Get("Content-Type") != aggregated {
		t.Fatalf("%d %v", first.Code, first.Header())
	}
	if again := get(h, "/apis", "Accept", aggregated, "If-None-Match", etag); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("%d with %d bytes", again.Code, again.Body.Len())
	}
	if other := get(h, "/api", "Accept", aggregated, "If-None-Match", etag); other.Code != http.StatusOK {
		t.Errorf("another document: %d", other.Code)
	}
}

func TestNegotiation(t *testing.T) {
	h := newHandler(t)
	for _, test := range []struct {
		path, accept string
		code         int
		contentType  string
	}{
		{"/api", "", 200, "application/json"},
		{"/api/", "*/*", 200, "application/json"},
		{"/apis", aggregated + ",application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json", 200, aggregated},
		{"/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json", 200, "application/json"},
		{"/apis/apps/v1", aggregated + ",application/json", 200, "application/json"},
		{"/apis", "application/vnd.kubernetes.protobuf", 200, "application/vnd.kubernetes.protobuf"},
		{"/apis/apps", "application/yaml", 200, "application/yaml"},
		{"/apis/apps", "text/html", 406, "text/plain; charset=utf-8"},
		{"/apis/nothing", "application/json", 404, "text/plain; charset=utf-8"},
		{"/api/v2", "application/json", 404, "text/plain; charset=utf-8"},
	} {
		w := get(h, test.path, "Accept", test.accept)
		if w.Code != test.code || w.Header().Get("Content-Type") != test.contentType {
			t.Errorf("%s as %q: %d %s", test.path, test.accept, w.Code, w.Header().Get("Content-Type"))
		}
	}
}

func TestUnknownOwnerOfSubresource(t *testing.T) {
	_, err := discovery.New(resource.New(), nil, discovery.Resource{
		GroupVersionResource: corev1.SchemeGroupVersion.WithResource("nothing"), Subresource: "log",
	})
	if err == nil || !strings.Contains(err.Error(), "nothing/log") {
		t.Errorf("%v", err)
	}
}

// What is served must be described as Kubernetes describes it, but for hashes of storage
// that is not ours.
func TestSameAsKubernetes(t *testing.T) {
	h := newHandler(t)
	dir := kubernetes(t)
	for _, file := range []string{"api__v1", "apis__apps__v1", "apis__discovery.k8s.io__v1", "apis__coordination.k8s.io__v1", "apis__apps"} {
		t.Run(file, func(t *testing.T) {
			ours := decode(t, get(h, "/"+strings.ReplaceAll(file, "__", "/")).Body.Bytes())
			b, err := os.ReadFile(filepath.Join(dir, "api", "discovery", file+".json"))
			if err != nil {
				t.Fatal(err)
			}
			theirs := decode(t, b)
			keepServed(theirs, ours, "resources", "name")
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("Kubernetes (-), served (+):\n%s", diff)
			}
		})
	}
	b, err := os.ReadFile(filepath.Join(dir, "api", "discovery", "aggregated_v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := groupOf(t, decode(t, b), "apps"), groupOf(t, decode(t, get(h, "/apis", "Accept", aggregated).Body.Bytes()), "apps")
	keepServed(theirs, ours, "resources", "resource")
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("aggregated: Kubernetes (-), served (+):\n%s", diff)
	}
}

func kubernetes(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatalf("find Kubernetes' published documents: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func decode(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// keepServed drops from theirs what is not in ours, which must not be empty.
func keepServed(theirs, ours map[string]any, list, name string) {
	all, _ := theirs[list].([]any)
	served, _ := ours[list].([]any)
	if all == nil {
		return
	}
	theirs[list] = slices.DeleteFunc(all, func(r any) bool {
		delete(r.(map[string]any), "storageVersionHash")
		return !slices.ContainsFunc(served, func(s any) bool { return s.(map[string]any)[name] == r.(map[string]any)[name] })
	})
}

func groupOf(t *testing.T, doc map[string]any, name string) map[string]any {
	t.Helper()
	for _, item := range doc["items"].([]any) {
		g := item.(map[string]any)
		if g["metadata"].(map[string]any)["name"] == name {
			return g["versions"].([]any)[0].(map[string]any)
		}
	}
	t.Fatalf("no group %q", name)
	return nil
}
