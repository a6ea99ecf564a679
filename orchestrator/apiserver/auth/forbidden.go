package auth

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// unhtml keeps browsers from reading a message as HTML.
var unhtml = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// Forbidden is the 403 Status for a request that was not allowed, worded as Kubernetes does.
func Forbidden(a *Attributes, reason string) error {
	message := unhtml.Replace(describe(a))
	if reason != "" {
		message += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Plural}, a.Name, errors.New(message))
}

func describe(a *Attributes) string {
	if !a.Resource {
		return fmt.Sprintf("User %q cannot %s path %q", a.User.Name, a.Verb, a.Path)
	}
	resource := a.Plural
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	what := fmt.Sprintf("User %q cannot %s resource %q in API group %q", a.User.Name, a.Verb, resource, a.Group)
	if a.Namespace != "" {
		return fmt.Sprintf("%s in the namespace %q", what, a.Namespace)
	}
	return what + " at the cluster scope"
}
