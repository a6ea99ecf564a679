package apiserver

import (
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/resource"
)

// virtual is a resource that is not stored: reviews, which are created and answer, and what is measured.
type virtual struct {
	gvr        schema.GroupVersionResource
	kind       schema.GroupVersionKind
	singular   string
	namespaced bool
	doors      map[string]handler // by verb
	shown      *resource.Kind     // how its objects look; nil: as they are
}

var (
	reviewKind = authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview")
)

func virtuals() map[string]virtual {
	all := map[string]virtual{}
	add := func(kind schema.GroupVersionKind, namespaced bool, create handler) {
		singular := strings.ToLower(kind.Kind)
		v := virtual{gvr: kind.GroupVersion().WithResource(singular + "s"), kind: kind, singular: singular, namespaced: namespaced, doors: map[string]handler{"create": create}}
		all[v.gvr.String()] = v
	}
	add(tokenReviewKind, false, (*call).tokenReview)
	add(reviewKind, false, (*call).selfSubjectReview)
	add(selfAccessReviewKind, false, (*call).selfSubjectAccessReview)
	add(accessReviewKind, false, (*call).subjectAccessReview)
	add(localAccessReviewKind, true, (*call).localSubjectAccessReview)
	add(rulesReviewKind, false, (*call).selfSubjectRulesReview)
	add(bindingKind, true, (*call).bindings)
	for _, v := range []virtual{
		{kind: nodeMetrics.GroupVersionKind, shown: nodeMetrics, doors: map[string]handler{"get": (*call).nodeMetrics, "list": (*call).allNodeMetrics}},
		{kind: podMetrics.GroupVersionKind, shown: podMetrics, namespaced: true, doors: map[string]handler{"get": (*call).podMetrics, "list": (*call).allPodMetrics}},
	} {
		v.gvr = v.shown.GroupVersionResource()
		all[v.gvr.String()] = v
	}
	return all
}

// find chooses what answers. Only lists go over all namespaces, and only what can be got has a name.
func (v virtual) find(at target) (handler, bool, error) {
	everywhere := v.namespaced && at.namespace == "" && at.name == "" && v.doors["list"] != nil
	if at.name != "" && v.doors["get"] == nil || v.namespaced != (at.namespace != "") && !everywhere {
		return nil, false, noResource()
	}
	handle, ok := v.doors[at.verb]
	if !ok || everywhere && at.verb != "list" {
		return nil, false, methodNotAllowed()
	}
	return handle, false, nil
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
