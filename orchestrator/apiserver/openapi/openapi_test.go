package openapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	clientdiscovery "k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	explain "k8s.io/kubectl/pkg/explain/v2"

	"wherry/orchestrator/apiserver/openapi"
	"wherry/orchestrator/resource"
)

func newDocuments(t testing.TB) *openapi.Documents {
	t.Helper()
	d, err := openapi.New(resource.New())
	if err != nil {
		t.Fatal(err)
	}
	return d
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

func client(t *testing.T) *clientdiscovery.DiscoveryClient {
	t.Helper()
	server := httptest.NewServer(newDocuments(t))
	t.Cleanup(server.Close)
	return clientdiscovery.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: server.URL})
}

type v3Document struct {
	Info       struct{ Version string }
	Paths      map[string]map[string]any
	Components struct {
		Schemas map[string]struct {
			GVKs []schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
		}
	}
}

func document(t *testing.T, h http.Handler, gv schema.GroupVersion) (d v3Document) {
	t.Helper()
	path := "apis/" + gv.String()
	if gv.Group == "" {
		path = "api/" + gv.Version
	}
	w := get(h, "/openapi/v3/"+path)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d", path, w.Code)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// The generated files must follow the registry: every kind, verb and subresource is described.
func TestEveryKindIsDescribed(t *testing.T) {
	h := newDocuments(t)
	read := map[schema.GroupVersion]v3Document{}
	for _, k := range resource.New().All() {
		t.Run(k.Kind, func(t *testing.T) {
			d, ok := read[k.GroupVersion()]
			if !ok {
				d = document(t, h, k.GroupVersion())
				read[k.GroupVersion()] = d
			}
			if d.Info.Version != "v1.36.3" {
				t.Errorf("version %s", d.Info.Version)
			}
			described := false
			for _, s := range d.Components.Schemas {
				for _, gvk := range s.GVKs {
					described = described || gvk == k.GroupVersionKind
				}
			}
			if !described {
				t.Error("no schema")
			}
			base := "/apis/" + k.GroupVersion().String()
			if k.Group == "" {
				base = "/api/v1"
			}
			if k.Namespaced {
				base += "/namespaces/{namespace}"
			}
			collection, item := d.Paths[base+"/"+k.Plural], d.Paths[base+"/"+k.Plural+"/{name}"]
			if k.Verbs != nil && !slices.Contains(k.Verbs, "create") {
				if collection["get"] == nil || item["get"] == nil || len(collection)+len(item) > 4 { // and parameters
					t.Errorf("%d operations of what is only read", len(collection)+len(item))
				}
				return
			}
			if collection["post"] == nil || collection["get"] == nil || (collection["delete"] != nil) != (k.Verbs == nil) {
				t.Errorf("the collection has %d operations", len(collection))
			}
			for _, method := range []string{"get", "put", "patch", "delete"} {
				if item[method] == nil {
					t.Errorf("no %s of one object", method)
				}
			}
			for name := range k.Subresources {
				if d.Paths[base+"/"+k.Plural+"/{name}/"+name]["put"] == nil {
					t.Errorf("no path for %s", name)
				}
			}
		})
	}
}

func TestNothingElseIsDescribed(t *testing.T) {
	d := document(t, newDocuments(t), schema.GroupVersion{Version: "v1"})
	for path := range d.Paths {
		for _, absent := range []string{"/nodes/{name}/log", "/services/{name}/token"} {
			if strings.Contains(path, absent) {
				t.Errorf("%s", path)
			}
		}
	}
	for _, present := range []string{"/api/v1/namespaces/{namespace}/pods/{name}/log", "/api/v1/watch/namespaces/{namespace}/pods/{name}", "/api/v1/namespaces/{name}/finalize", "/api/v1/namespaces/{namespace}/bindings"} {
		if d.Paths[present] == nil {
			t.Errorf("no %s", present)
		}
	}
}

func TestClientReadsVersion2(t *testing.T) {
	doc, err := client(t).OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, d := range doc.GetDefinitions().GetAdditionalProperties() {
		names[d.GetName()] = true
	}
	for _, want := range []string{"io.k8s.api.core.v1.Pod", "io.k8s.api.apps.v1.DeploymentSpec", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"} {
		if !names[want] {
			t.Errorf("no definition %s", want)
		}
	}
	if names["io.k8s.api.resource.v1.ResourceClaim"] {
		t.Error("a kind is described that is not served")
	}
}

// kubectl explain, by kubectl's own code.
func TestExplain(t *testing.T) {
	c := client(t).OpenAPIV3()
	for _, test := range []struct {
		resource schema.GroupVersionResource
		path     []string
		want     string
	}{
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, []string{"spec", "replicas"}, "Number of desired pods"},
		{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, []string{"spec", "containers", "ports", "containerPort"}, "Number of port to expose"},
		{schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, nil, "ConfigMap holds configuration data"},
	} {
		var out bytes.Buffer
		if err := explain.PrintModelDescription(test.path, &out, c, test.resource, false, "plaintext"); err != nil {
			t.Errorf("%v: %v", test.resource, err)
		} else if !strings.Contains(out.String(), test.want) {
			t.Errorf("%v %v:\n%s", test.resource, test.path, &out)
		}
	}
}

