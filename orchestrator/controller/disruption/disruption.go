// Package disruption keeps the status of PodDisruptionBudgets: how many of their pods are healthy, and
// how many may be evicted. Evictions take from it in the commit that deletes the pod.
package disruption

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/apps/poddisruptionbudget"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// How long a pod that was evicted may stay before it counts again, and how long it is marked as a
// target of disruption when it stays.
const (
	deletionTimeout = 2 * time.Minute
	staleTimeout    = 2 * time.Minute
)

// New returns the controllers: of the budgets, and of marks on pods that were not evicted after all.
func New(s *state.State, events controller.Events) []controller.Controller {
	b := &budgets{s, events}
	return []controller.Controller{
		{
			Name:      "disruption",
			Sources:   []controller.Source{controller.On(controller.Self[*policyv1.PodDisruptionBudget]), controller.On(b.of)},
			Reconcile: b.reconcile,
		}, {
			Name:      "disruption-marks",
			Sources:   []controller.Source{controller.On(marked)},
			Reconcile: b.unmark,
		},
	}
}

type budgets struct {
	state  *state.State
	events controller.Events
}

// of names the budgets that are about a pod.
func (b *budgets) of(pod *corev1.Pod) []controller.Key {
	var keys []controller.Key
	for _, budget := range state.List[*policyv1.PodDisruptionBudget](b.state, state.Selector{Namespace: pod.Namespace}) {
		if selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, controller.Self(budget)...)
		}
	}
	return keys
}

func (b *budgets) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	budget, ok := state.Get[*policyv1.PodDisruptionBudget](b.state, key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	var again time.Duration
	var failure error
	_, err := state.UpdateStatus(ctx, b.state, key.Namespace, key.Name, func(live *policyv1.PodDisruptionBudget) error {
		var now policyv1.PodDisruptionBudgetStatus
		if now, again, failure = b.status(ctx, live, time.Now()); failure != nil {
			failed(live, failure)
			return nil
		}
		settle(live, now)
		return nil
	})
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil
	case err == nil && failure != nil:
		b.events.Eventf(budget, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", failure)
	}
	return again, err
}

// settle writes a status into live, unless it says so already.
func settle(live *policyv1.PodDisruptionBudget, now policyv1.PodDisruptionBudgetStatus) {
	now.Conditions = live.Status.Conditions
	if equality.Semantic.DeepEqual(now, live.Status) && poddisruptionbudget.ConditionsAreUpToDate(live) {
		return
	}
	live.Status = now
	poddisruptionbudget.UpdateDisruptionAllowedCondition(live)
}

// failed lets nothing be evicted, and says why.
func failed(live *policyv1.PodDisruptionBudget, why error) {
	live.Status.DisruptionsAllowed = 0
	meta.SetStatusCondition(&live.Status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: why.Error(), ObservedGeneration: live.Status.ObservedGeneration,
	})
}

// status is what the budget's should be, conditions aside, and how long that holds; 0 is until something happens.
func (b *budgets) status(ctx context.Context, budget *policyv1.PodDisruptionBudget, now time.Time) (policyv1.PodDisruptionBudgetStatus, time.Duration, error) {
	s := policyv1.PodDisruptionBudgetStatus{ObservedGeneration: budget.Generation}
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return s, 0, err
	}
	pods := state.List[*corev1.Pod](b.state, state.Selector{Namespace: budget.Namespace, Labels: selector})
	if len(pods) == 0 {
		b.events.Eventf(budget, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	if s.ExpectedPods, s.DesiredHealthy, err = b.expected(ctx, budget, pods); err != nil {
		return s, 0, err
	}
	var again time.Duration
	s.DisruptedPods, again = b.disrupted(budget, pods, now)
	for _, pod := range pods {
		if _, going := s.DisruptedPods[pod.Name]; !going && pod.DeletionTimestamp == nil && controller.IsReady(pod) {
			s.CurrentHealthy++
		}
	}
	if s.ExpectedPods > 0 {
		s.DisruptionsAllowed = max(0, s.CurrentHealthy-s.DesiredHealthy)
	}
	return s, again, nil
}

// disrupted are the evicted pods whose end is still awaited, and how long the first of them is.
func (b *budgets) disrupted(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod, now time.Time) (map[string]metav1.Time, time.Duration) {
	if budget.Status.DisruptedPods == nil {
		return nil, 0
	}
	going := map[string]metav1.Time{}
	var again time.Duration
	for _, pod := range pods {
		at, listed := budget.Status.DisruptedPods[pod.Name]
		if !listed || pod.DeletionTimestamp != nil {
			continue
		}
		left := at.Add(deletionTimeout).Sub(now)
		if left <= 0 {
			b.events.Eventf(pod, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Name)
			continue
		}
		going[pod.Name] = at
		if again == 0 || left < again {
			again = left
		}
	}
	if len(going) == 0 {
		return nil, 0
	}
	return going, again
}

// marked is the key of a pod that is marked as a target of disruption but is not being deleted.
func marked(pod *corev1.Pod) []controller.Key {
	c := controller.Condition(pod, corev1.DisruptionTarget)
	ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
	if c == nil || c.Status != corev1.ConditionTrue || c.Reason == corev1.PodReasonTerminationByKubelet || ended || pod.DeletionTimestamp != nil {
		return nil
	}
	return controller.Self(pod)
}

// unmark takes the mark off when the pod has stayed for long.
func (b *budgets) unmark(ctx context.Context, key controller.Key) (time.Duration, error) {
	var wait time.Duration
	_, err := state.UpdateStatus(ctx, b.state, key.Namespace, key.Name, func(pod *corev1.Pod) error {
		wait = 0
		if marked(pod) == nil {
			return nil
		}
		c := controller.Condition(pod, corev1.DisruptionTarget)
		if wait = time.Until(c.LastTransitionTime.Add(staleTimeout)); wait > 0 {
			return nil
		}
		*c = corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now(), ObservedGeneration: c.ObservedGeneration}
		return nil
	})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("resetting a stale condition: %w", err)
	}
	return max(0, wait), nil
}
