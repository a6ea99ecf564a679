package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

// PodControl creates and deletes the pods of owners and tells about it on them, in the words of
// Kubernetes.
type PodControl struct {
	State  *state.State
	Events Events
}

// Create stores a pod, which already says who owns it.
func (c PodControl) Create(ctx context.Context, owner state.Object, pod *corev1.Pod) (*corev1.Pod, error) {
	made, err := state.Create(ctx, c.State, pod)
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.Events.Eventf(owner, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		}
		return nil, fmt.Errorf("creating a pod: %w", err)
	}
	c.Events.Eventf(owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", made.Name)
	return made, nil
}

// Delete deletes a pod, this one and none that has its name since. One that is gone is no error.
func (c PodControl) Delete(ctx context.Context, owner state.Object, pod *corev1.Pod) error {
	err := state.Delete[*corev1.Pod](ctx, c.State, pod.Namespace, pod.Name, state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		c.Events.Eventf(owner, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		return fmt.Errorf("deleting pod %s: %w", pod.Name, err)
	}
	c.Events.Eventf(owner, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	return nil
}

// PodFrom is a pod of a template, without a name, that owner controls.
func PodFrom(template *corev1.PodTemplateSpec, namespace string, ref metav1.OwnerReference) *corev1.Pod {
	t := template.DeepCopy()
	pod := &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}
	pod.Name, pod.GenerateName, pod.Namespace = "", "", namespace
	pod.OwnerReferences = []metav1.OwnerReference{ref}
	return pod
}

// GeneratePrefix is what the names of an owner's pods begin with: room is left for five random
// characters in a DNS label.
func GeneratePrefix(owner string) string {
	const most = 58
	prefix := owner + "-"
	return prefix[:min(len(prefix), most)]
}
