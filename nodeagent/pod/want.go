package pod

import (
	"fmt"
	"iter"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// containers yields the pod's init containers and then the others, in order.
func containers(p *corev1.Pod) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for i := range p.Spec.InitContainers {
			if !yield(&p.Spec.InitContainers[i]) {
				return
			}
		}
		for i := range p.Spec.Containers {
			if !yield(&p.Spec.Containers[i]) {
				return
			}
		}
	}
}

func find(p *corev1.Pod, name string) *corev1.Container {
	for c := range containers(p) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func imageOf(p *corev1.Pod, name string) string {
	if c := find(p, name); c != nil {
		return c.Image
	}
	return ""
}

// isSidecar says that an init container runs as long as the pod.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func isInit(p *corev1.Pod, name string) bool {
	return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == name })
}

// restarts says whether a container that exited with code is started again while its pod lives.
func restarts(p *corev1.Pod, c *corev1.Container, code int) bool {
	for _, rule := range c.RestartPolicyRules {
		if codes := rule.ExitCodes; codes != nil {
			listed := slices.Contains(codes.Values, int32(code))
			if listed == (codes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
				return rule.Action == corev1.ContainerRestartRuleActionRestart
			}
		}
	}
	policy := p.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return code != 0 || !isInit(p, c.Name) || isSidecar(c)
}

// grace is how long the pod's containers have to end.
func grace(p *corev1.Pod) time.Duration {
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 30 * time.Second
}

// format names a pod as a kubelet does in messages.
func format(p *corev1.Pod) string { return fmt.Sprintf("%s_%s(%s)", p.Name, p.Namespace, p.UID) }
