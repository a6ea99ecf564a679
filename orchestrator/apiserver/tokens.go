package apiserver

import (
	"encoding/json"
	"errors"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/state"
)

var (
	accounts         = corev1.SchemeGroupVersion.WithResource("serviceaccounts")
	tokenRequestKind = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
	tokenReviewKind  = authenticationv1.SchemeGroupVersion.WithKind("TokenReview")
)

// tokenRequest makes a token: POST serviceaccounts/NAME/token (kubectl create token).
func (c *call) tokenRequest() error {
	request := &authenticationv1.TokenRequest{}
	options, err := c.posted(tokenRequestKind, request)
	if err != nil {
		return err
	}
	err = c.s.state.Ask(c.ctx(), state.Attributes{
		Kind: c.kind, Subresource: c.at.subresource, Operation: state.OpCreate, Namespace: c.at.namespace, Name: c.at.name,
		Object: request, DryRun: len(options.DryRun) > 0, User: c.user.Info(), Options: options, Remarks: c.remarks(),
	})
	if err != nil {
		return err
	}
	if c.s.cfg.Tokens == nil {
		return apierrors.NewMethodNotSupported(corev1.Resource("serviceaccounts/token"), "create")
	}
	if err := c.s.cfg.Tokens.Request(c.at.namespace, c.at.name, request); err != nil {
		return err
	}
	return c.other(http.StatusCreated, request, tokenRequestKind)
}

// tokenReview says whose a bearer token is.
func (c *call) tokenReview() error {
	review := &authenticationv1.TokenReview{}
	if _, err := c.posted(tokenReviewKind, review); err != nil {
		return err
	}
	if review.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	user, audiences, err := c.s.cfg.Bearer.AuthenticateToken(c.ctx(), review.Spec.Token, review.Spec.Audiences)
	review.Status = authenticationv1.TokenReviewStatus{}
	switch {
	case err != nil:
		review.Status.Error = err.Error()
	case user == nil:
		review.Status.Error = "invalid bearer token"
	default:
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: *user.Info(), Audiences: audiences}
	}
	review.CreationTimestamp = metav1.Time{}
	return c.other(http.StatusCreated, review, tokenReviewKind)
}

// openID mounts what others need to verify service-account tokens (OpenID Connect Discovery 1.0, sections 3 and 4).
func (s *Server) openID(mux *http.ServeMux) {
	t := s.cfg.Tokens
	if t == nil {
		return
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		s.publish(w, r, "application/json", map[string]any{
			"issuer": t.Issuers[0], "jwks_uri": t.KeysURL,
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": t.Algorithms(),
		}, nil)
	})
	mux.HandleFunc("GET /openid/v1/jwks", func(w http.ResponseWriter, r *http.Request) {
		set, err := t.KeySet()
		s.publish(w, r, "application/jwk-set+json", set, err)
	})
}

// publish answers with a document that may be kept for an hour.
func (s *Server) publish(w http.ResponseWriter, r *http.Request, contentType string, document any, err error) {
	b, encodeErr := json.Marshal(document)
	if err := errors.Join(err, encodeErr); err != nil {
		s.fail(w, r, apierrors.NewInternalError(err))
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(b) // an error means that the client has gone
}
