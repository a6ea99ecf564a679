package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

// NamespaceLifecycle lets nothing be created in a namespace that does not exist or is
// being deleted, and keeps the namespaces that the cluster lives on.
type NamespaceLifecycle struct{}

var immortal = map[string]bool{
	metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true,
}

// Admit implements state.Admission.
func (NamespaceLifecycle) Admit(_ context.Context, a *state.Attributes) error {
	switch {
	case a.Operation == state.OpDelete && a.Kind.Group == "" && a.Kind.Kind == "Namespace" && immortal[a.Name]:
		return forbidden(a, errors.New("this namespace may not be deleted"))
	case a.Operation != state.OpCreate || !a.Kind.Namespaced:
		return nil
	}
	namespace, found := state.Get[*corev1.Namespace](a.Reader, "", a.Namespace)
	if !found {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), a.Namespace)
	}
	if namespace.Status.Phase != corev1.NamespaceTerminating && namespace.DeletionTimestamp == nil {
		return nil
	}
	err := forbidden(a, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", a.Namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace),
		Field:   "metadata.namespace",
	})
	return err
}
