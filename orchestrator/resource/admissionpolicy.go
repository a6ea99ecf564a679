package resource

import (
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	genericvalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// What validating and mutating admission policies have in common. Expressions are not compiled here: that
// they are there, and named, is all that is asked.

// named and namedUpdate ask, beside f, for a name that is a DNS subdomain.
func named[E Object](f func(E) field.ErrorList) func(Object) field.ErrorList {
	return func(obj Object) field.ErrorList {
		errs := genericvalidation.ValidateObjectMetaAccessor(obj, false, genericvalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
		return append(errs, f(obj.(E))...)
	}
}

func namedUpdate[E Object](f func(obj, old E) field.ErrorList) func(obj, old Object) field.ErrorList {
	return func(obj, old Object) field.ErrorList { return f(obj.(E), old.(E)) }
}

func validateMatchConditions(conditions []admissionv1.MatchCondition, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(conditions) > maxMatchConditions {
		errs = append(errs, field.TooMany(path, len(conditions), maxMatchConditions))
	}
	names := map[string]bool{}
	for i, c := range conditions {
		at := path.Index(i)
		if strings.TrimSpace(c.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), ""))
		}
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
			continue
		}
		errs = append(errs, validation.ValidateQualifiedName(c.Name, at.Child("name"))...)
		if names[c.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		names[c.Name] = true
	}
	return errs
}

// policyMatch is what a policy says of where it applies.
type policyMatch struct {
	failurePolicy *admissionv1.FailurePolicyType
	paramKind     *admissionv1.ParamKind
	constraints   *admissionv1.MatchResources
	conditions    []admissionv1.MatchCondition
	variables     []admissionv1.Variable
	mutating      bool
}

func (m policyMatch) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.failurePolicy == nil {
		errs = append(errs, field.Required(path.Child("failurePolicy"), ""))
	}
	errs = append(errs, oneOf(m.failurePolicy, failurePolicies, path.Child("failurePolicy"))...)
	if m.paramKind != nil {
		errs = append(errs, validateParamKind(m.paramKind, path.Child("paramKind"))...)
	}
	if m.constraints == nil {
		errs = append(errs, field.Required(path.Child("matchConstraints"), ""))
	} else {
		errs = append(errs, validateMatchResources(m.constraints, m.mutating, path.Child("matchConstraints"))...)
		if len(m.constraints.ResourceRules) == 0 {
			errs = append(errs, field.Required(path.Child("matchConstraints", "resourceRules"), ""))
		}
	}
	errs = append(errs, validateMatchConditions(m.conditions, path.Child("matchConditions"))...)
	for i, v := range m.variables {
		errs = append(errs, validateVariable(&v, path.Child("variables").Index(i))...)
	}
	return errs
}

func validateParamKind(k *admissionv1.ParamKind, path *field.Path) field.ErrorList {
	errs := validateParamVersion(k.APIVersion, path.Child("apiVersion"))
	if k.Kind == "" {
		return append(errs, field.Required(path.Child("kind"), ""))
	}
	if msgs := utilvalidation.IsDNS1035Label(strings.ToLower(k.Kind)); len(msgs) > 0 {
		errs = append(errs, field.Invalid(path.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ",")))
	}
	return errs
}

func validateParamVersion(apiVersion string, path *field.Path) field.ErrorList {
	if apiVersion == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if strings.Count(apiVersion, "/") > 1 {
		return field.ErrorList{field.Invalid(path, apiVersion, "unexpected GroupVersion string: "+apiVersion)}
	}
	group, version, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group, version = "", apiVersion
	}
	var errs field.ErrorList
	if msgs := utilvalidation.IsDNS1123Subdomain(group); group != "" && len(msgs) > 0 {
		errs = append(errs, field.Invalid(path, group, strings.Join(msgs, ",")))
	}
	if version == "" {
		return append(errs, field.Invalid(path, apiVersion, "version must be specified"))
	}
	if msgs := utilvalidation.IsDNS1035Label(version); len(msgs) > 0 {
		errs = append(errs, field.Invalid(path, version, strings.Join(msgs, ",")))
	}
	return errs
}

