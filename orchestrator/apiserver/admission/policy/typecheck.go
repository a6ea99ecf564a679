package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"wherry/orchestrator/apiserver/admission/expression"
	"wherry/orchestrator/apiserver/openapi"
	"wherry/orchestrator/resource"
)

// maxTypes bounds against how many kinds a policy is checked.
const maxTypes = 10

// TypeCheck compiles the expressions of a policy against the schemas of the kinds that it names, and returns what does
// not fit. Kinds that it does not name one by one, or that have no schema, are not checked.
func TypeCheck(kinds *resource.Registry, p *admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning {
	var checks []checkOf
	for _, k := range typesOf(kinds, p.Spec.MatchConstraints) {
		if c, ok := newCheck(kinds, k, &p.Spec); ok {
			checks = append(checks, c)
		}
	}
	var warnings []admissionregistrationv1.ExpressionWarning
	check := func(at *field.Path, text string) {
		var wrong []string
		for _, c := range checks {
			if why := c.Check(text); why != "" {
				wrong = append(wrong, fmt.Sprintf("%v: %s\n", c.kind, why))
			}
		}
		if len(wrong) > 0 {
			warnings = append(warnings, admissionregistrationv1.ExpressionWarning{FieldRef: at.String(), Warning: strings.Join(wrong, "\n")})
		}
	}
	for i, v := range p.Spec.Validations {
		at := field.NewPath("spec", "validations").Index(i)
		check(at.Child("expression"), v.Expression)
		if v.MessageExpression != "" {
			check(at.Child("messageExpression"), v.MessageExpression)
		}
	}
	return warnings
}

// checkOf checks against one kind.
type checkOf struct {
	kind schema.GroupVersionKind
	*expression.Checker
}

func newCheck(kinds *resource.Registry, k *resource.Kind, spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) (checkOf, bool) {
	object, err := openapi.SchemaOf(k)
	if err != nil {
		return checkOf{}, false // what is not known cannot be wrong
	}
	typed := expression.Typed{Kind: k.Kind, Object: object}
	if want := spec.ParamKind; want != nil {
		typed.HasParams, typed.ParamKind = true, want.Kind
		if params, ok := kinds.Kind(schema.FromAPIVersionAndKind(want.APIVersion, want.Kind)); ok {
			typed.Params, _ = openapi.SchemaOf(params)
		}
	}
	checker, err := expression.NewChecker(typed, variables(spec.Variables))
	return checkOf{k.GroupVersionKind, checker}, err == nil
}

// typesOf are the kinds that rules name, with nothing left to a star.
func typesOf(kinds *resource.Registry, m *admissionregistrationv1.MatchResources) []*resource.Kind {
	if m == nil {
		return nil
	}
	var all []*resource.Kind
	for _, rule := range m.ResourceRules {
		if slices.Contains(rule.APIGroups, "*") || slices.Contains(rule.APIVersions, "*") {
			continue
		}
		for _, group := range rule.APIGroups {
			for _, version := range rule.APIVersions {
				for _, plural := range rule.Resources {
					k, ok := kinds.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: plural})
					if ok && !slices.Contains(all, k) && len(all) < maxTypes {
						all = append(all, k)
					}
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b *resource.Kind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}
