package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-helpers/auth/rbac/validation"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/state"
)

// Guard is an admission rule: nobody gives by a role or a binding what he does not have, unless he may
// escalate or bind. It wants to see the final object, and so comes last.
type Guard struct {
	// Authorizer says who may escalate and bind, Roles what everybody has.
	Authorizer auth.Authorizer
	Roles      *Authorizer
}

// write is a write of a role or binding, as the guard looks at it.
type write struct {
	Guard
	*state.Attributes
	user *auth.User
}

// Admit implements admission.Mutating; it changes nothing.
func (g Guard) Admit(ctx context.Context, a *state.Attributes) error {
	if a.User == nil || a.Object == nil || a.Kind.Group != rbacv1.GroupName || slices.Contains(a.User.Groups, auth.GroupMasters) || onlyCollected(a) {
		return nil
	}
	w := &write{g, a, auth.UserOf(a.User)}
	switch obj := a.Object.(type) {
	case *rbacv1.ClusterRole:
		old, _ := a.Old.(*rbacv1.ClusterRole)
		return w.role(ctx, obj.Rules, aggregates(obj) || aggregates(old))
	case *rbacv1.Role:
		return w.role(ctx, obj.Rules, false)
	case *rbacv1.ClusterRoleBinding:
		return w.binding(ctx, obj.RoleRef)
	case *rbacv1.RoleBinding:
		return w.binding(ctx, obj.RoleRef)
	}
	return nil
}

// onlyCollected says that an update changes nothing but what garbage collection needs.
func onlyCollected(a *state.Attributes) bool {
	if a.Old == nil {
		return false
	}
	same := a.Object.DeepCopyObject().(state.Object)
	same.SetOwnerReferences(a.Old.GetOwnerReferences())
	same.SetFinalizers(a.Old.GetFinalizers())
	same.SetManagedFields(a.Old.GetManagedFields())
	return equality.Semantic.DeepEqual(same, a.Old)
}

func aggregates(r *rbacv1.ClusterRole) bool {
	return r != nil && r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

// everything is what one must have to write a role that gathers others.
var everything = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

func (w *write) role(ctx context.Context, rules []rbacv1.PolicyRule, gathers bool) error {
	name := w.Name
	if w.Operation == state.OpCreate {
		name = "" // as the request's path says it
	}
	may, err := w.may(ctx, "escalate", w.Kind.Plural, name)
	if may || err != nil {
		return err
	}
	if err := w.covered(ctx, rules); err != nil {
		return err
	}
	if gathers && w.covered(ctx, everything) != nil {
		return w.forbidden(errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

func (w *write) binding(ctx context.Context, to rbacv1.RoleRef) error {
	plural := map[string]string{"ClusterRole": "clusterroles", "Role": "roles"}[to.Kind]
	if plural == "" {
		return nil // validation refuses it
	}
	may, err := w.may(ctx, "bind", plural, to.Name)
	if may || err != nil {
		return err
	}
	rules, found := w.rulesOf(to)
	if !found {
		return apierrors.NewNotFound(rbacv1.Resource(plural), to.Name)
	}
	return w.covered(ctx, rules)
}

func (w *write) rulesOf(to rbacv1.RoleRef) ([]rbacv1.PolicyRule, bool) {
	if to.Kind == "ClusterRole" {
		if role, ok := state.Get[*rbacv1.ClusterRole](w.Reader, "", to.Name); ok {
			return role.Rules, true
		}
		return nil, false
	}
	if role, ok := state.Get[*rbacv1.Role](w.Reader, w.Namespace, to.Name); ok {
		return role.Rules, true
	}
	return nil, false
}

// may asks about a role by its name.
func (w *write) may(ctx context.Context, verb, plural, name string) (bool, error) {
	decision, _, err := w.Authorizer.Authorize(ctx, &auth.Attributes{
		User: w.user, Verb: verb, Resource: true, Group: rbacv1.GroupName, Version: "*", Plural: plural, Namespace: w.Namespace, Name: name})
	return decision == auth.Allow, err
}

// covered refuses rules that the user does not have himself.
func (w *write) covered(ctx context.Context, rules []rbacv1.PolicyRule) error {
	own, problems, err := w.Roles.rulesOf(ctx, w.user, w.Namespace)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	ok, missing := validation.Covers(own, rules)
	if ok {
		return nil
	}
	message := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		w.user.Name, w.user.Groups, strings.Join(describeRules(missing), "\n"))
	if len(problems) > 0 {
		message += fmt.Sprintf("; resolution errors: %v", problems)
	}
	return w.forbidden(errors.New(message))
}

func (w *write) forbidden(why error) error {
	return apierrors.NewForbidden(w.Kind.GroupResource(), w.Object.GetName(), why)
}

// describeRules words rules that Covers has taken apart, those about the same thing together.
func describeRules(rules []rbacv1.PolicyRule) []string {
	var together []rbacv1.PolicyRule
	at := map[string]int{}
	for _, r := range rules {
		verbs := r.Verbs
		r.Verbs = nil
		key := fmt.Sprintf("%q %q %q %q", r.APIGroups, r.Resources, r.NonResourceURLs, r.ResourceNames)
		i, seen := at[key]
		if !seen || len(r.NonResourceURLs) > 0 {
			i = len(together)
			at[key] = i
			together = append(together, r)
		}
		together[i].Verbs = append(together[i].Verbs, verbs...)
	}
	lines := make([]string, 0, len(together))
	for _, r := range together {
		lines = append(lines, describeRule(r))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func describeRule(r rbacv1.PolicyRule) string {
	var parts []string
	for _, part := range []struct {
		name string
		list []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(part.list) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", part.name, part.list))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
