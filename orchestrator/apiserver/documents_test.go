package apiserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"wherry/orchestrator/apiserver/openapi"
	"wherry/orchestrator/resource"
)

// What is served beyond the stored kinds must be described too, and nothing that is not.
func TestExtrasAreDescribed(t *testing.T) {
	docs, err := openapi.New(resource.New())
	if err != nil {
		t.Fatal(err)
	}
	methods := map[string]string{"create": "post", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}
	for _, e := range extras(virtuals()) {
		if e.Group == metricsv1beta1.GroupName {
			continue // no part of what Kubernetes publishes
		}
		base := "/apis/" + e.GroupVersion().String()
		if e.Group == "" {
			base = "/api/" + e.Version
		}
		w := httptest.NewRecorder()
		docs.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi/v3"+base, nil))
		var doc struct {
			Paths map[string]map[string]any
		}
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Fatalf("%s: %v", base, err)
		}
		if e.Namespaced {
			base += "/namespaces/{namespace}"
		}
		path := base + "/" + e.Resource
		if e.Subresource != "" {
			path += "/{name}/" + e.Subresource
		}
		for _, verb := range e.Verbs {
			if doc.Paths[path][methods[verb]] == nil {
				t.Errorf("%s of %s is not described", verb, path)
			}
		}
	}
}
