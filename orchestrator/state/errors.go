package state

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/store"
)

const (
	listExpired     = "The resourceVersion for the provided list is too old."
	continueExpired = "The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to " +
		"retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - " +
		"objects that were created, modified, or deleted between the time the first chunk was returned and now may " +
		"show up in the list."
	objectModified = "the object has been modified; please apply your changes to the latest version and try again"
)

// ErrWithdrawn says that the object that defined a kind is gone: there will be no more changes.
var ErrWithdrawn = errors.New("state: the kind is defined no more")

// listError words what the store says about a list in its history.
func listError(err error, p plan) error {
	switch {
	case errors.Is(err, store.ErrFuture):
		return tooLarge(p.exact, 0)
	case !errors.Is(err, store.ErrCompacted):
		return fmt.Errorf("state: reading the store's history: %w", err)
	case p.after == "":
		return apierrors.NewResourceExpired(listExpired)
	}
	expired := apierrors.NewResourceExpired(continueExpired)
	expired.ErrStatus.ListMeta.Continue = token{tokenVersion, -1, p.after}.String()
	return expired
}

// tooLarge says that a revision lies in the future.
func tooLarge(asked, current store.Revision) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, current), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type:    metav1.CauseTypeResourceVersionTooLarge,
		Message: "Too large resource version",
	}}
	return err
}

func watchExpired(asked, oldest store.Revision) error {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", asked, oldest))
}

func conflict(k *resource.Kind, name, why string) error {
	return apierrors.NewConflict(k.GroupResource(), name, errors.New(why))
}

// commitError words what the store says about a write, conflicts aside.
func commitError(err error) error {
	switch {
	case errors.Is(err, store.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return apierrors.NewInternalError(err)
}
