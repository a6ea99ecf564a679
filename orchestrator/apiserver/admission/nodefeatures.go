package admission

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"

	"wherry/orchestrator/state"
)

// NodeDeclaredFeatureValidator refuses changes of a running pod that its node does not say it can make
// (status.declaredFeatures).
type NodeDeclaredFeatureValidator struct{}

// kubernetes is the version whose features are asked for.
var kubernetes = version.MajorMinor(1, 36)

// Validate implements Validating.
func (NodeDeclaredFeatureValidator) Validate(_ context.Context, a *state.Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || a.Operation != state.OpUpdate || a.Subresource != "" && a.Subresource != "resize" || pod.Spec.NodeName == "" {
		return nil
	}
	old, ok := a.Old.(*corev1.Pod)
	if !ok || old.Generation == pod.Generation {
		return nil
	}
	was, is := &nodedeclaredfeatures.PodInfo{Spec: &old.Spec, Status: &old.Status}, &nodedeclaredfeatures.PodInfo{Spec: &pod.Spec, Status: &pod.Status}
	features := nodedeclaredfeatures.DefaultFramework
	needs, err := features.InferForPodUpdate(was, is, kubernetes)
	if err != nil {
		return forbidden(a, fmt.Errorf("failed to infer pod capability requirements: %w", err))
	}
	if needs.IsEmpty() {
		return nil
	}
	node, ok := state.Get[*corev1.Node](a.Reader, "", pod.Spec.NodeName)
	if !ok {
		return forbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	result, err := features.MatchNode(needs, node)
	if err != nil {
		return forbidden(a, fmt.Errorf("failed to match pod requirements against node %q: %w", node.Name, err))
	}
	if !result.IsMatch {
		return forbidden(a, fmt.Errorf("pod update requires features %s which are not available on node %q", strings.Join(result.UnsatisfiedRequirements, ", "), node.Name))
	}
	return nil
}
