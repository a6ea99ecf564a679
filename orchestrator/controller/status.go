package controller

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"wherry/orchestrator/state"
)

// WriteStatus changes the status of an object, unless it is gone or another has its name by now.
func WriteStatus[T state.Object](ctx context.Context, s *state.State, obj T, change func(live T)) error {
	_, err := state.UpdateStatus(ctx, s, obj.GetNamespace(), obj.GetName(), func(live T) error {
		if live.GetUID() == obj.GetUID() {
			change(live)
		}
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing status: %w", err)
	}
	return nil
}
