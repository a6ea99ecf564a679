package apiserver

import (
	"maps"
	"net/http"
	"slices"

	"wherry/orchestrator/apiserver/discovery"
)

// documents mounts discovery and OpenAPI.
func (s *Server) documents(mux *http.ServeMux) error {
	docs, err := discovery.New(s.kinds, extras(s.virtual)...)
	if err != nil {
		return err
	}
	mux.Handle("GET /api", docs)
	mux.Handle("GET /api/", docs)
	mux.Handle("GET /apis", docs)
	mux.Handle("GET /apis/", docs)
	mux.Handle("GET /openapi/", s.openapi)
	return nil
}

// extras is what is served beyond the stored kinds.
func extras(virtual map[string]virtual) []discovery.Resource {
	var all []discovery.Resource
	for _, a := range actions {
		all = append(all, discovery.Resource{
			GroupVersionResource: a.of, Subresource: a.name, Kind: a.kind, Namespaced: a.of != nodes,
			Verbs: slices.Sorted(maps.Keys(a.doors)),
		})
	}
	for _, v := range virtual {
		all = append(all, discovery.Resource{
			GroupVersionResource: v.gvr, Kind: v.kind, Singular: v.singular, Namespaced: v.namespaced, Verbs: slices.Sorted(maps.Keys(v.doors)),
		})
	}
	return all
}
