package apiserver

import (
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// virtual is a resource that is not stored: it can only be created, and answers.
type virtual struct {
	gvr        schema.GroupVersionResource
	kind       schema.GroupVersionKind
	singular   string
	namespaced bool
	create     handler
}

var (
	reviewKind = authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview")
)

func virtuals() map[string]virtual {
	all := map[string]virtual{}
	add := func(kind schema.GroupVersionKind, namespaced bool, create handler) {
		singular := strings.ToLower(kind.Kind)
		v := virtual{gvr: kind.GroupVersion().WithResource(singular + "s"), kind: kind, singular: singular, namespaced: namespaced, create: create}
		all[v.gvr.String()] = v
	}
	add(tokenReviewKind, false, (*call).tokenReview)
	add(reviewKind, false, (*call).selfSubjectReview)
	add(selfAccessReviewKind, false, (*call).selfSubjectAccessReview)
	add(accessReviewKind, false, (*call).subjectAccessReview)
	add(localAccessReviewKind, true, (*call).localSubjectAccessReview)
	add(rulesReviewKind, false, (*call).selfSubjectRulesReview)
	add(bindingKind, true, (*call).bindings)
	return all
}

func (v virtual) find(at target) (handler, bool, error) {
	switch {
	case at.name != "" || v.namespaced != (at.namespace != ""):
		return nil, false, noResource()
	case at.verb != "create":
		return nil, false, methodNotAllowed()
	}
	return v.create, false, nil
}

// posted reads what was sent to a subresource or a virtual resource into into.
func (c *call) posted(gvk schema.GroupVersionKind, into runtime.Object) (*metav1.CreateOptions, error) {
	o, err := c.createOptions()
	if err != nil {
		return nil, err
	}
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	warnings, err := c.s.codec.decodeOther(b, gvk, into, fieldValidation(o.FieldValidation))
	c.warn(warnings...)
	return &o, err
}

// selfSubjectReview says who the caller is (kubectl auth whoami).
func (c *call) selfSubjectReview() error {
	if _, err := c.posted(reviewKind, &authenticationv1.SelfSubjectReview{}); err != nil {
		return err
	}
	review := &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: *c.user.Info()},
	}
	return c.other(http.StatusCreated, review, reviewKind)
}
