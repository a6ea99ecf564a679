package rbac

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"wherry/orchestrator/state"
)

// writers is how many defaults are written at once: waiting writers share one commit.
const writers = 32

// Reconcile makes the default roles and bindings, and adds to those that exist what they lack:
// labels, annotations, rules and subjects. What is annotated with
// rbac.authorization.kubernetes.io/autoupdate: "false" is left as it is.
func Reconcile(ctx context.Context, s *state.State) error {
	p := defaults()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	reconcileAll(ctx, group, s, p.clusterRoles, mergeClusterRole, nil)
	reconcileAll(ctx, group, s, p.roles, func(live, want *rbacv1.Role) { addRules(&live.Rules, want.Rules) }, nil)
	reconcileAll(ctx, group, s, p.clusterRoleBindings,
		func(live, want *rbacv1.ClusterRoleBinding) { addSubjects(&live.Subjects, want.Subjects) },
		func(live, want *rbacv1.ClusterRoleBinding) bool { return live.RoleRef != want.RoleRef })
	reconcileAll(ctx, group, s, p.roleBindings,
		func(live, want *rbacv1.RoleBinding) { addSubjects(&live.Subjects, want.Subjects) },
		func(live, want *rbacv1.RoleBinding) bool { return live.RoleRef != want.RoleRef })
	return group.Wait()
}

// copied is an object that makes copies of its own type.
type copied[T any] interface {
	state.Object
	DeepCopy() T
}

// reconcileAll looks at each default in the group. merge adds to a live object what it lacks. other, if not
// nil, says that the live one cannot become the wanted one: it is then made anew.
func reconcileAll[T copied[T]](ctx context.Context, group *errgroup.Group, s *state.State, all []T, merge func(live, want T), other func(live, want T) bool) {
	for _, want := range all {
		live, found := state.Get[T](s, want.GetNamespace(), want.GetName())
		if found {
			merged := live.DeepCopy()
			mergeMeta(merged, want)
			merge(merged, want)
			if equality.Semantic.DeepEqual(merged, live) && (other == nil || !other(live, want)) || protected(live) {
				continue
			}
		}
		group.Go(func() error {
			if err := reconcile(ctx, s, want, merge, other); err != nil {
				return fmt.Errorf("making the default %T %s: %w", want, want.GetName(), err)
			}
			return nil
		})
	}
}

func protected(obj metav1.Object) bool {
	return obj.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false"
}

func reconcile[T copied[T]](ctx context.Context, s *state.State, want T, merge func(live, want T), other func(live, want T) bool) error {
	namespace, name := want.GetNamespace(), want.GetName()
	live, found := state.Get[T](s, namespace, name)
	if found && other != nil && other(live, want) {
		uid := live.GetUID()
		err := state.Delete[T](ctx, s, namespace, name, state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		found = false
	}
	if !found {
		_, err := state.Create(ctx, s, want)
		return err
	}
	_, err := state.Update(ctx, s, namespace, name, func(live T) error {
		if !protected(live) {
			mergeMeta(live, want)
			merge(live, want)
		}
		return nil
	})
	return err
}

// mergeMeta adds labels and annotations; what the live object says itself counts.
func mergeMeta(live, want metav1.Object) {
	live.SetLabels(merged(want.GetLabels(), live.GetLabels()))
	live.SetAnnotations(merged(want.GetAnnotations(), live.GetAnnotations()))
}

func merged(under, over map[string]string) map[string]string {
	all := maps.Clone(under)
	maps.Copy(all, over)
	return all
}

func mergeClusterRole(live, want *rbacv1.ClusterRole) {
	addRules(&live.Rules, want.Rules)
	if want.AggregationRule == nil {
		live.AggregationRule = nil
		return
	}
	if live.AggregationRule == nil {
		live.AggregationRule = &rbacv1.AggregationRule{}
	}
	have := &live.AggregationRule.ClusterRoleSelectors
	for _, selector := range want.AggregationRule.ClusterRoleSelectors {
		if !slices.ContainsFunc(*have, func(s metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(s, selector) }) {
			*have = append(*have, selector)
		}
	}
}

func addRules(have *[]rbacv1.PolicyRule, want []rbacv1.PolicyRule) {
	_, missing := validation.Covers(*have, want)
	*have = append(*have, missing...)
}

func addSubjects(have *[]rbacv1.Subject, want []rbacv1.Subject) {
	for _, s := range want {
		if !slices.Contains(*have, s) {
			*have = append(*have, s)
		}
	}
}
