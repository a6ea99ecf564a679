package apiserver

import "net/http"

// documents mounts discovery and OpenAPI.
func (s *Server) documents(mux *http.ServeMux) error {
	return nil
}
