package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/apiserver/auth"
)

// The reviews of authorization.k8s.io: may somebody do something, and what may the caller do?
var (
	selfAccessReviewKind  = authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview")
	accessReviewKind      = authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview")
	localAccessReviewKind = authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview")
	rulesReviewKind       = authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectRulesReview")
)

// selfSubjectAccessReview says whether the caller may do something (kubectl auth can-i).
func (c *call) selfSubjectAccessReview() error {
	review := &authorizationv1.SelfSubjectAccessReview{}
	if _, err := c.posted(selfAccessReviewKind, review); err != nil {
		return err
	}
	errs := checkAsked(review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	if err := invalidReview(append(errs, checkReviewMeta(review.ObjectMeta, "must be empty")...)); err != nil {
		return err
	}
	review.Status = c.judge(c.user, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	return c.other(http.StatusCreated, review, selfAccessReviewKind)
}

// subjectAccessReview says whether anybody may do something.
func (c *call) subjectAccessReview() error {
	review := &authorizationv1.SubjectAccessReview{}
	if _, err := c.posted(accessReviewKind, review); err != nil {
		return err
	}
	errs := checkSubject(&review.Spec)
	if err := invalidReview(append(errs, checkReviewMeta(review.ObjectMeta, "must be empty")...)); err != nil {
		return err
	}
	review.Status = c.judge(subjectOf(&review.Spec), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	return c.other(http.StatusCreated, review, accessReviewKind)
}

// localSubjectAccessReview says whether anybody may do something in one namespace.
func (c *call) localSubjectAccessReview() error {
	review := &authorizationv1.LocalSubjectAccessReview{}
	if _, err := c.posted(localAccessReviewKind, review); err != nil {
		return err
	}
	if err := c.place(review); err != nil {
		return err
	}
	if err := invalidReview(checkLocal(review)); err != nil {
		return err
	}
	review.Status = c.judge(subjectOf(&review.Spec), review.Spec.ResourceAttributes, nil)
	return c.other(http.StatusCreated, review, localAccessReviewKind)
}

// judge asks the authorizer; exactly one of resource and path is set.
func (c *call) judge(user *auth.User, resource *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	var problems []string
	a := &auth.Attributes{User: user}
	if path != nil {
		a.Verb, a.Path = path.Verb, path.Path
	} else {
		problems = askResource(a, resource)
	}
	decision, reason, err := c.s.cfg.Authorizer.Authorize(c.ctx(), a)
	if err != nil {
		problems = append([]string{err.Error()}, problems...)
	}
	return authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == auth.Allow, Denied: decision == auth.Deny, Reason: reason, EvaluationError: strings.Join(problems, "; ")}
}

// askResource fills in what is asked about, and says which selectors could not be read in full.
func askResource(a *auth.Attributes, r *authorizationv1.ResourceAttributes) (problems []string) {
	a.Resource, a.Verb, a.Group, a.Version = true, r.Verb, r.Group, r.Version
	a.Plural, a.Subresource, a.Namespace, a.Name = r.Resource, r.Subresource, r.Namespace, r.Name
	if a.Version == "" {
		a.Version = "*"
	}
	ignored := func(which string, some bool) {
		how := "ignored"
		if some {
			how = "partially ignored"
		}
		problems = append(problems, fmt.Sprintf("spec.resourceAttributes.%s %s due to parse error", which, how))
	}
	var err error
	if a.Fields, err = askFields(r.FieldSelector); err != nil {
		ignored("fieldSelector", len(a.Fields) > 0)
	}
	if a.Labels, err = askLabels(r.LabelSelector); err != nil {
		ignored("labelSelector", len(a.Labels) > 0)
	}
	return problems
}

// askFields reads a selector by fields. What it cannot read it leaves out, with an error: all
// requirements hold together, so that fewer of them ask about more.
func askFields(s *authorizationv1.FieldSelectorAttributes) (all fields.Requirements, err error) {
	if s == nil {
		return nil, nil
	}
	if s.RawSelector != "" {
		selector, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return selector.Requirements(), nil
	}
	operators := map[metav1.FieldSelectorOperator]selection.Operator{metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals}
	for _, r := range s.Requirements {
		operator, known := operators[r.Operator]
		if !known || len(r.Values) != 1 {
			err = errors.New("fields are selected by one value, In or NotIn")
			continue
		}
		all = append(all, fields.Requirement{Field: r.Key, Operator: operator, Value: r.Values[0]})
	}
	return all, err
}

func askLabels(s *authorizationv1.LabelSelectorAttributes) (all labels.Requirements, err error) {
	if s == nil {
		return nil, nil
	}
	if s.RawSelector != "" {
		selector, err := labels.Parse(s.RawSelector)
		if err != nil {
			return nil, err
		}
		all, _ := selector.Requirements()
		return all, nil
	}
	for _, r := range s.Requirements {
		one, failed := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}})
		if failed != nil {
			err = failed
			continue
		}
		requirements, _ := one.Requirements()
		all = append(all, requirements...)
	}
	return all, err
}

