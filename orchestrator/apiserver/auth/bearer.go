package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"
)

// maxBearer bounds a bearer token, in bytes.
const maxBearer = 16 << 10

// Errors of Bearer.
var (
	ErrUnknownToken = errors.New("invalid bearer token")
	ErrTokenTooLong = errors.New("the bearer token is too long")
)

// TokenAuthenticator knows one kind of bearer tokens.
type TokenAuthenticator interface {
	// AuthenticateToken returns whose token it is, and for which of the audiences it is good; no audiences mean the
	// API's. A nil User means that the token is not of this kind, an error that it is not valid.
	AuthenticateToken(ctx context.Context, token string, audiences []string) (*User, []string, error)
}

// Bearer finds a token in a request (RFC 6750; of a WebSocket also in a subprotocol, as browsers can send it) and
// asks each kind of tokens. It takes the token out of the request, so that it is not passed on.
type Bearer []TokenAuthenticator

// Authenticate implements Authenticator.
func (b Bearer) Authenticate(r *http.Request) (*User, error) {
	token, err := takeToken(r)
	if token == "" || err != nil {
		return nil, err
	}
	user, _, err := b.AuthenticateToken(r.Context(), token, nil)
	if user == nil && err == nil {
		err = ErrUnknownToken
	}
	return user, err
}

// AuthenticateToken implements TokenAuthenticator.
func (b Bearer) AuthenticateToken(ctx context.Context, token string, audiences []string) (*User, []string, error) {
	if len(token) > maxBearer {
		return nil, nil, ErrTokenTooLong
	}
	for _, kind := range b {
		if u, good, err := kind.AuthenticateToken(ctx, token, audiences); u != nil || err != nil {
			return u, good, err
		}
	}
	return nil, nil, nil
}

// takeToken removes the token from the request's header; "" if there is none.
func takeToken(r *http.Request) (string, error) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if strings.EqualFold(scheme, "bearer") && token != "" {
		r.Header.Del("Authorization")
		return token, nil
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return "", nil
	}
	return takeProtocol(r)
}

const (
	protocolHeader = "Sec-Websocket-Protocol"
	bearerProtocol = "base64url.bearer.authorization.k8s.io."
)

// takeProtocol removes the subprotocol that carries a token. Another one must stand beside it: the answer
// names one, and it must not be the token.
func takeProtocol(r *http.Request) (token string, err error) {
	var others []string
	for _, p := range strings.Split(strings.Join(r.Header.Values(protocolHeader), ","), ",") {
		p = strings.TrimSpace(p)
		encoded, ok := strings.CutPrefix(p, bearerProtocol)
		if !ok {
			others = append(others, p)
			continue
		}
		if token != "" {
			return "", errors.New("multiple base64.bearer.authorization tokens specified")
		}
		data, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil || len(data) == 0 || !utf8.Valid(data) {
			return "", errors.New("invalid base64.bearer.authorization token encoding")
		}
		token = string(data)
	}
	if token == "" {
		return "", nil
	}
	if len(others) == 0 {
		return "", errors.New("missing additional subprotocol")
	}
	r.Header.Set(protocolHeader, strings.Join(others, ","))
	return token, nil
}

// forAPI returns the API's audiences that were asked for: tokens of people name none and are for the API.
func forAPI(api, asked []string) []string {
	if len(asked) == 0 {
		return api
	}
	var both []string
	for _, a := range api {
		for _, other := range asked {
			if a == other {
				both = append(both, a)
			}
		}
	}
	return both
}
