// Package volumeprotection lets claims and volumes that are being deleted go when nobody uses them any more: it
// takes away the finalizers that admission gave them.
package volumeprotection

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// Finalizers, as Kubernetes names them.
const (
	claimFinalizer  = "kubernetes.io/pvc-protection"
	volumeFinalizer = "kubernetes.io/pv-protection"
)

// New returns the controllers of claims and of volumes.
func New(s *state.State) []controller.Controller {
	p := &protection{s}
	return []controller.Controller{
		{
			Name:      "pvc-protection",
			Sources:   []controller.Source{controller.On(controller.Self[*corev1.PersistentVolumeClaim]), controller.On(claims)},
			Reconcile: p.claim,
		}, {
			Name:      "pv-protection",
			Sources:   []controller.Source{controller.On(controller.Self[*corev1.PersistentVolume])},
			Reconcile: p.volume,
		},
	}
}

type protection struct{ state *state.State }

// claims names the claims that a pod uses.
func claims(pod *corev1.Pod) []controller.Key {
	var keys []controller.Key
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			keys = append(keys, controller.Key{Namespace: pod.Namespace, Name: v.PersistentVolumeClaim.ClaimName})
		case v.Ephemeral != nil:
			keys = append(keys, controller.Key{Namespace: pod.Namespace, Name: pod.Name + "-" + v.Name})
		}
	}
	return keys
}

func (p *protection) claim(ctx context.Context, key controller.Key) (time.Duration, error) {
	claim, ok := state.Get[*corev1.PersistentVolumeClaim](p.state, key.Namespace, key.Name)
	if !ok || claim.DeletionTimestamp != nil && p.used(claim) {
		return 0, nil
	}
	_, err := state.Update(ctx, p.state, key.Namespace, key.Name, func(live *corev1.PersistentVolumeClaim) error {
		set(live, claimFinalizer)
		return nil
	})
	return 0, settled(err)
}

func (p *protection) volume(ctx context.Context, key controller.Key) (time.Duration, error) {
	volume, ok := state.Get[*corev1.PersistentVolume](p.state, "", key.Name)
	if !ok || volume.DeletionTimestamp != nil && volume.Status.Phase == corev1.VolumeBound {
		return 0, nil
	}
	_, err := state.Update(ctx, p.state, "", key.Name, func(live *corev1.PersistentVolume) error {
		set(live, volumeFinalizer)
		return nil
	})
	return 0, settled(err)
}

// used says whether a pod that has been given to a node names the claim. One that has not will not be started any more.
func (p *protection) used(claim *corev1.PersistentVolumeClaim) bool {
	key := controller.Key{Namespace: claim.Namespace, Name: claim.Name}
	return slices.ContainsFunc(state.List[*corev1.Pod](p.state, state.Selector{Namespace: claim.Namespace}), func(pod *corev1.Pod) bool {
		return pod.Spec.NodeName != "" && slices.Contains(claims(pod), key)
	})
}

// set gives obj its finalizer, or takes it if obj is being deleted.
func set(obj metav1.Object, finalizer string) {
	held := obj.GetFinalizers()
	has := slices.Contains(held, finalizer)
	switch {
	case obj.GetDeletionTimestamp() != nil && has:
		obj.SetFinalizers(slices.DeleteFunc(slices.Clone(held), func(f string) bool { return f == finalizer }))
	case obj.GetDeletionTimestamp() == nil && !has:
		obj.SetFinalizers(append(held, finalizer))
	}
}

// settled forgives what is gone.
func settled(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
