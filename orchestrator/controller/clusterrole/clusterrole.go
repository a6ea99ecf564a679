// Package clusterrole keeps the rules of aggregated ClusterRoles: all rules of those that their
// selectors select.
package clusterrole

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// manager owns the rules of aggregated roles.
const manager = "clusterrole-aggregation-controller"

// New returns the controller. It has a single key: there are few roles, and any of them may be
// selected by any.
func New(s *state.State) controller.Controller {
	c := &roles{s}
	return controller.Controller{
		Name:      "clusterrole",
		Sources:   []controller.Source{controller.On(func(*rbacv1.ClusterRole) []controller.Key { return []controller.Key{{}} })},
		Reconcile: c.reconcile,
		Workers:   1,
	}
}

type roles struct{ state *state.State }

func (c *roles) reconcile(ctx context.Context, _ controller.Key) (time.Duration, error) {
	var errs []error
	for _, role := range state.List[*rbacv1.ClusterRole](c.state, state.Selector{}) {
		if role.AggregationRule == nil {
			continue
		}
		if err := c.aggregate(ctx, role); err != nil {
			errs = append(errs, fmt.Errorf("aggregating ClusterRole %s: %w", role.Name, err))
		}
	}
	return 0, errors.Join(errs...)
}

func (c *roles) aggregate(ctx context.Context, role *rbacv1.ClusterRole) error {
	rules, err := c.gathered(role)
	if err != nil || equality.Semantic.DeepEqual(rules, role.Rules) {
		return err
	}
	_, err = state.Update(state.As(ctx, manager), c.state, "", role.Name, func(live *rbacv1.ClusterRole) error {
		if live.AggregationRule != nil {
			live.Rules = rules
		}
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// gathered are the rules of the roles that role selects, selector by selector, each rule once.
func (c *roles) gathered(role *rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	rules := []rbacv1.PolicyRule{}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, other := range state.List[*rbacv1.ClusterRole](c.state, state.Selector{Labels: selector}) {
			if other.Name == role.Name {
				continue
			}
			for _, rule := range other.Rules {
				if !slices.ContainsFunc(rules, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules, nil
}
