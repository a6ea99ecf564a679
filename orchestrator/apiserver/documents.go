package apiserver

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver/discovery"
)

// documents mounts discovery and OpenAPI.
func (s *Server) documents(mux *http.ServeMux) error {
	docs, err := discovery.New(s.kinds, s.remotes, extras(s.virtual)...)
	if err != nil {
		return err
	}
	docs.Unknown = func(w http.ResponseWriter, r *http.Request) { s.unknown(w, r) }
	mux.HandleFunc("GET /{$}", s.index(docs))
	mux.HandleFunc("GET /index.html", s.index(docs))
	mux.Handle("GET /api", docs)
	mux.Handle("GET /api/", docs)
	mux.Handle("GET /apis", docs)
	mux.Handle("GET /apis/", docs)
	mux.Handle("GET /openapi/", s.openapi)
	return nil
}

// index tells what there is beside resources.
func (s *Server) index(docs *discovery.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		paths, err := docs.Paths()
		if err != nil {
			s.fail(w, r, err)
			return
		}
		paths = append(paths, "/metrics", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/version")
		if s.cfg.Tokens != nil {
			paths = append(paths, "/.well-known/openid-configuration", "/openid/v1/jwks")
		}
		if s.cfg.Profiling {
			paths = append(paths, "/debug/pprof", "/debug/pprof/profile", "/debug/pprof/symbol", "/debug/pprof/trace")
		}
		for _, endpoint := range []string{"healthz", "livez", "readyz"} {
			paths = append(paths, "/"+endpoint)
			for _, c := range s.checks(endpoint) {
				paths = append(paths, "/"+endpoint+"/"+c.Name)
			}
		}
		slices.Sort(paths)
		b, err := json.MarshalIndent(metav1.RootPaths{Paths: paths}, "", "  ")
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
	}
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
