package admission

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"

	"wherry/orchestrator/state"
)

// DefaultIngressClass gives Ingresses that name no class the default one.
type DefaultIngressClass struct{}

// ingressClassAnnotation named the class before there was a field for it.
const ingressClassAnnotation = "kubernetes.io/ingress.class"

// Admit implements Mutating.
func (DefaultIngressClass) Admit(_ context.Context, a *state.Attributes) error {
	ingress, ok := a.Object.(*networkingv1.Ingress)
	if !ok || a.Operation != state.OpCreate || a.Subresource != "" || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, ok := ingress.Annotations[ingressClassAnnotation]; ok {
		return nil
	}
	classes := state.List[*networkingv1.IngressClass](a.Reader, state.Selector{})
	if name, ok := newestDefault(classes, networkingv1.AnnotationIsDefaultIngressClass); ok {
		ingress.Spec.IngressClassName = &name
	}
	return nil
}
