package statefulset

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
)

// ordinalOf is the ordinal in the pod's name; false if it is not the name of a pod of the set.
func ordinalOf(set *appsv1.StatefulSet, pod *corev1.Pod) (int, bool) {
	text, ok := strings.CutPrefix(pod.Name, set.Name+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return int(n), err == nil && n >= 0 && strconv.FormatInt(n, 10) == text
}

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return fmt.Sprintf("%s-%d", set.Name, ordinal)
}

// span is the ordinals that the set asks for: from first up to but without last.
func span(set *appsv1.StatefulSet) (first, last int) {
	if set.Spec.Ordinals != nil {
		first = int(set.Spec.Ordinals.Start)
	}
	replicas := 1
	if set.Spec.Replicas != nil {
		replicas = int(*set.Spec.Replicas)
	}
	return first, min(first+replicas, math.MaxInt32)
}

// newPod is the pod of an ordinal, of a revision.
func newPod(set *appsv1.StatefulSet, r revision, ordinal int) *corev1.Pod {
	pod := controller.PodFrom(r.template, set.Namespace, *metav1.NewControllerRef(set, kind))
	pod.Name = podName(set, ordinal)
	identify(set, pod)
	pod.Labels[appsv1.StatefulSetRevisionLabel] = r.name
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, set.Spec.ServiceName
	mountClaims(set, pod, ordinal)
	return pod
}

// identify sets the labels that tell a pod's name and ordinal.
func identify(set *appsv1.StatefulSet, pod *corev1.Pod) {
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	ordinal, _ := ordinalOf(set, pod)
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
}

func hasIdentity(set *appsv1.StatefulSet, pod *corev1.Pod) bool {
	ordinal, _ := ordinalOf(set, pod)
	return pod.Labels[appsv1.StatefulSetPodNameLabel] == pod.Name && pod.Labels[appsv1.PodIndexLabel] == strconv.Itoa(ordinal)
}
