package ociregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// apiError is an error of the distribution specification ("Error Codes").
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.message }

func refuse(status int, code, format string, args ...any) error {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

func badName(name string) error {
	return refuse(http.StatusBadRequest, "NAME_INVALID", "%q is not a repository name", name)
}

func badDigest(digest string) error {
	return refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is not a digest of the form sha256:<64 hexadecimal digits>", digest)
}

func wrongDigest(want, got string) error {
	return refuse(http.StatusBadRequest, "DIGEST_INVALID", "the content has the digest %s, not %s", got, want)
}

func unknownName(name string) error {
	return refuse(http.StatusNotFound, "NAME_UNKNOWN", "no repository %q", name)
}

func unknownBlob(digest string) error {
	return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "no blob %s in this repository", digest)
}

func unknownManifest(name, reference string) error {
	separator := ":"
	if strings.Contains(reference, ":") {
		separator = "@"
	}
	return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "no manifest %s%s%s", name, separator, reference)
}

func badManifest(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "MANIFEST_INVALID", format, args...)
}

func unknownUpload(id string) error {
	return refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no upload %q; it may have ended with a restart", id)
}

// answerError writes the specification's JSON.
func (g *Registry) answerError(w http.ResponseWriter, r *http.Request, err error) {
	var e *apiError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &e):
	case errors.As(err, &tooLarge):
		e = &apiError{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("larger than %d bytes", tooLarge.Limit)}
	case r.Context().Err() != nil:
		// The client is gone, or the connection is; nobody reads an answer.
		return
	default:
		g.log.Error("registry: request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		e = &apiError{http.StatusInternalServerError, "UNKNOWN", err.Error()}
	}
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	answerJSON(w, e.status, "application/json", map[string][]one{"errors": {{e.code, e.message}}})
}

// answerJSON writes v, which always can be encoded. Whether the client takes it is the
// client's affair.
func answerJSON(w http.ResponseWriter, status int, mediaType string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
