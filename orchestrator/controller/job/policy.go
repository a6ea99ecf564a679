package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// failurePolicy is what the first rule that fits says about a failed pod, and the words for it; Count if none does.
func failurePolicy(policy *batchv1.PodFailurePolicy, p *corev1.Pod) (batchv1.PodFailurePolicyAction, string) {
	if policy == nil || p.Status.Phase != corev1.PodFailed {
		return batchv1.PodFailurePolicyActionCount, ""
	}
	for i, rule := range policy.Rules {
		if rule.OnExitCodes != nil {
			if c := exitThat(p, rule.OnExitCodes); c != nil {
				return rule.Action, fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d",
					c.Name, p.Namespace, p.Name, c.State.Terminated.ExitCode, rule.Action, i)
			}
		}
		for _, pattern := range rule.OnPodConditions {
			status := pattern.Status
			if status == "" {
				status = corev1.ConditionTrue
			}
			for _, c := range p.Status.Conditions {
				if c.Type == pattern.Type && c.Status == status {
					return rule.Action, fmt.Sprintf("Pod %s/%s has condition %s matching %s rule at index %d", p.Namespace, p.Name, c.Type, rule.Action, i)
				}
			}
		}
	}
	return batchv1.PodFailurePolicyActionCount, ""
}

// exitThat is a container of the pod whose exit code the requirement names.
func exitThat(p *corev1.Pod, r *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			c := &statuses[i]
			if c.State.Terminated == nil || r.ContainerName != nil && *r.ContainerName != c.Name {
				continue
			}
			code := c.State.Terminated.ExitCode
			if named := slices.Contains(r.Values, code); code != 0 && named == (r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return c
			}
		}
	}
	return nil
}

// successPolicy says which rule of the policy the completed indexes fulfil.
func successPolicy(policy *batchv1.SuccessPolicy, completed indexes, limit int) (string, bool) {
	if policy == nil {
		return "", false
	}
	for i, rule := range policy.Rules {
		done, wanted := completed.len(), 0
		if rule.SucceededIndexes != nil {
			named := parseIndexes(*rule.SucceededIndexes, limit)
			wanted, done = named.len(), common(named, completed)
		}
		if rule.SucceededCount != nil {
			wanted = int(*rule.SucceededCount)
		}
		if done >= wanted && wanted > 0 {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}

// common is how many indexes are in both sets.
func common(a, b indexes) int {
	n := 0
	for _, s := range a {
		for _, o := range b {
			n += max(0, min(s.last, o.last)-max(s.first, o.first)+1)
		}
	}
	return n
}
