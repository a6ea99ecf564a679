package admission

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"wherry/orchestrator/state"
)

// PersistentVolumeClaimResize lets claims grow only if they are bound and their class allows it.
type PersistentVolumeClaimResize struct{}

// Validate implements Validating.
func (PersistentVolumeClaimResize) Validate(_ context.Context, a *state.Attributes) error {
	claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
	if !ok || a.Operation != state.OpUpdate || a.Subresource != "" {
		return nil
	}
	old := a.Old.(*corev1.PersistentVolumeClaim)
	if claim.Spec.Resources.Requests.Storage().Cmp(*old.Spec.Resources.Requests.Storage()) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		//lint:ignore ST1005 the words are Kubernetes'
		return forbidden(a, errors.New("Only bound persistent volume claims can be expanded"))
	}
	class, ok := state.Get[*storagev1.StorageClass](a.Reader, "", classOf(claim))
	if !ok || classOf(claim) != classOf(old) || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
		return forbidden(a, errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
	}
	return nil
}
