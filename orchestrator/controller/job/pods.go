package job

import (
	"fmt"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
)

// none is the index of pods of a Job whose completions have no indexes.
const none = -1

const indexEnv = "JOB_COMPLETION_INDEX"

func indexed(j *batchv1.Job) bool {
	return j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion
}

// newPod is a pod for an index, which has failed so many times before.
func newPod(j *batchv1.Job, index, failures, ignored int) *corev1.Pod {
	pod := controller.PodFrom(&j.Spec.Template, j.Namespace, *metav1.NewControllerRef(j, kind))
	pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	pod.GenerateName = controller.GeneratePrefix(j.Name)
	if index == none {
		return pod
	}
	text := strconv.Itoa(index)
	pod.GenerateName = controller.GeneratePrefix(fmt.Sprintf("%.*s-%s", 57-len(text)-1, j.Name, text))
	setLabel(&pod.Annotations, batchv1.JobCompletionIndexAnnotation, text)
	setLabel(&pod.Labels, batchv1.JobCompletionIndexAnnotation, text)
	if j.Spec.BackoffLimitPerIndex != nil {
		setLabel(&pod.Annotations, batchv1.JobIndexFailureCountAnnotation, strconv.Itoa(failures))
		if ignored > 0 {
			setLabel(&pod.Annotations, batchv1.JobIndexIgnoredFailureCountAnnotation, strconv.Itoa(ignored))
		}
	}
	pod.Spec.Hostname = fmt.Sprintf("%s-%d", j.Name, index)
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			tellIndex(&containers[i])
		}
	}
	return pod
}

func setLabel(m *map[string]string, name, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[name] = value
}

// tellIndex sets JOB_COMPLETION_INDEX unless the template does.
func tellIndex(c *corev1.Container) {
	if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == indexEnv }) {
		return
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: indexEnv, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
		APIVersion: "v1", FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation),
	}}})
}

// indexOf is the completion index of a pod; none if it has no valid one.
func indexOf(p *corev1.Pod) int { return number(p, batchv1.JobCompletionIndexAnnotation, none) }

func number(p *corev1.Pod, annotation string, otherwise int) int {
	n, err := strconv.ParseInt(p.Annotations[annotation], 10, 32)
	if err != nil || n < 0 {
		return otherwise
	}
	return int(n)
}
