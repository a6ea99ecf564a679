package apiserver

import (
	"net/http"
	"strings"
)

// target is what a request is for, read from its method and path alone.
//
//	/api/v1/namespaces/NS/pods/NAME/log     the core group, namespaced, a subresource
//	/apis/apps/v1/deployments               another group, over all namespaces
//	/api/v1/watch/...                       the older way to say ?watch=true
//	/healthz, /api/v1, /openapi/v3/...      not a resource
type target struct {
	resource bool
	verb     string // get list watch create update patch delete deletecollection; for others the lower-case method
	path     string

	group, version string
	namespace      string
	plural         string
	name           string
	subresource    string
	rest           string // what follows the subresource, without the leading slash
	forceWatch     bool
}

var verbs = map[string]string{
	http.MethodGet: "get", http.MethodHead: "get", http.MethodPost: "create",
	http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
}

// namespaceSubresources are told apart from resources in a namespace of that name.
var namespaceSubresources = map[string]bool{"status": true, "finalize": true}

func parseTarget(r *http.Request) target {
	t := target{path: r.URL.Path, verb: strings.ToLower(r.Method)}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) >= 3:
		t.version, parts = parts[1], parts[2:]
	case parts[0] == "apis" && len(parts) >= 4:
		t.group, t.version, parts = parts[1], parts[2], parts[3:]
	default:
		return t
	}
	t.resource, t.verb = true, verbs[r.Method]
	if parts[0] == "watch" && len(parts) > 1 {
		t.forceWatch, parts = true, parts[1:]
	}
	t.take(parts)
	t.collection(r)
	return t
}

// take reads [namespaces/NS/]plural[/name[/subresource[/rest]]].
func (t *target) take(parts []string) {
	if parts[0] == "namespaces" && len(parts) > 1 {
		t.namespace = parts[1]
		if len(parts) > 2 && !namespaceSubresources[parts[2]] {
			parts = parts[2:]
		}
	}
	fields := []*string{&t.plural, &t.name, &t.subresource}
	for i, part := range parts {
		if i == len(fields) {
			t.rest = strings.Join(parts[i:], "/")
			return
		}
		*fields[i] = part
	}
}

// collection turns the verbs for one object into those for many.
func (t *target) collection(r *http.Request) {
	switch {
	case t.forceWatch && t.verb == "get":
		t.verb = "watch"
	case t.name != "":
	case t.verb == "delete":
		t.verb = "deletecollection"
	case t.verb == "get" && truthy(r.URL.Query()["watch"]):
		t.verb = "watch"
	case t.verb == "get":
		t.verb = "list"
	}
}

// truthy reads a boolean query parameter as Kubernetes does: present and not false or 0.
func truthy(values []string) bool {
	return len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}
