package oracle

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestDiscovery compares what both say of themselves.
func TestDiscovery(t *testing.T) {
	c := pair.Case(t.Context())
	for _, accept := range []string{"application/json", longhand.Replace("AGGDISC"), "application/yaml"} {
		for _, path := range []string{"/api", "/apis", "/api/v1"} {
			if _, err := c.Ask(Request{Method: http.MethodGet, Path: path, Header: map[string]string{"Accept": accept}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, err := pair.Theirs.Do(t.Context(), Request{Method: http.MethodGet, Path: "/apis"})
	if err != nil {
		t.Fatal(err)
	}
	var groups struct {
		Groups []struct {
			Name     string
			Versions []struct{ GroupVersion string }
		}
	}
	if err := json.Unmarshal(a.Body, &groups); err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		c := pair.Case(t.Context())
		paths := []string{"/apis/" + g.Name}
		for _, v := range g.Versions {
			paths = append(paths, "/apis/"+v.GroupVersion)
		}
		for _, path := range paths {
			if _, err := c.Ask(Request{Method: http.MethodGet, Path: path}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestOpenAPI compares the documents of version 3 that both publish.
func TestOpenAPI(t *testing.T) {
	var published [2]struct{ Paths map[string]any }
	for i, s := range []*Server{pair.Theirs, pair.Ours} {
		a, err := s.Do(t.Context(), Request{Method: http.MethodGet, Path: "/openapi/v3"})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(a.Body, &published[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(published[0].Paths)) {
		if published[1].Paths[path] == nil {
			t.Logf("ours publishes nothing at %s", path)
			continue
		}
		if _, err := pair.Case(t.Context()).Ask(Request{Method: http.MethodGet, Path: "/openapi/v3/" + path}); err != nil {
			t.Fatal(err)
		}
	}
}
