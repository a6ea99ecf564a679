package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"wherry/orchestrator/state"
)

// StorageObjectInUseProtection marks volumes and claims with the finalizers that hold them back while they are used.
type StorageObjectInUseProtection struct{}

// Admit implements Mutating.
func (StorageObjectInUseProtection) Admit(_ context.Context, a *state.Attributes) error {
	if a.Operation != state.OpCreate || a.Subresource != "" {
		return nil
	}
	finalizer := ""
	switch a.Object.(type) {
	case *corev1.PersistentVolumeClaim:
		finalizer = "kubernetes.io/pvc-protection"
	case *corev1.PersistentVolume:
		finalizer = "kubernetes.io/pv-protection"
	case *storagev1.VolumeAttributesClass:
		finalizer = "kubernetes.io/vac-protection"
	default:
		return nil
	}
	if held := a.Object.GetFinalizers(); !slices.Contains(held, finalizer) {
		a.Object.SetFinalizers(append(held, finalizer))
	}
	return nil
}
