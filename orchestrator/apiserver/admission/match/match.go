// Package match says which requests webhooks and policies want to see, and in which version.
package match

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
)

// Rule is one of admissionregistration.k8s.io, with the names that it is for; no names: all.
type Rule struct {
	admissionregistrationv1.RuleWithOperations
	Names []string
}

// Criteria say what is wanted. The zero value of a selector wants everything.
type Criteria struct {
	Rules, Exclude []Rule
	Namespaces     *metav1.LabelSelector
	Objects        *metav1.LabelSelector
	Equivalent     bool // also what would match in another version in which the object is served
}

// exempt are the resources that say what admission does: nothing but authorization guards them.
var exempt = []string{
	"validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies",
	"validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
}

// Match returns the kind in whose version the object is wanted, or nil if the request is not.
func (c *Criteria) Match(a *state.Attributes) (*resource.Kind, error) {
	if a.Kind.Group == admissionregistrationv1.GroupName && slices.Contains(exempt, a.Kind.Plural) {
		return nil, nil
	}
	kind := c.kind(a)
	if kind == nil {
		return nil, nil
	}
	if ok, err := c.namespace(a); err != nil || !ok {
		return nil, err
	}
	ok, err := c.object(a)
	if err != nil || !ok {
		return nil, err
	}
	return kind, nil
}

// kind finds the version that a rule names: the request's own before others.
func (c *Criteria) kind(a *state.Attributes) *resource.Kind {
	versions := []*resource.Kind{a.Kind}
	if c.Equivalent {
		for _, k := range a.Reader.Kinds().Versions(a.Kind) {
			if k != a.Kind {
				versions = append(versions, k)
			}
		}
	}
	for _, k := range versions {
		if anyRule(c.Exclude, k, a) {
			return nil
		}
	}
	for _, k := range versions {
		if anyRule(c.Rules, k, a) {
			return k
		}
	}
	return nil
}

func anyRule(rules []Rule, k *resource.Kind, a *state.Attributes) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.matches(k, a) })
}

func (r *Rule) matches(k *resource.Kind, a *state.Attributes) bool {
	has := func(list []string, s string) bool { return slices.Contains(list, "*") || slices.Contains(list, s) }
	operation := slices.ContainsFunc(r.Operations, func(o admissionregistrationv1.OperationType) bool {
		return o == admissionregistrationv1.OperationAll || string(o) == a.Operation
	})
	scope := r.Scope == nil || *r.Scope == admissionregistrationv1.AllScopes ||
		(*r.Scope == admissionregistrationv1.NamespacedScope) == (k.Namespaced && !isNamespace(k))
	return operation && scope && has(r.APIGroups, k.Group) && has(r.APIVersions, k.Version) &&
		(len(r.Names) == 0 || slices.Contains(r.Names, a.Name)) &&
		slices.ContainsFunc(r.Resources, func(text string) bool { return matchesResource(text, k.Plural, a.Subresource) })
}

// matchesResource reads "pods", "pods/status", "pods/*", "*/status", "*" and "*/*".
func matchesResource(text, plural, subresource string) bool {
	of, sub, _ := strings.Cut(text, "/")
	return (of == "*" || of == plural) && (sub == "*" || sub == subresource)
}

func isNamespace(k *resource.Kind) bool { return k.Group == "" && k.Plural == "namespaces" }

// namespace asks the labels of the object's namespace, of a Namespace its own; what is in none is always wanted.
func (c *Criteria) namespace(a *state.Attributes) (bool, error) {
	selector, err := metav1.LabelSelectorAsSelector(c.Namespaces)
	switch {
	case err != nil:
		return false, apierrors.NewInternalError(err)
	case c.Namespaces == nil || selector.Empty():
		return true, nil
	case isNamespace(a.Kind):
		of := a.Object
		if of == nil || a.Operation != state.OpCreate && a.Operation != state.OpUpdate {
			of = a.Old
		}
		return of == nil || selector.Matches(labels.Set(of.GetLabels())), nil
	case !a.Kind.Namespaced:
		return true, nil
	}
	ns, ok := state.Get[*corev1.Namespace](a.Reader, "", a.Namespace)
	if !ok {
		return false, apierrors.NewNotFound(corev1.Resource("namespaces"), a.Namespace)
	}
	return selector.Matches(labels.Set(ns.Labels)), nil
}

// object asks the labels of the object as it is and as it was: one is enough.
func (c *Criteria) object(a *state.Attributes) (bool, error) {
	selector, err := metav1.LabelSelectorAsSelector(c.Objects)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if c.Objects == nil || selector.Empty() {
		return true, nil
	}
	fits := func(obj state.Object) bool { return obj != nil && selector.Matches(labels.Set(obj.GetLabels())) }
	return fits(a.Object) || fits(a.Old), nil
}
