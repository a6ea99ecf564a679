package fair

import (
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

// Request is what a FlowSchema may ask of a request.
type Request struct {
	User   string
	Groups []string
	Verb   string
	// Resource: the request is for one; otherwise Path says what it is for.
	Resource                   bool
	Group, Plural, Subresource string
	Namespace                  string // "": none, or all
	Path                       string
	Width                      int // in seats; 0 is one
}

const all = "*"

// flow is what tells the flows of a schema apart.
func (r *Request) flow(schema *flowcontrolv1.FlowSchema) string {
	by := schema.Spec.DistinguisherMethod
	switch {
	case by == nil:
		return ""
	case by.Type == flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
		return r.Namespace
	}
	return r.User
}

func (r *Request) matches(schema *flowcontrolv1.FlowSchema) bool {
	return slices.ContainsFunc(schema.Spec.Rules, func(rule flowcontrolv1.PolicyRulesWithSubjects) bool {
		return slices.ContainsFunc(rule.Subjects, r.from) && r.asks(&rule)
	})
}

// from says whether the request comes from the subject.
func (r *Request) from(subject flowcontrolv1.Subject) bool {
	switch {
	case subject.User != nil:
		return subject.User.Name == all || subject.User.Name == r.User
	case subject.Group != nil:
		return subject.Group.Name == all || slices.Contains(r.Groups, subject.Group.Name)
	case subject.ServiceAccount != nil:
		prefix := "system:serviceaccount:" + subject.ServiceAccount.Namespace + ":"
		if subject.ServiceAccount.Name == all {
			return strings.HasPrefix(r.User, prefix)
		}
		return r.User == prefix+subject.ServiceAccount.Name
	}
	return false
}

// asks says whether the request is for what the rule names.
func (r *Request) asks(rule *flowcontrolv1.PolicyRulesWithSubjects) bool {
	if r.Resource {
		return slices.ContainsFunc(rule.ResourceRules, r.asksResource)
	}
	return slices.ContainsFunc(rule.NonResourceRules, func(n flowcontrolv1.NonResourcePolicyRule) bool {
		return has(n.Verbs, r.Verb) && slices.ContainsFunc(n.NonResourceURLs, r.asksPath)
	})
}

func (r *Request) asksResource(rule flowcontrolv1.ResourcePolicyRule) bool {
	name := r.Plural
	if r.Subresource != "" {
		name += "/" + r.Subresource
	}
	if !has(rule.Verbs, r.Verb) || !has(rule.APIGroups, r.Group) || !has(rule.Resources, name) {
		return false
	}
	if r.Namespace == "" {
		return rule.ClusterScope
	}
	return has(rule.Namespaces, r.Namespace)
}

func (r *Request) asksPath(pattern string) bool {
	if prefix, ok := strings.CutSuffix(pattern, all); ok {
		return strings.HasPrefix(r.Path, prefix)
	}
	return r.Path == pattern
}

func has(list []string, one string) bool {
	return slices.Contains(list, all) || slices.Contains(list, one)
}