func subjectOf(spec *authorizationv1.SubjectAccessReviewSpec) *auth.User {
	user := &auth.User{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
	for key, values := range spec.Extra {
		if user.Extra == nil {
			user.Extra = map[string][]string{}
		}
		user.Extra[key] = values
	}
	return user
}

// selfSubjectRulesReview lists what the caller may do (kubectl auth can-i --list).
func (c *call) selfSubjectRulesReview() error {
	asked := &authorizationv1.SelfSubjectRulesReview{}
	if _, err := c.posted(rulesReviewKind, asked); err != nil {
		return err
	}
	if asked.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	status, err := c.rules(c.ctx(), asked.Spec.Namespace)
	if err != nil {
		return err
	}
	return c.other(http.StatusCreated, &authorizationv1.SelfSubjectRulesReview{Status: status}, rulesReviewKind)
}

func (c *call) rules(ctx context.Context, namespace string) (authorizationv1.SubjectRulesReviewStatus, error) {
	status := authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	rules, err := c.s.cfg.Authorizer.Rules(ctx, c.user, namespace)
	if err != nil {
		return status, err
	}
	for _, r := range rules.Resources {
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: r.Verbs, APIGroups: r.Groups, Resources: r.Resources, ResourceNames: r.Names})
	}
	for _, r := range rules.Paths {
		status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: r.Verbs, NonResourceURLs: r.Paths})
	}
	if rules.Problem != nil {
		status.EvaluationError = rules.Problem.Error()
	}
	status.Incomplete = rules.Incomplete
	return status, nil
}

// invalidReview is the 422 Status of a review; nil if there are no errors.
func invalidReview(errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName}, "", errs)
}

func checkLocal(review *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := checkSubject(&review.Spec)
	meta := review.ObjectMeta
	meta.Namespace = ""
	errs = append(errs, checkReviewMeta(meta, "must be empty except for namespace")...)
	if r := review.Spec.ResourceAttributes; r != nil && r.Namespace != review.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), r.Namespace, "must match metadata.namespace"))
	}
	if path := review.Spec.NonResourceAttributes; path != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), path, "disallowed on this kind of request"))
	}
	return errs
}

func checkReviewMeta(meta metav1.ObjectMeta, why string) field.ErrorList {
	meta.ManagedFields = nil
	if equality.Semantic.DeepEqual(metav1.ObjectMeta{}, meta) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), meta, why)}
}

func checkSubject(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := checkAsked(spec.ResourceAttributes, spec.NonResourceAttributes)
	if spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	return errs
}

func checkAsked(resource *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) field.ErrorList {
	at := field.NewPath("spec")
	switch {
	case resource != nil && path != nil:
		return field.ErrorList{field.Invalid(at.Child("nonResourceAttributes"), path, "cannot be specified in combination with resourceAttributes")}
	case path != nil:
		return nil
	case resource == nil:
		return field.ErrorList{field.Invalid(at.Child("resourceAttributes"), path, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return append(checkFields(resource.FieldSelector), checkLabels(resource.LabelSelector)...)
}

func checkFields(s *authorizationv1.FieldSelectorAttributes) field.ErrorList {
	if s == nil {
		return nil
	}
	at := field.NewPath("spec.resourceAttributes").Child("fieldSelector")
	errs := checkSelector(at, s.RawSelector, len(s.Requirements))
	newer := metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
	for i, r := range s.Requirements {
		errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(r, newer, at.Child("requirements").Index(i))...)
	}
	return errs
}

func checkLabels(s *authorizationv1.LabelSelectorAttributes) field.ErrorList {
	if s == nil {
		return nil
	}
	at := field.NewPath("spec.resourceAttributes").Child("labelSelector")
	errs := checkSelector(at, s.RawSelector, len(s.Requirements))
	newer := metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
	for i, r := range s.Requirements {
		errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(r, newer, at.Child("requirements").Index(i))...)
	}
	return errs
}

func checkSelector(at *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(at.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(at.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", at))}
	}
	return nil
}
