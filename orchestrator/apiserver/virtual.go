package apiserver

import (
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/apiserver/auth"
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
	reviewKind       = authenticationv1.SchemeGroupVersion.WithKind("SelfSubjectReview")
	accessReviewKind = authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview")
	rulesReviewKind  = authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectRulesReview")
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
	add(accessReviewKind, false, (*call).selfSubjectAccessReview)
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
	review := &authenticationv1.SelfSubjectReview{}
	if _, err := c.posted(reviewKind, review); err != nil {
		return err
	}
	review.CreationTimestamp = metav1.Now()
	review.Status.UserInfo = *c.user.Info()
	return c.other(http.StatusCreated, review, reviewKind)
}

// selfSubjectAccessReview says whether the caller may do something (kubectl auth can-i).
func (c *call) selfSubjectAccessReview() error {
	review := &authorizationv1.SelfSubjectAccessReview{}
	if _, err := c.posted(accessReviewKind, review); err != nil {
		return err
	}
	attributes, err := c.asked(review.Spec)
	if err != nil {
		return err
	}
	decision, reason, err := c.s.cfg.Authorizer.Authorize(c.ctx(), attributes)
	review.Status = authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == auth.Allow, Denied: decision == auth.Deny, Reason: reason}
	if err != nil {
		review.Status.EvaluationError = err.Error()
	}
	return c.other(http.StatusCreated, review, accessReviewKind)
}

func (c *call) asked(spec authorizationv1.SelfSubjectAccessReviewSpec) (*auth.Attributes, error) {
	switch resource, path := spec.ResourceAttributes, spec.NonResourceAttributes; {
	case (resource == nil) == (path == nil):
		return nil, apierrors.NewBadRequest("exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be specified")
	case path != nil:
		return &auth.Attributes{User: c.user, Verb: path.Verb, Path: path.Path}, nil
	default:
		return &auth.Attributes{
			User: c.user, Resource: true, Verb: resource.Verb, Group: resource.Group, Version: resource.Version,
			Plural: resource.Resource, Subresource: resource.Subresource, Namespace: resource.Namespace, Name: resource.Name,
		}, nil
	}
}

// selfSubjectRulesReview lists what the caller may do (kubectl auth can-i --list).
func (c *call) selfSubjectRulesReview() error {
	review := &authorizationv1.SelfSubjectRulesReview{}
	if _, err := c.posted(rulesReviewKind, review); err != nil {
		return err
	}
	if review.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	rules, err := c.s.cfg.Authorizer.Rules(c.ctx(), c.user, review.Spec.Namespace)
	if err != nil {
		return err
	}
	status := authorizationv1.SubjectRulesReviewStatus{
		Incomplete: rules.Incomplete, ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	for _, r := range rules.Resources {
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: r.Verbs, APIGroups: r.Groups, Resources: r.Resources, ResourceNames: r.Names})
	}
	for _, r := range rules.Paths {
		status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: r.Verbs, NonResourceURLs: r.Paths})
	}
	review.Status = status
	return c.other(http.StatusCreated, review, rulesReviewKind)
}
