package resource

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The rules of admission webhooks and of what they and admission policies match. Kubernetes' own would bring its
// generic server along.

// webhookLeniency is what an update may keep because it was there before.
type webhookLeniency struct {
	sideEffects, reviewVersions, repeatedNames, labelValues bool
}

// leniency looks at the webhooks as they were.
func leniency(old []admissionv1.ValidatingWebhook) webhookLeniency {
	var l webhookLeniency
	names := map[string]bool{}
	for _, h := range old {
		l.sideEffects = l.sideEffects || h.SideEffects == nil || !slices.Contains(noSideEffects, string(*h.SideEffects))
		l.reviewVersions = l.reviewVersions || len(h.AdmissionReviewVersions) > 0 && !slices.ContainsFunc(h.AdmissionReviewVersions, isReviewVersion)
		l.repeatedNames = l.repeatedNames || names[h.Name]
		l.labelValues = l.labelValues || metav1validation.LabelSelectorHasInvalidLabelValue(h.NamespaceSelector) || metav1validation.LabelSelectorHasInvalidLabelValue(h.ObjectSelector)
		names[h.Name] = true
	}
	return l
}

var (
	reviewVersions = []string{"v1", "v1beta1"}

	failurePolicies       = []string{string(admissionv1.Fail), string(admissionv1.Ignore)}
	matchPolicies         = []string{string(admissionv1.Equivalent), string(admissionv1.Exact)}
	reinvocationPolicies  = []string{string(admissionv1.IfNeededReinvocationPolicy), string(admissionv1.NeverReinvocationPolicy)}
	noSideEffects         = []string{string(admissionv1.SideEffectClassNone), string(admissionv1.SideEffectClassNoneOnDryRun)}
	sideEffects           = []string{"None", "NoneOnDryRun", "Some", "Unknown"}
	scopes                = []string{string(admissionv1.AllScopes), string(admissionv1.ClusterScope), string(admissionv1.NamespacedScope)}
	admissionOperations   = []string{"*", "CONNECT", "CREATE", "DELETE", "UPDATE"}
	mutatingOperations    = []string{"*", "CONNECT", "CREATE", "UPDATE"}
	staticConfigNameEnd   = ".static.k8s.io"
	maxMatchConditions    = 64
	maxWebhookTimeout     = int32(30)
	selectorsKeepTheirOld = metav1validation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: true}
)

func isReviewVersion(v string) bool { return slices.Contains(reviewVersions, v) }

// validateWebhooks judges webhooks of either kind: a mutating one is a validating one with a reinvocation policy.
func validateWebhooks(hooks []admissionv1.ValidatingWebhook, l webhookLeniency) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, h := range hooks {
		path := field.NewPath("webhooks").Index(i)
		errs = append(errs, validateWebhook(&h, l, path)...)
		errs = append(errs, validateReviewVersions(h.AdmissionReviewVersions, l, path.Child("admissionReviewVersions"))...)
		if names[h.Name] && h.Name != "" && !l.repeatedNames {
			errs = append(errs, field.Duplicate(path.Child("name"), h.Name))
		}
		names[h.Name] = true
	}
	return errs
}

func validateWebhook(h *admissionv1.ValidatingWebhook, l webhookLeniency, path *field.Path) field.ErrorList {
	errs := utilvalidation.IsFullyQualifiedName(path.Child("name"), h.Name)
	for i, r := range h.Rules {
		errs = append(errs, validateRule(&r, path.Child("rules").Index(i))...)
	}
	errs = append(errs, oneOf(h.FailurePolicy, failurePolicies, path.Child("failurePolicy"))...)
	errs = append(errs, oneOf(h.MatchPolicy, matchPolicies, path.Child("matchPolicy"))...)
	allowed := noSideEffects
	if l.sideEffects {
		allowed = sideEffects
	}
	if h.SideEffects == nil {
		errs = append(errs, field.Required(path.Child("sideEffects"), fmt.Sprintf("must specify one of %v", strings.Join(allowed, ", "))))
	}
	errs = append(errs, oneOf(h.SideEffects, allowed, path.Child("sideEffects"))...)
	if t := h.TimeoutSeconds; t != nil && (*t > maxWebhookTimeout || *t < 1) {
		errs = append(errs, field.Invalid(path.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
	}
	o := metav1validation.LabelSelectorValidationOptions{}
	if l.labelValues {
		o = selectorsKeepTheirOld
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(h.NamespaceSelector, o, path.Child("namespaceSelector"))...)
	errs = append(errs, metav1validation.ValidateLabelSelector(h.ObjectSelector, o, path.Child("objectSelector"))...)
	errs = append(errs, validateClientConfig(&h.ClientConfig, path.Child("clientConfig"))...)
	return append(errs, validateMatchConditions(h.MatchConditions, path.Child("matchConditions"))...)
}

// oneOf refuses a value that is not among the allowed ones, which are in the order of their names. nil is allowed.
func oneOf[T ~string](value *T, allowed []string, path *field.Path) field.ErrorList {
	if value == nil || slices.Contains(allowed, string(*value)) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, *value, allowed)}
}

func validateReviewVersions(versions []string, l webhookLeniency, path *field.Path) field.ErrorList {
	all := strings.Join(reviewVersions, ", ")
	if len(versions) == 0 {
		return field.ErrorList{field.Required(path, "must specify one of "+all)}
	}
	var errs field.ErrorList
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			errs = append(errs, field.Invalid(path.Index(i), v, "duplicate version"))
			continue
		}
		for _, msg := range utilvalidation.IsDNS1035Label(v) {
			errs = append(errs, field.Invalid(path.Index(i), v, msg))
		}
	}
	if !l.reviewVersions && !slices.ContainsFunc(versions, isReviewVersion) {
		errs = append(errs, field.Invalid(path, versions, "must include at least one of "+all))
	}
	return errs
}

