package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// What keys there are: those that sign service-account tokens, and those that encrypt values at rest.
const (
	TokenKeys  = "tokens"
	SecretKeys = "secrets"
)

// ErrRotating says that somebody else is at it.
var ErrRotating = errors.New("keys are being rotated; please try again")

// Keys rotates keys: TokenKeys or SecretKeys. It tells what has happened. Errors: ErrRotating.
type Keys interface {
	Rotate(ctx context.Context, what string) (string, error)
}

// rotateKeys answers POST /wherry/keys/WHAT/rotate, which RBAC knows as a path, with a line of text.
func (s *Server) rotateKeys(w http.ResponseWriter, r *http.Request) {
	what := r.PathValue("what")
	if s.cfg.Keys == nil || what != TokenKeys && what != SecretKeys {
		notFound(w)
		return
	}
	told, err := s.cfg.Keys.Rotate(r.Context(), what)
	switch {
	case errors.Is(err, ErrRotating):
		s.fail(w, r, apierrors.NewTooManyRequests(err.Error(), 1))
	case err != nil:
		s.fail(w, r, apierrors.NewInternalError(err))
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, told)
	}
}
