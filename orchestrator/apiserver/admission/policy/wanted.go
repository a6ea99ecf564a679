package policy

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"wherry/orchestrator/apiserver/admission/match"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// wanted returns the kind as which a policy wants the request, nil if the policy or its binding, which may be narrower,
// does not.
func wanted(a *state.Attributes, constraints, narrower *admissionregistrationv1.MatchResources) (*resource.Kind, error) {
	kind, err := criteriaOf(constraints).Match(a)
	if err != nil || kind == nil || narrower == nil {
		return kind, err
	}
	criteria := criteriaOf(narrower)
	if len(narrower.ResourceRules) == 0 {
		criteria.Rules = anything
	}
	if fits, err := criteria.Match(a); err != nil || fits == nil {
		return nil, err
	}
	return kind, nil
}

// anything is a binding that names no resources.
var anything = []match.Rule{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
	Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
	Rule:       admissionregistrationv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
}}}

func criteriaOf(m *admissionregistrationv1.MatchResources) *match.Criteria {
	if m == nil {
		return &match.Criteria{}
	}
	named := func(rules []admissionregistrationv1.NamedRuleWithOperations) []match.Rule {
		var all []match.Rule
		for _, r := range rules {
			all = append(all, match.Rule{RuleWithOperations: r.RuleWithOperations, Names: r.ResourceNames})
		}
		return all
	}
	return &match.Criteria{
		Rules: named(m.ResourceRules), Exclude: named(m.ExcludeResourceRules), Namespaces: m.NamespaceSelector, Objects: m.ObjectSelector,
		Equivalent: m.MatchPolicy == nil || *m.MatchPolicy == admissionregistrationv1.Equivalent,
	}
}
