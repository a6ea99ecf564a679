package podsecurity

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"wherry/orchestrator/state"
)

// Bounds of a look at the pods that a namespace has already.
const (
	maxPods = 3000
	maxLook = time.Second
)

// violation is a reason and the pods that it holds for.
type violation struct {
	reason string
	first  string // the first pod by name
	pods   int
}

// existing warns about pods of the namespace that a level would not let in.
func (r *Rule) existing(s *state.State, namespace string, lv api.LevelVersion) []string {
	pods := prioritized(state.List[*corev1.Pod](s, state.Selector{Namespace: namespace}))
	until, checked := time.Now().Add(maxLook), 0
	var found []*violation
	byReason := map[string]*violation{}
	for _, pod := range pods[:min(len(pods), maxPods)] {
		checked++
		if result := policy.AggregateCheckResults(r.checks.EvaluatePod(lv, &pod.ObjectMeta, &pod.Spec)); !result.Allowed {
			v := byReason[result.ForbiddenReason()]
			if v == nil {
				v = &violation{reason: result.ForbiddenReason(), first: pod.Name}
				byReason[v.reason] = v
				found = append(found, v)
			}
			v.first = min(v.first, pod.Name)
			v.pods++
		}
		if time.Now().After(until) {
			break
		}
	}
	var texts []string
	if checked < len(pods) {
		texts = append(texts, fmt.Sprintf("new PodSecurity enforce level only checked against the first %d of %d existing pods", checked, len(pods)))
	}
	if len(found) == 0 {
		return texts
	}
	texts = append(texts, fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", namespace, lv.String()))
	var each []string
	for _, v := range found {
		each = append(each, v.String())
	}
	slices.Sort(each)
	return append(texts, each...)
}

func (v *violation) String() string {
	switch v.pods {
	case 1:
		return fmt.Sprintf("%s: %s", v.first, v.reason)
	case 2:
		return fmt.Sprintf("%s (and 1 other pod): %s", v.first, v.reason)
	}
	return fmt.Sprintf("%s (and %d other pods): %s", v.first, v.pods-1, v.reason)
}

// prioritized are the pods, those that resemble another one of the same controller last.
func prioritized(pods []*corev1.Pod) []*corev1.Pod {
	seen := map[types.UID]bool{}
	var first, again []*corev1.Pod
	for _, pod := range pods {
		if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
			if seen[ref.UID] {
				again = append(again, pod)
				continue
			}
			seen[ref.UID] = true
		}
		first = append(first, pod)
	}
	return append(first, again...)
}
