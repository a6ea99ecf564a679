package oracle

import (
	"os"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// TestCustom defines custom resources on both sides and takes objects of them through their lives.
func TestCustom(t *testing.T) {
	data, err := os.ReadFile("testdata/definitions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := pair.Case(t.Context())
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		text, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		if string(text) == "null" {
			continue
		}
		both, err := c.Ask(Request{Method: "POST", Path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", Body: string(text)})
		if err != nil {
			t.Fatal(err)
		}
		if !both.OK() {
			t.Fatalf("not defined: %v", both.Theirs)
		}
	}
	seeds := awaitCustom(t)
	for _, path := range []string{"/apis/oracle.example.com", "/apis/oracle.example.com/v1", "/apis/oracle.example.com/v1beta1", "/openapi/v3/apis/oracle.example.com/v1",
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.oracle.example.com"} {
		if _, err := c.Ask(Request{Method: "GET", Path: path}); err != nil {
			t.Fatal(err)
		}
	}
	live(t, seeds)
}

// awaitCustom returns when both servers serve all custom resources and kube-apiserver publishes their schemas.
func awaitCustom(t *testing.T) []Seed {
	t.Helper()
	for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		seeds, missing, err := pair.seeds(t.Context(), "testdata/custom.yaml")
		if err == nil && len(missing) == 0 && published(t, seeds) {
			return seeds
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("the custom resources are not served everywhere: %v %v", missing, err)
		}
	}
}

func published(t *testing.T, seeds []Seed) bool {
	for _, s := range seeds {
		schemas, err := pair.schemas(t.Context(), s.GroupVersion)
		if err != nil {
			return false
		}
		if _, ok := schemas.kind(s.gvk()); !ok {
			return false
		}
	}
	return true
}
