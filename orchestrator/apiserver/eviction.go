package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/apps/poddisruptionbudget"

	"wherry/orchestrator/state"
)

// eviction deletes a pod as its disruption budget allows. What it takes of the budget is written in the commit
// that deletes the pod: evictions of one budget never overtake each other.
func (c *call) eviction() error {
	e := &policyv1.Eviction{}
	options, err := c.posted(evictionKind, e)
	if err != nil {
		return err
	}
	if e.Name != "" && e.Name != c.at.name {
		return apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	e.Name, e.Namespace = c.at.name, c.at.namespace
	o := state.DeleteOptions{Remarks: c.remarks()}
	if e.DeleteOptions != nil {
		if in := e.DeleteOptions.DryRun; len(in) > 0 && len(options.DryRun) > 0 && !slices.Equal(in, options.DryRun) {
			return apierrors.NewBadRequest(fmt.Sprintf("Non-matching dry-run options in request and content: %v and %v", options.DryRun, in))
		}
		o = c.deletion(e.DeleteOptions)
	}
	o.DryRun, o.User, o.Admitted = o.DryRun || len(options.DryRun) > 0, c.user.Info(), true
	o.Join = evicting(c.s.state)
	err = c.s.state.Ask(c.ctx(), state.Attributes{
		Kind: c.kind, Subresource: c.at.subresource, Operation: state.OpCreate, Namespace: c.at.namespace, Name: c.at.name,
		Object: e, DryRun: o.DryRun, User: c.user.Info(), Options: options, Remarks: o.Remarks,
	})
	if err != nil {
		return err
	}
	if _, _, err := c.s.state.Delete(c.ctx(), c.kind, c.namespace(), c.at.name, o); err != nil {
		return err
	}
	return c.success(http.StatusCreated, nil)
}

// evicting marks a pod that is deleted as a target of disruption and takes it from its budget, or says why not.
func evicting(s *state.State) func(context.Context, state.Object, *state.Commit) error {
	return func(ctx context.Context, obj state.Object, commit *state.Commit) error {
		pod := obj.(*corev1.Pod)
		if err := disrupt(ctx, s, pod, commit); err != nil {
			return err
		}
		markDisrupted(pod)
		return nil
	}
}

func disrupt(ctx context.Context, s *state.State, pod *corev1.Pod, commit *state.Commit) error {
	if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodUnknown {
		return nil // it disrupts nobody
	}
	name, err := budgetOf(s, pod)
	if err != nil || name == "" {
		return err
	}
	if err := commit.InTurn(ctx, "disruption/"+pod.Namespace+"/"+name); err != nil {
		return err
	}
	live, ok := state.Get[*policyv1.PodDisruptionBudget](s, pod.Namespace, name)
	if !ok || spared(live, pod) {
		return nil
	}
	budget := live.DeepCopy()
	if err := take(budget, pod.Name); err != nil {
		return err
	}
	return commit.Beside(budget)
}

// budgetOf is the name of the budget that is about the pod, "" if there is none.
func budgetOf(s *state.State, pod *corev1.Pod) (string, error) {
	var names []string
	for _, b := range state.List[*policyv1.PodDisruptionBudget](s, state.Selector{Namespace: pod.Namespace}) {
		if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			names = append(names, b.Name)
		}
	}
	switch len(names) {
	case 0:
		return "", nil
	case 1:
		return names[0], nil
	}
	return "", &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
		Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
	}}
}

// spared says that evicting a pod that is not ready costs its budget nothing.
func spared(b *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
		return false
	}
	if policy := b.Spec.UnhealthyPodEvictionPolicy; policy != nil && *policy == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

// maxDisrupted bounds the evictions that the budget's controller has not seen the end of.
const maxDisrupted = 2000

// take takes one disruption from the budget, or says why it has none left.
func take(b *policyv1.PodDisruptionBudget, pod string) error {
	resource := schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudget"}
	switch {
	case b.Status.ObservedGeneration < b.Generation:
		return exhausted(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
	case b.Status.DisruptionsAllowed < 0:
		return apierrors.NewForbidden(resource, b.Name, errors.New("pdb disruptions allowed is negative"))
	case len(b.Status.DisruptedPods) > maxDisrupted:
		return apierrors.NewForbidden(resource, b.Name, errors.New("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	case b.Status.DisruptionsAllowed == 0:
		return exhausted(0, refusal(b))
	}
	b.Status.DisruptionsAllowed--
	if b.Status.DisruptionsAllowed == 0 {
		poddisruptionbudget.UpdateDisruptionAllowedCondition(b)
	}
	if b.Status.DisruptedPods == nil {
		b.Status.DisruptedPods = map[string]metav1.Time{}
	}
	b.Status.DisruptedPods[pod] = metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	return nil
}

func exhausted(retry int, why string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retry)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}

func refusal(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	told := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case told && c.Reason == policyv1.SyncFailedReason:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case told:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
}

// markDisrupted says on the pod why it goes.
func markDisrupted(pod *corev1.Pod) {
	mark := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		LastTransitionTime: metav1.NewTime(time.Now().UTC().Truncate(time.Second)),
	}
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == mark.Type })
	if i < 0 {
		pod.Status.Conditions = append(pod.Status.Conditions, mark)
		return
	}
	if pod.Status.Conditions[i].Status == mark.Status {
		mark.LastTransitionTime = pod.Status.Conditions[i].LastTransitionTime
	}
	pod.Status.Conditions[i] = mark
}