// validateMatchResources judges what is matched; nil matches everything. Mutating policies do not see deletions.
func validateMatchResources(m *admissionv1.MatchResources, mutating bool, path *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	if m.MatchPolicy == nil {
		errs = append(errs, field.Required(path.Child("matchPolicy"), ""))
	}
	errs = append(errs, oneOf(m.MatchPolicy, matchPolicies, path.Child("matchPolicy"))...)
	for _, s := range []struct {
		name     string
		selector *metav1.LabelSelector
	}{{"namespaceSelector", m.NamespaceSelector}, {"objectSelector", m.ObjectSelector}} {
		if s.selector == nil {
			errs = append(errs, field.Required(path.Child(s.name), ""))
		}
		errs = append(errs, metav1validation.ValidateLabelSelector(s.selector, metav1validation.LabelSelectorValidationOptions{}, path.Child(s.name))...)
	}
	for i, r := range m.ResourceRules {
		errs = append(errs, validateNamedRule(&r, path.Child("resourceRules").Index(i))...)
	}
	for i, r := range m.ExcludeResourceRules {
		errs = append(errs, validateNamedRule(&r, path.Child("excludeResourceRules").Index(i))...)
	}
	for _, r := range m.ResourceRules {
		for _, o := range r.Operations {
			if mutating {
				errs = append(errs, oneOf(&o, mutatingOperations, path.Child("resourceRules", "operations"))...)
			}
		}
	}
	return errs
}

func validateNamedRule(r *admissionv1.NamedRuleWithOperations, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, name := range r.ResourceNames {
		at := path.Child("resourceNames").Index(i)
		for _, msg := range content.IsPathSegmentName(name) {
			errs = append(errs, field.Invalid(at, name, msg))
		}
		if slices.Contains(r.ResourceNames[:i], name) {
			errs = append(errs, field.Duplicate(at, name))
		}
	}
	return append(errs, validateRule(&r.RuleWithOperations, path)...)
}

// Names of variables in expressions: https://github.com/google/cel-spec/blob/master/doc/langdef.md
var (
	identifier    = regexp.MustCompile("^[_a-zA-Z][_a-zA-Z0-9]*$")
	reservedWords = []string{
		"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
		"loop", "package", "namespace", "return", "var", "void", "while",
	}
)

func validateVariable(v *admissionv1.Variable, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case strings.TrimSpace(v.Name) == "":
		errs = append(errs, field.Required(path.Child("name"), "name is not specified"))
	case !identifier.MatchString(v.Name) || slices.Contains(reservedWords, v.Name):
		errs = append(errs, field.Invalid(path.Child("name"), v.Name, "must be a valid CEL identifier"))
	}
	if strings.TrimSpace(v.Expression) == "" {
		errs = append(errs, field.Required(path.Child("expression"), "expression is not specified"))
	}
	return errs
}

// policyRef is what a binding says of its policy.
type policyRef struct {
	name     string
	param    *admissionv1.ParamRef
	match    *admissionv1.MatchResources
	mutating bool
}

func (r policyRef) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.name == "" {
		errs = append(errs, field.Required(path.Child("policyName"), ""))
	} else {
		for _, msg := range genericvalidation.NameIsDNSSubdomain(r.name, false) {
			errs = append(errs, field.Invalid(path.Child("policyName"), r.name, msg))
		}
	}
	errs = append(errs, validateParamRef(r.param, path.Child("paramRef"))...)
	return append(errs, validateMatchResources(r.match, r.mutating, path.Child("matchResources"))...)
}

func validateParamRef(r *admissionv1.ParamRef, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	const exclusive = "name and selector are mutually exclusive"
	var errs field.ErrorList
	if r.Name != "" {
		for _, msg := range content.IsPathSegmentName(r.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), r.Name, msg))
		}
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(r.Selector, metav1validation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
	switch {
	case r.Name != "" && r.Selector != nil:
		errs = append(errs, field.Forbidden(path.Child("name"), exclusive), field.Forbidden(path.Child("selector"), exclusive))
	case r.Name == "" && r.Selector == nil:
		errs = append(errs, field.Required(path, "one of name or selector must be specified"))
	}
	action := path.Child("parameterNotFoundAction")
	if r.ParameterNotFoundAction == nil || *r.ParameterNotFoundAction == "" {
		return append(errs, field.Required(action, ""))
	}
	return append(errs, oneOf(r.ParameterNotFoundAction, []string{string(admissionv1.DenyAction), string(admissionv1.AllowAction)}, action)...)
}

// Cells of policies and of their bindings.

func paramKindCell(k *admissionv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

func paramRefCell(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
		return "<unset>"
	case r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	case r.Selector != nil:
		return r.Selector.String()
	}
	return "<unset>"
}

func policyColumns(rules, description string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		column(rules, "integer", description),
		column("ParamKind", "string", "ParamKind specifies the kind of resources used to parameterize this policy"),
		ageColumn,
	}
}

func policyBindingColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn,
		column("PolicyName", "string", "PolicyName indicates the policy definition which the policy binding binded to"),
		column("ParamRef", "string", "ParamRef indicates the param resource which sets the configuration param"),
		ageColumn,
	}
}
