package apiserver

import (
	"net/http"

	"wherry/orchestrator/apiserver/auth"
)

// ReadImpersonation is readImpersonation for tests: what is judged, as text.
func ReadImpersonation(h http.Header) (*auth.User, []string, error) {
	user, parts, err := readImpersonation(h)
	var judged []string
	for _, p := range parts {
		judged = append(judged, p.attributes.Plural+"/"+p.attributes.Subresource+" "+p.attributes.Name)
	}
	return user, judged, err
}
