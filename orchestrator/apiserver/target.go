package apiserver

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/apiserver/aggregate"
	"wherry/orchestrator/apiserver/auth"
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
	// What a list, watch or deletecollection says that it selects by.
	fields, labels string
	// remote answers the group and version in our place; nil: nobody does.
	remote *aggregate.Server
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
	var query url.Values
	if r.URL.RawQuery != "" {
		query = r.URL.Query()
	}
	defer t.selects(query)
	switch {
	case t.forceWatch && t.verb == "get":
		t.verb = "watch"
	case t.name != "":
	case t.verb == "delete":
		t.verb = "deletecollection"
	case t.verb == "get" && truthy(query["watch"]):
		t.verb = "watch"
	case t.verb == "get":
		t.verb = "list"
	}
}

func (t *target) selects(query url.Values) {
	if query == nil || t.verb != "list" && t.verb != "watch" && t.verb != "deletecollection" {
		return
	}
	t.fields, t.labels = query.Get("fieldSelector"), query.Get("labelSelector")
}

// attributes are what an authorizer is asked. Selectors that cannot be read are refused later, and
// until then select everything. One that names a single object is as good as its name in the path.
func (t target) attributes(user *auth.User) *auth.Attributes {
	a := &auth.Attributes{User: user, Verb: t.verb, Resource: t.resource}
	if !t.resource {
		a.Path = t.path
		return a
	}
	a.Group, a.Version, a.Plural, a.Subresource = t.group, t.version, t.plural, t.subresource
	a.Namespace, a.Name = t.namespace, t.name
	if t.labels != "" {
		if selector, err := labels.Parse(t.labels); err == nil {
			a.Labels, _ = selector.Requirements()
		}
	}
	if t.fields == "" {
		return a
	}
	if selector, err := fields.ParseSelector(t.fields); err == nil {
		a.Fields = selector.Requirements()
		if name, exact := selector.RequiresExactMatch("metadata.name"); exact && a.Name == "" && t.verb != "deletecollection" && len(path.IsValidPathSegmentName(name)) == 0 {
			a.Name = name
		}
	}
	return a
}

// truthy reads a boolean query parameter as Kubernetes does: present and not false or 0.
func truthy(values []string) bool {
	return len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}
