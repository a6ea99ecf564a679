package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
)

// PodTopologyLabels gives a pod its node's zone and region as labels when it is bound.
type PodTopologyLabels struct{}

var topologyLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// Admit implements Mutating.
func (PodTopologyLabels) Admit(_ context.Context, a *state.Attributes) error {
	if a.Operation != state.OpCreate {
		return nil
	}
	node := ""
	switch obj := a.Object.(type) {
	case *corev1.Binding:
		if obj.Target.Kind == "Node" {
			node = obj.Target.Name
		}
	case *corev1.Pod:
		node = obj.Spec.NodeName
	}
	if node == "" {
		return nil
	}
	on, ok := state.Get[*corev1.Node](a.Reader, "", node)
	if !ok {
		return nil
	}
	labels := a.Object.GetLabels()
	for _, key := range topologyLabels {
		if value, ok := on.Labels[key]; ok {
			if labels == nil {
				labels = map[string]string{}
			}
			labels[key] = value
		}
	}
	a.Object.SetLabels(labels)
	return nil
}
