package admission

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

// DefaultStorageClass gives claims that name no class the default one.
type DefaultStorageClass struct{}

// Admit implements Mutating.
func (DefaultStorageClass) Admit(_ context.Context, a *state.Attributes) error {
	claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
	if !ok || a.Operation != state.OpCreate || a.Subresource != "" || hasClass(claim) {
		return nil
	}
	classes := state.List[*storagev1.StorageClass](a.Reader, state.Selector{})
	if name, ok := newestDefault(classes, "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"); ok {
		claim.Spec.StorageClassName = &name
	}
	return nil
}

func hasClass(claim *corev1.PersistentVolumeClaim) bool {
	_, annotated := claim.Annotations[corev1.BetaStorageClassAnnotation]
	return annotated || claim.Spec.StorageClassName != nil
}

// classOf is the name of a claim's class, "" if it has none.
func classOf(claim *corev1.PersistentVolumeClaim) string {
	if name, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return name
	}
	if claim.Spec.StorageClassName == nil {
		return ""
	}
	return *claim.Spec.StorageClassName
}

// newestDefault is the name of the youngest class that one of the annotations marks as default.
func newestDefault[T metav1.Object](classes []T, annotations ...string) (string, bool) {
	marked := slices.DeleteFunc(classes, func(c T) bool {
		return !slices.ContainsFunc(annotations, func(key string) bool { return c.GetAnnotations()[key] == "true" })
	})
	if len(marked) == 0 {
		return "", false
	}
	return slices.MinFunc(marked, func(x, y T) int {
		return cmp.Or(y.GetCreationTimestamp().Compare(x.GetCreationTimestamp().Time), cmp.Compare(x.GetName(), y.GetName()))
	}).GetName(), true
}
