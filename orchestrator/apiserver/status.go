package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"wherry/orchestrator/apiserver/audit"
	"wherry/orchestrator/apiserver/media"
)

// statusOf translates any error into the Status that goes out. This is the only place
// where errors become HTTP.
func statusOf(err error) *metav1.Status {
	var known apierrors.APIStatus
	var status metav1.Status
	switch {
	case errors.As(err, &known):
		status = known.Status()
	case errors.Is(err, context.DeadlineExceeded):
		status = apierrors.NewTimeoutError("request did not complete within requested timeout - context deadline exceeded", 0).ErrStatus
	default:
		status = metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}
	}
	if status.Code == 0 {
		status.Code = http.StatusInternalServerError
	}
	status.Kind, status.APIVersion = "Status", "v1"
	return &status
}

// methodNotAllowed is what Kubernetes says to a verb that a path does not know.
func methodNotAllowed() error {
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)
}

// noResource is what Kubernetes says to a resource that a served version does not have.
func noResource() error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)
}

func tooLong() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusRequestURITooLong, Message: fmt.Sprintf("the URL is too long: limit is %d", maxURL)}}
}

// fail writes err as a Status in a form that the client takes.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	if status.Code >= http.StatusInternalServerError {
		s.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	audit.From(r.Context()).Outcome(status)
	if details := status.Details; details != nil && details.RetryAfterSeconds > 0 {
		setRetryAfter(w.Header(), details.RetryAfterSeconds)
	}
	out, err := media.Negotiate(r, false)
	if err != nil {
		out = media.Type{}
	}
	s.writeStatus(w, out, status)
}

// writeStatus writes a Status. What cannot be written has no reader left.
func (s *Server) writeStatus(w http.ResponseWriter, out media.Type, status *metav1.Status) {
	body, err := s.codec.encode(status, out)
	if err != nil {
		out = media.Type{}
		body, _ = json.Marshal(status) // a Status has nothing in it that cannot be encoded
	}
	w.Header().Set("Content-Type", out.ContentType())
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(int(status.Code))
	_, _ = w.Write(body)
}