func TestAddressesChangeWithTheirDocuments(t *testing.T) {
	h := newDocuments(t)
	w := get(h, "/openapi/v3")
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	url := index.Paths["apis/apps/v1"].ServerRelativeURL
	if doc := get(h, url); doc.Code != http.StatusOK || !strings.Contains(doc.Header().Get("Cache-Control"), "immutable") || doc.Header().Get("Expires") == "" {
		t.Errorf("%s: %d %v", url, doc.Code, doc.Header())
	}
	if old := get(h, "/openapi/v3/apis/apps/v1?hash=OLD"); old.Code != http.StatusMovedPermanently || old.Header().Get("Location") != url {
		t.Errorf("an old address: %d to %s", old.Code, old.Header().Get("Location"))
	}
	if again := get(h, "/openapi/v3", "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified {
		t.Errorf("the index again: %d", again.Code)
	}
	doc := get(h, "/openapi/v2")
	if again := get(h, "/openapi/v2", "If-None-Match", doc.Header().Get("ETag")); again.Code != http.StatusNotModified {
		t.Errorf("version 2 again: %d", again.Code)
	}
}

func TestPackedAndPlainAreTheSame(t *testing.T) {
	h := newDocuments(t)
	for _, path := range []string{"/openapi/v3/api/v1", "/openapi/v2"} {
		plain, packed := get(h, path), get(h, path, "Accept-Encoding", "gzip;q=1.0, identity")
		if plain.Header().Get("Content-Encoding") != "" || packed.Header().Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s: %q and %q", path, plain.Header().Get("Content-Encoding"), packed.Header().Get("Content-Encoding"))
		}
		z, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatal(err)
		}
		unpacked, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(unpacked, plain.Body.Bytes()) {
			t.Errorf("%s: differ, %v", path, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := newDocuments(t)
	for _, test := range []struct {
		path, accept string
		code         int
	}{
		{"/openapi/v3/apis/resource.k8s.io/v1", "", 404},
		{"/openapi/v4", "", 404},
		{"/openapi/v3/api/v1", "text/html", 406},
		{"/openapi/v2", "text/html", 406},
		{"/openapi/v2/", "text/html, */*;q=0.1", 200},
	} {
		if w := get(h, test.path, "Accept", test.accept); w.Code != test.code {
			t.Errorf("%s as %q: %d", test.path, test.accept, w.Code)
		}
	}
}

// Values that a property may have are listed as kube-apiserver lists them, in both versions.
func TestKnownValuesAreListed(t *testing.T) {
	h := newDocuments(t)
	for path, section := range map[string]string{"/openapi/v3/apis/networking.k8s.io/v1": "schemas", "/openapi/v2": ""} {
		var doc struct {
			Definitions map[string]any
			Components  map[string]map[string]any
		}
		if err := json.Unmarshal(get(h, path, "Accept", "application/json").Body.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		all := doc.Definitions
		if section != "" {
			all = doc.Components[section]
		}
		ingress := all["io.k8s.api.networking.v1.HTTPIngressPath"].(map[string]any)["properties"].(map[string]any)
		kind, err := json.Marshal(ingress["pathType"])
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"enum":["Exact","ImplementationSpecific","Prefix"]`, "Possible enum values:"} {
			if !strings.Contains(string(kind), want) {
				t.Errorf("%s: %s is not in %s", path, want, kind)
			}
		}
	}
}
