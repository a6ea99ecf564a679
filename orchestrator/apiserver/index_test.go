package apiserver_test

import (
	"encoding/json"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestIndex(t *testing.T) {
	c := start(t)
	var index metav1.RootPaths
	if a := c.ask("GET", "/", ""); a.StatusCode != 200 || json.Unmarshal([]byte(a.body), &index) != nil || !slices.IsSorted(index.Paths) {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for _, want := range []string{"/api", "/api/v1", "/apis/", "/apis/apps", "/apis/apps/v1", "/apis/metrics.k8s.io/v1beta1", "/livez/ping", "/metrics", "/openapi/v3", "/version"} {
		if !slices.Contains(index.Paths, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, path := range index.Paths {
		if a := c.ask("GET", path, ""); a.StatusCode != 200 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
}
