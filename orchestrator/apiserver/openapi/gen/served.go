package main

import (
	"slices"
	"strings"

	"wherry/orchestrator/resource"
)

// served knows what of Kubernetes' API there is.
type served struct {
	kinds map[string]*resource.Kind // by path of the collection without namespace, as in apis/apps/v1/deployments
}

// actions are subresources that do something, by path as above. The apiserver implements them, or refuses
// with the reason; a test of its own compares.
var actions = map[string]bool{
	"api/v1/nodes/proxy":           true,
	"api/v1/pods/attach":           true,
	"api/v1/pods/binding":          true,
	"api/v1/pods/eviction":         true,
	"api/v1/pods/exec":             true,
	"api/v1/pods/log":              true,
	"api/v1/pods/portforward":      true,
	"api/v1/pods/proxy":            true,
	"api/v1/serviceaccounts/token": true,
	"api/v1/services/proxy":        true,
}

// notStored are resources that answer and keep nothing.
var notStored = map[string]bool{
	"api/v1/bindings": true,
	"apis/authentication.k8s.io/v1/tokenreviews":             true,
	"apis/authentication.k8s.io/v1/selfsubjectreviews":       true,
	"apis/authorization.k8s.io/v1/localsubjectaccessreviews": true,
	"apis/authorization.k8s.io/v1/selfsubjectaccessreviews":  true,
	"apis/authorization.k8s.io/v1/selfsubjectrulesreviews":   true,
	"apis/authorization.k8s.io/v1/subjectaccessreviews":      true,
}

func newServed() *served {
	s := &served{kinds: map[string]*resource.Kind{}}
	for _, k := range resource.New().All() {
		base := "apis/" + k.Group + "/"
		if k.Group == "" {
			base = "api/"
		}
		s.kinds[base+k.Version+"/"+k.Plural] = k
	}
	return s
}

// documents are the names of the OpenAPI 3 documents, as in apis/apps/v1.
func (s *served) documents() []string {
	names := []string{"api", "apis", "version"}
	add := func(path string) {
		gv := path[:strings.LastIndex(path, "/")]
		names = append(names, gv)
		if group := gv[:strings.LastIndex(gv, "/")]; group != "api" {
			names = append(names, group)
		}
	}
	for path := range s.kinds {
		add(path)
	}
	for path := range notStored {
		add(path)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// path says whether a path of the documents is served at all.
func (s *served) path(path string) bool {
	path = strings.Trim(path, "/")
	if path == "version" || slices.Contains(s.documents(), path) {
		return true
	}
	collection, subresource := s.split(path)
	k, stored := s.kinds[collection]
	switch {
	case notStored[collection]:
		return subresource == ""
	case !stored:
		return false
	case subresource == "":
		return true
	default:
		return actions[collection+"/"+subresource] || k.Subresources[subresource] != nil
	}
}

// split reads api/v1/[watch/][namespaces/{namespace}/]pods[/{name}[/log[/{path}]]].
func (s *served) split(path string) (collection, subresource string) {
	parts := strings.Split(path, "/")
	base := 2
	if parts[0] == "apis" {
		base = 3
	}
	if len(parts) <= base {
		return path, ""
	}
	gv, rest := strings.Join(parts[:base], "/"), parts[base:]
	if rest[0] == "watch" && len(rest) > 1 {
		rest = rest[1:]
	}
	if len(rest) > 2 && rest[1] == "{namespace}" {
		rest = rest[2:]
	}
	if len(rest) > 2 {
		subresource = rest[2]
	}
	return gv + "/" + rest[0], subresource
}

// operation says whether an action of the documents (get, list, post, deletecollection...) on a path is served.
func (s *served) operation(path, action string) bool {
	collection, subresource := s.split(strings.Trim(path, "/"))
	k, stored := s.kinds[collection]
	if !stored || actions[collection+"/"+subresource] {
		return true
	}
	verbs := k.Verbs
	if subresource != "" {
		verbs = k.Subresources[subresource].Verbs
	}
	verb := map[string]string{"post": "create", "put": "update", "watchlist": "watch"}[action]
	if verb == "" {
		verb = action
	}
	return verbs == nil || slices.Contains(verbs, verb)
}