func validateClientConfig(c *admissionv1.WebhookClientConfig, path *field.Path) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(path, "exactly one of url or service is required")}
	case c.URL != nil:
		return validateWebhookURL(*c.URL, path.Child("url"))
	}
	return validateWebhookService(c.Service, path.Child("service"))
}

func validateWebhookURL(text string, path *field.Path) field.ErrorList {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		return field.ErrorList{field.Required(path, "url must be a valid URL: "+err.Error()+form)}
	}
	var errs field.ErrorList
	if u.Scheme != "https" {
		errs = append(errs, field.Invalid(path, u.Scheme, "'https' is the only allowed URL scheme"+form))
	}
	if u.Host == "" {
		errs = append(errs, field.Invalid(path, u.Host, "host must be specified"+form))
	}
	if u.User != nil {
		errs = append(errs, field.Invalid(path, u.User.Username(), "user information is not permitted in the URL"))
	}
	if u.Fragment != "" {
		errs = append(errs, field.Invalid(path, u.Fragment, "fragments are not permitted in the URL"))
	}
	if u.RawQuery != "" {
		errs = append(errs, field.Invalid(path, u.RawQuery, "query parameters are not permitted in the URL"))
	}
	return errs
}

func validateWebhookService(s *admissionv1.ServiceReference, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	// Kubernetes takes one for the other in what it says; clients see the same here.
	if s.Namespace == "" {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	if s.Name == "" {
		errs = append(errs, field.Required(path.Child("namespace"), ""))
	}
	if s.Port != nil {
		if msgs := utilvalidation.IsValidPortNum(int(*s.Port)); msgs != nil {
			errs = append(errs, field.Invalid(path.Child("port"), *s.Port, "port is not valid: "+strings.Join(msgs, ", ")))
		}
	}
	if s.Path == nil || *s.Path == "" || *s.Path == "/" {
		return errs
	}
	return append(errs, validateWebhookPath(*s.Path, path.Child("path"))...)
}

func validateWebhookPath(text string, path *field.Path) field.ErrorList {
	if text == "//" {
		return field.ErrorList{field.Invalid(path, text, "segment[0] may not be empty")}
	}
	var errs field.ErrorList
	if !strings.HasPrefix(text, "/") {
		errs = append(errs, field.Invalid(path, text, "must start with a '/'"))
	}
	for i, step := range strings.Split(strings.TrimSuffix(text[1:], "/"), "/") {
		if step == "" {
			errs = append(errs, field.Invalid(path, text, fmt.Sprintf("segment[%d] may not be empty", i)))
			continue
		}
		for _, msg := range utilvalidation.IsDNS1123Subdomain(step) {
			errs = append(errs, field.Invalid(path, text, fmt.Sprintf("segment[%d]: %v", i, msg)))
		}
	}
	return errs
}

func validateRule(r *admissionv1.RuleWithOperations, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	operations := path.Child("operations")
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(operations, ""))
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		errs = append(errs, field.Invalid(operations, r.Operations, "if '*' is present, must not specify other operations"))
	}
	for i, o := range r.Operations {
		errs = append(errs, oneOf(&o, admissionOperations, operations.Index(i))...)
	}
	errs = append(errs, wildcardAlone(r.APIGroups, "API groups", path.Child("apiGroups"))...)
	errs = append(errs, wildcardAlone(r.APIVersions, "API versions", path.Child("apiVersions"))...)
	for i, v := range r.APIVersions {
		if v == "" {
			errs = append(errs, field.Required(path.Child("apiVersions").Index(i), ""))
		}
	}
	errs = append(errs, validateResources(r.Resources, path.Child("resources"))...)
	return append(errs, oneOf(r.Scope, scopes, path.Child("scope"))...)
}

func wildcardAlone(values []string, what string, path *field.Path) field.ErrorList {
	switch {
	case len(values) == 0:
		return field.ErrorList{field.Required(path, "")}
	case len(values) > 1 && slices.Contains(values, "*"):
		return field.ErrorList{field.Invalid(path, values, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

// validateResources judges RESOURCE, RESOURCE/SUBRESOURCE and wildcards in either place.
func validateResources(resources []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(resources) == 0 {
		errs = append(errs, field.Required(path, ""))
	}
	allOf, everywhere := map[string]bool{}, map[string]bool{} // RESOURCE/*, */SUBRESOURCE
	bare := false
	for i, r := range resources {
		if r == "" {
			errs = append(errs, field.Required(path.Index(i), ""))
			continue
		}
		name, sub, has := strings.Cut(r, "/")
		if !has {
			bare = bare || r != "*"
			continue
		}
		if allOf[name] {
			errs = append(errs, field.Invalid(path.Index(i), r, fmt.Sprintf("if '%s/*' is present, must not specify %s", name, r)))
		}
		if everywhere[sub] {
			errs = append(errs, field.Invalid(path.Index(i), r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)))
		}
		allOf[name] = allOf[name] || sub == "*"
		everywhere[sub] = everywhere[sub] || name == "*"
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		errs = append(errs, field.Invalid(path, resources, "if '*/*' is present, must not specify other resources"))
	}
	if slices.Contains(resources, "*") && bare {
		errs = append(errs, field.Invalid(path, resources, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

// staticNameWarnings are about a name that Kubernetes keeps for what files configure.
func staticNameWarnings(name string) []string {
	if !strings.HasSuffix(name, staticConfigNameEnd) {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: names ending with %q are reserved for static manifest-based configurations and cannot be managed via the API", staticConfigNameEnd)}
}
