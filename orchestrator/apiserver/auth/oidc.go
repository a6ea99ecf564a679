package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// OIDCConfig says whose OpenID Connect tokens are believed and how they are read, as kube-apiserver's flags of the
// same names do.
type OIDCConfig struct {
	IssuerURL, ClientID string
	// UsernameClaim: "" means sub. UsernamePrefix: "" means the issuer and "#", except for the claim email; "-" means none.
	UsernameClaim, UsernamePrefix string
	GroupsClaim, GroupsPrefix     string
	// SigningAlgs: none means RS256.
	SigningAlgs    []string
	RequiredClaims map[string]string
	// CA is PEM; nil means the system's authorities.
	CA []byte
	// Audiences are the API's.
	Audiences []string
	// Transport reaches the issuer; nil: over the network, trusting CA.
	Transport http.RoundTripper
}

// oidcAlgorithms are what may be named in SigningAlgs.
var oidcAlgorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}

// OIDC knows the ID tokens of one issuer.
type OIDC struct {
	c    OIDCConfig
	algs []jose.SignatureAlgorithm
	keys *remoteKeys
}

// NewOIDC checks the configuration; it asks nobody.
func NewOIDC(c OIDCConfig) (*OIDC, error) {
	u, err := url.Parse(c.IssuerURL)
	switch {
	case c.IssuerURL == "" || c.ClientID == "":
		return nil, errors.New("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
	case err != nil || u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("oidc-issuer-url %q: it must be a URL that begins with https://", c.IssuerURL)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("oidc-issuer-url %q: it must not have a query, a fragment or a user", u.Redacted())
	}
	o := &OIDC{}
	if len(c.SigningAlgs) == 0 {
		c.SigningAlgs = []string{"RS256"}
	}
	for _, a := range c.SigningAlgs {
		if !slices.Contains(oidcAlgorithms, a) {
			return nil, fmt.Errorf("oidc: unsupported signing alg: %q", a)
		}
		o.algs = append(o.algs, jose.SignatureAlgorithm(a))
	}
	if c.UsernameClaim == "" {
		c.UsernameClaim = "sub"
	}
	switch {
	case c.UsernamePrefix == "-":
		c.UsernamePrefix = ""
	case c.UsernamePrefix == "" && c.UsernameClaim != "email":
		c.UsernamePrefix = c.IssuerURL + "#"
	}
	if c.Transport == nil {
		if c.Transport, err = trusting(c.CA); err != nil {
			return nil, err
		}
	}
	o.c, o.keys = c, newRemoteKeys(c.IssuerURL, c.Transport)
	return o, nil
}

func trusting(ca []byte) (http.RoundTripper, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if ca != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("oidc-ca-file holds no certificate")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return transport, nil
}

// AuthenticateToken implements TokenAuthenticator.
func (o *OIDC) AuthenticateToken(ctx context.Context, t string, audiences []string) (*User, []string, error) {
	good := forAPI(o.c.Audiences, audiences)
	if len(good) == 0 || claimedIssuer(t) != o.c.IssuerURL {
		return nil, nil, nil
	}
	claims, err := o.verify(ctx, t)
	if err != nil {
		return nil, nil, fmt.Errorf("oidc: verify token: %w", err)
	}
	u, err := o.user(claims)
	if err != nil {
		return nil, nil, fmt.Errorf("oidc: %w", err)
	}
	return u, good, nil
}

// claimedIssuer is who a JWT says made it, before anything is proven.
func claimedIssuer(t string) string {
	parts := strings.Split(t, ".")
	if len(parts) != 3 {
		return ""
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(data, &c) != nil {
		return ""
	}
	return c.Issuer
}

// verify checks signature, issuer, audience and time, and returns the claims.
func (o *OIDC) verify(ctx context.Context, t string) (map[string]any, error) {
	parsed, err := jwt.ParseSigned(t, o.algs)
	if err != nil {
		return nil, fmt.Errorf("malformed jwt: %w", err)
	}
	header := parsed.Headers[0]
	keys, err := o.keys.find(ctx, header.KeyID)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		var standard jwt.Claims
		var all map[string]any
		if parsed.Claims(key.Key, &standard, &all) == nil {
			return all, o.check(&standard)
		}
	}
	return nil, errors.New("failed to verify signature")
}

// check allows clocks to differ as Kubernetes does: not at all at the end, five minutes at the beginning.
func (o *OIDC) check(c *jwt.Claims) error {
	now := time.Now()
	switch {
	case c.Issuer != o.c.IssuerURL:
		return fmt.Errorf("id token issued by a different provider, expected %q got %q", o.c.IssuerURL, c.Issuer)
	case !c.Audience.Contains(o.c.ClientID):
		return fmt.Errorf("expected audience in %q got %q", []string{o.c.ClientID}, []string(c.Audience))
	case c.Expiry == nil || !now.Before(c.Expiry.Time()):
		return errors.New("token is expired")
	case c.NotBefore != nil && now.Add(5*time.Minute).Before(c.NotBefore.Time()):
		return errors.New("token is not valid yet")
	}
	return nil
}

// user reads the claims.
func (o *OIDC) user(claims map[string]any) (*User, error) {
	name, err := o.username(claims)
	if err != nil {
		return nil, err
	}
	groups, err := o.groups(claims)
	if err != nil {
		return nil, err
	}
	for claim, want := range o.c.RequiredClaims {
		have, ok := claims[claim]
		if !ok {
			return nil, fmt.Errorf("required claim %s not present in ID token", claim)
		}
		if have != want {
			return nil, fmt.Errorf("required claim %s value does not match. Got = %v, want = %s", claim, have, want)
		}
	}
	u := &User{Name: name, Groups: append(groups, GroupAuthenticated)}
	if id, ok := claims["jti"].(string); ok && id != "" {
		u.Extra = map[string][]string{extraCredential: {"JTI=" + id}}
	}
	return u, nil
}

func (o *OIDC) username(claims map[string]any) (string, error) {
	name, ok := claims[o.c.UsernameClaim].(string)
	if !ok || name == "" {
		return "", fmt.Errorf("parse username claims %q: claim not present", o.c.UsernameClaim)
	}
	if verified, given := claims["email_verified"]; given && o.c.UsernameClaim == "email" && verified != true {
		return "", errors.New("email not verified")
	}
	return o.c.UsernamePrefix + name, nil
}

// groups reads a string or a list of strings.
func (o *OIDC) groups(claims map[string]any) ([]string, error) {
	claim, ok := claims[o.c.GroupsClaim]
	if !ok || o.c.GroupsClaim == "" {
		return nil, nil
	}
	list, ok := claim.([]any)
	if !ok {
		list = []any{claim}
	}
	var groups []string
	for _, g := range list {
		name, ok := g.(string)
		if !ok {
			return nil, fmt.Errorf("parse groups claim %q: it is no list of strings", o.c.GroupsClaim)
		}
		groups = append(groups, o.c.GroupsPrefix+name)
	}
	return groups, nil
}
