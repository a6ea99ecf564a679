package resource

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// podDoors are the subresources of a Pod that write it.
func podDoors() map[string]*Subresource {
	return map[string]*Subresource{
		"status": {
			PrepareForUpdate: typedUpdate(preparePodStatus),
			ValidateUpdate: validateUpdate(func(pod, old *core.Pod) field.ErrorList {
				return validation.ValidatePodStatusUpdate(pod, old, podOptions(pod, old))
			}),
			Warnings: typedWarnings(podStatusWarnings),
			Resets:   resets(specField, []any{"metadata", "deletionTimestamp"}, []any{"metadata", "ownerReferences"}),
		},
		"ephemeralcontainers": {
			PrepareForUpdate: typedUpdate(func(pod, old *corev1.Pod) {
				added := pod.Spec.EphemeralContainers
				keepPod(pod, old)
				pod.Spec.EphemeralContainers = added
				finishPodSpec(pod, old)
			}),
			ValidateUpdate: validateUpdate(func(pod, old *core.Pod) field.ErrorList {
				return validation.ValidatePodEphemeralContainersUpdate(pod, old, podOptions(pod, old))
			}),
			Warnings: inertDoor("nodes do not run ephemeral containers yet"),
			Owned:    fieldpath.NewIncludeMatcherFilter(fieldpath.MakePrefixMatcherOrDie("spec", "ephemeralContainers")),
		},
		"resize": {
			PrepareForUpdate: typedUpdate(preparePodResize),
			ValidateUpdate: validateUpdate(func(pod, old *core.Pod) field.ErrorList {
				return validation.ValidatePodResize(pod, old, podOptions(pod, old))
			}),
			Warnings: inertDoor("nodes do not resize running containers yet"),
			Owned: fieldpath.NewIncludeMatcherFilter(
				fieldpath.MakePrefixMatcherOrDie("spec", "containers", fieldpath.MatchAnyPathElement(), "resources"),
				fieldpath.MakePrefixMatcherOrDie("spec", "containers", fieldpath.MatchAnyPathElement(), "resizePolicy"),
				fieldpath.MakePrefixMatcherOrDie("spec", "initContainers", fieldpath.MatchAnyPathElement(), "resources"),
				fieldpath.MakePrefixMatcherOrDie("spec", "initContainers", fieldpath.MatchAnyPathElement(), "resizePolicy"),
			),
		},
	}
}

// inertDoor warns who writes through a door behind which nobody acts.
func inertDoor(why string) func(obj, old Object) []string {
	return func(_, _ Object) []string {
		return []string{"this cluster keeps the change but does not act on it: " + why}
	}
}

// keepPod restores everything of a pod but the metadata that writers of a status may set.
func keepPod(pod, old *corev1.Pod) {
	old.Spec.DeepCopyInto(&pod.Spec)
	old.Status.DeepCopyInto(&pod.Status)
	metav1.ResetObjectMetaForStatus(pod, old)
}

// finishPodSpec drops what is not served and raises the generation if the spec has changed.
func finishPodSpec(pod, old *corev1.Pod) {
	through(pod, old, podutil.DropDisabledPodFields)
	if !equality.Semantic.DeepEqual(pod.Spec, old.Spec) {
		pod.Generation = old.Generation + 1
	}
}

// preparePodResize keeps everything but resources and how they may change. Containers that come, go or move
// are left for validation to refuse.
func preparePodResize(pod, old *corev1.Pod) {
	if len(pod.Spec.Containers) == len(old.Spec.Containers) && len(pod.Spec.InitContainers) == len(old.Spec.InitContainers) {
		containers := resized(pod.Spec.Containers, old.Spec.Containers)
		initContainers := resized(pod.Spec.InitContainers, old.Spec.InitContainers)
		wanted := pod.Spec.Resources
		keepPod(pod, old)
		pod.Spec.Containers, pod.Spec.InitContainers, pod.Spec.Resources = containers, initContainers, wanted
	}
	finishPodSpec(pod, old)
}

func resized(containers, old []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(old))
	for i := range containers {
		if containers[i].Name != old[i].Name {
			return containers
		}
		old[i].DeepCopyInto(&out[i])
		out[i].Resources, out[i].ResizePolicy = containers[i].Resources, containers[i].ResizePolicy
	}
	return out
}

// podStatusWarnings are about addresses that programs read differently.
func podStatusWarnings(pod, _ *corev1.Pod) []string {
	var warnings []string
	for i, ip := range pod.Status.PodIPs {
		warnings = append(warnings, utilvalidation.GetWarningsForIP(field.NewPath("status", "podIPs").Index(i).Child("ip"), ip.IP)...)
	}
	for i, ip := range pod.Status.HostIPs {
		warnings = append(warnings, utilvalidation.GetWarningsForIP(field.NewPath("status", "hostIPs").Index(i).Child("ip"), ip.IP)...)
	}
	return warnings
}
