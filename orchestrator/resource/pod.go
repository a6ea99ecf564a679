package resource

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

func pods() *Kind {
	return &Kind{
		GroupVersionKind:    corev1.SchemeGroupVersion.WithKind("Pod"),
		Plural:              "pods",
		Singular:            "pod",
		ShortNames:          []string{"po"},
		Categories:          []string{"all"},
		Namespaced:          true,
		New:                 newObject[corev1.Pod],
		NewList:             newList[corev1.PodList],
		Derive:              derived[core.Pod, corev1.Pod](),
		UnconditionalUpdate: true,

		PrepareForCreate: typed(preparePod),
		PrepareForUpdate: typedUpdate(func(pod, old *corev1.Pod) {
			pod.Status = *old.Status.DeepCopy()
			finishPodSpec(pod, old)
		}),
		Validate: validate(func(pod *core.Pod) field.ErrorList {
			return validation.ValidatePodCreate(pod, podOptions(pod, nil))
		}),
		ValidateUpdate: validateUpdate(func(pod, old *core.Pod) field.ErrorList {
			return validation.ValidatePodUpdate(pod, old, podOptions(pod, old))
		}),
		Warnings: typedWarnings(podWarnings),
		Resets:   resets(statusField),

		Grace: func(obj Object, asked *int64) int64 { return podGrace(obj.(*corev1.Pod), asked) },

		Fields: func(obj Object) fields.Set { return podFields(obj.(*corev1.Pod)) },
		FieldNames: []string{
			"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
			"spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
		},
		Columns:  podColumns(),
		Row:      row(podRow),
		Finished: func(obj Object) *metav1.TableRowCondition { return podFinished(obj.(*corev1.Pod).Status.Phase) },

		Subresources: podDoors(),
	}
}

func preparePod(pod *corev1.Pod) {
	pod.Generation = 1
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qos.GetPodQOS(pod)}
	through(pod, nil, podutil.DropDisabledPodFields)
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type:               corev1.PodScheduled,
			Status:             corev1.ConditionFalse,
			LastTransitionTime: metav1.Now(),
			Reason:             corev1.PodReasonSchedulingGated,
			Message:            "Scheduling is blocked due to non-empty scheduling gates",
		})
	}
	applyMatchLabelKeys(pod)
}

// preparePodStatus keeps everything but the status and metadata, and of metadata the
// owners; observed generations that a writer leaves out stay.
func preparePodStatus(pod, old *corev1.Pod) {
	pod.Spec = *old.Spec.DeepCopy()
	pod.DeletionTimestamp = nil
	pod.OwnerReferences = slices.Clone(old.OwnerReferences)
	if pod.Status.QOSClass == "" {
		pod.Status.QOSClass = old.Status.QOSClass
	}
	if pod.Status.ObservedGeneration == 0 {
		pod.Status.ObservedGeneration = old.Status.ObservedGeneration
	}
	observed := map[corev1.PodConditionType][]int64{}
	for _, c := range old.Status.Conditions {
		observed[c.Type] = append(observed[c.Type], c.ObservedGeneration)
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if was := observed[c.Type]; len(was) > 0 {
			if c.ObservedGeneration == 0 {
				c.ObservedGeneration = was[0]
			}
			observed[c.Type] = was[1:]
		}
	}
	through(pod, old, podutil.DropDisabledPodFields)
}

// podOptions say which rules apply to a pod; old may be nil.
func podOptions(pod, old *core.Pod) validation.PodValidationOptions {
	var opts validation.PodValidationOptions
	if old == nil {
		opts = podutil.GetValidationOptionsFromPodSpecAndMeta(&pod.Spec, nil, &pod.ObjectMeta, nil)
	} else {
		opts = podutil.GetValidationOptionsFromPodSpecAndMeta(&pod.Spec, &old.Spec, &pod.ObjectMeta, &old.ObjectMeta)
	}
	opts.ResourceIsPod = true
	return opts
}

func podWarnings(pod, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	var warnings []string
	if msgs := utilvalidation.IsDNS1123Label(pod.Name); len(msgs) != 0 {
		warnings = append(warnings, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", msgs))
	}
	return append(warnings, podutil.GetWarningsForPod(context.Background(), internal[core.Pod](pod), nil)...)
}

// podGrace is how long a pod has to stop; one that is on no node or has finished goes at once.
func podGrace(pod *corev1.Pod, asked *int64) int64 {
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return 0
	}
	var period int64
	if asked != nil {
		period = *asked
	} else if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		period = *g
	}
	if period < 0 {
		return 1
	}
	return period
}

func podFields(pod *corev1.Pod) fields.Set {
	ip := podIP(pod)
	return fields.Set{
		"spec.nodeName":            pod.Spec.NodeName,
		"spec.restartPolicy":       string(pod.Spec.RestartPolicy),
		"spec.schedulerName":       pod.Spec.SchedulerName,
		"spec.serviceAccountName":  pod.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(pod.Spec.HostNetwork),
		"status.phase":             string(pod.Status.Phase),
		"status.podIP":             ip,
		"status.podIPs":            ip,
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}

func podIP(pod *corev1.Pod) string {
	if len(pod.Status.PodIPs) > 0 {
		return pod.Status.PodIPs[0].IP
	}
	return pod.Status.PodIP
}
