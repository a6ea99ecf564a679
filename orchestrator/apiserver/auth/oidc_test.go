package auth_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"wherry/orchestrator/apiserver/auth"
)

const (
	issuer   = "https://issuer.test/realm"
	clientID = "wherry"
)

// provider is an OpenID Connect issuer, reached as a transport.
type provider struct {
	keys  map[string]*rsa.PrivateKey
	asked int
	down  bool
	// answer replaces what the issuer says at a path.
	answer map[string]string
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked++
	if p.down {
		return nil, errors.New("the cable is pulled")
	}
	body, ok := p.answer[r.URL.Path]
	if !ok {
		switch r.URL.String() {
		case issuer + "/.well-known/openid-configuration":
			body = `{"issuer":"` + issuer + `","jwks_uri":"https://issuer.test/keys"}`
		case "https://issuer.test/keys":
			set := jose.JSONWebKeySet{}
			for id, key := range p.keys {
				set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Use: "sig", Algorithm: "RS256"})
			}
			b, err := json.Marshal(set)
			if err != nil {
				return nil, err
			}
			body = string(b)
		default:
			return &http.Response{StatusCode: 404, Status: "404 Not Found", Body: http.NoBody, Request: r}, nil
		}
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewBufferString(body)), Request: r}, nil
}

var rsaKeys = func() (keys []*rsa.PrivateKey) { // making them takes long
	for range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys = append(keys, key)
	}
	return keys
}()

func newProvider() *provider {
	return &provider{keys: map[string]*rsa.PrivateKey{"one": rsaKeys[0]}, answer: map[string]string{}}
}

func idToken(t *testing.T, key crypto.PrivateKey, kid string, alg jose.SignatureAlgorithm, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claims are those of jane, with changes; nil removes.
func claims(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	all := map[string]any{
		"iss": issuer, "aud": clientID, "sub": "jane", "iat": now, "exp": now + 600,
		"email": "jane@wherry.test", "groups": []string{"a", "b"}, "hd": "wherry.test",
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

func newOIDC(t *testing.T, p *provider, change func(*auth.OIDCConfig)) *auth.OIDC {
	t.Helper()
	c := auth.OIDCConfig{IssuerURL: issuer, ClientID: clientID, Audiences: []string{"api"}, Transport: p}
	if change != nil {
		change(&c)
	}
	o, err := auth.NewOIDC(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOIDCReadsClaims(t *testing.T) {
	for _, test := range []struct {
		config  func(*auth.OIDCConfig)
		changes map[string]any
		name    string
		groups  []string
		err     string
	}{
		{name: issuer + "#jane"},
		{config: func(c *auth.OIDCConfig) { c.UsernamePrefix = "-" }, name: "jane"},
		{config: func(c *auth.OIDCConfig) { c.UsernamePrefix, c.GroupsClaim, c.GroupsPrefix = "o:", "groups", "g:" }, name: "o:jane", groups: []string{"g:a", "g:b"}},
		{config: func(c *auth.OIDCConfig) { c.GroupsClaim = "hd" }, name: issuer + "#jane", groups: []string{"wherry.test"}},
		{config: func(c *auth.OIDCConfig) { c.GroupsClaim = "exp" }, err: `parse groups claim "exp"`},
		{config: func(c *auth.OIDCConfig) { c.UsernameClaim = "email" }, name: "jane@wherry.test"},
		{config: func(c *auth.OIDCConfig) { c.UsernameClaim = "email" }, changes: map[string]any{"email_verified": true}, name: "jane@wherry.test"},
		{config: func(c *auth.OIDCConfig) { c.UsernameClaim = "email" }, changes: map[string]any{"email_verified": false}, err: "email not verified"},
		{config: func(c *auth.OIDCConfig) { c.UsernameClaim = "email" }, changes: map[string]any{"email_verified": "true"}, err: "email not verified"},
		{config: func(c *auth.OIDCConfig) { c.UsernameClaim = "none" }, err: "claim not present"},
		{config: func(c *auth.OIDCConfig) { c.UsernameClaim = "exp" }, err: "claim not present"},
		{config: func(c *auth.OIDCConfig) { c.RequiredClaims = map[string]string{"hd": "wherry.test"} }, name: issuer + "#jane"},
		{config: func(c *auth.OIDCConfig) { c.RequiredClaims = map[string]string{"hd": "other"} }, err: "required claim hd value does not match"},
		{config: func(c *auth.OIDCConfig) { c.RequiredClaims = map[string]string{"x": "y"} }, err: "required claim x not present in ID token"},
	} {
		o := newOIDC(t, newProvider(), test.config)
		got, audiences, err := o.AuthenticateToken(t.Context(), idToken(t, rsaKeys[0], "one", jose.RS256, claims(test.changes)), nil)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || got != nil {
				t.Errorf("%v, %v, want %s", got, err, test.err)
			}
			continue
		}
		want := &auth.User{Name: test.name, Groups: append(test.groups, auth.GroupAuthenticated)}
		if diff := cmp.Diff(want, got) + cmp.Diff([]string{"api"}, audiences); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
}

func TestOIDCRefuses(t *testing.T) {
	now := time.Now().Unix()
	b64 := base64.RawURLEncoding.EncodeToString
	body, err := json.Marshal(claims(nil))
	if err != nil {
		t.Fatal(err)
	}
	good := idToken(t, rsaKeys[0], "one", jose.RS256, claims(nil))
	parts := strings.Split(good, ".")
	sign := func(changes map[string]any) string { return idToken(t, rsaKeys[0], "one", jose.RS256, claims(changes)) }
	for name, test := range map[string]struct{ token, want string }{
		"no algorithm":      {b64([]byte(`{"alg":"none"}`)) + "." + b64(body) + ".", "malformed"},
		"another algorithm": {idToken(t, rsaKeys[0], "one", jose.RS512, claims(nil)), "malformed"},
		"a shared secret":   {idToken(t, make([]byte, 64), "one", jose.HS256, claims(nil)), "malformed"},
		"another's key":     {idToken(t, rsaKeys[1], "one", jose.RS256, claims(nil)), "signature"},
		"an unknown key":    {idToken(t, rsaKeys[0], "two", jose.RS256, claims(nil)), "no key of the issuer"},
		"changed":           {parts[0] + "." + b64(bytes.Replace(body, []byte("jane"), []byte("root"), 1)) + "." + parts[2], "signature"},
		"another audience":  {sign(map[string]any{"aud": "other"}), "expected audience"},
		"no audience":       {sign(map[string]any{"aud": nil}), "expected audience"},
		"expired":           {sign(map[string]any{"exp": now - 1}), "expired"},
		"never expires":     {sign(map[string]any{"exp": nil}), "expired"},
		"not yet valid":     {sign(map[string]any{"nbf": now + 400}), "not valid yet"},
		"no user":           {sign(map[string]any{"sub": nil}), "claim not present"},
	} {
		got, _, err := newOIDC(t, newProvider(), nil).AuthenticateToken(t.Context(), test.token, nil)
		if got != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, token := range []string{"", "a.b", "a.b.c", b64([]byte("{")) + "." + b64([]byte("{")) + ".", sign(map[string]any{"iss": "https://other.test"})} {
		if got, _, err := newOIDC(t, newProvider(), nil).AuthenticateToken(t.Context(), token, nil); got != nil || err != nil {
			t.Errorf("%.20q is of this issuer? %v, %v", token, got, err)
		}
	}
	if got, _, err := newOIDC(t, newProvider(), nil).AuthenticateToken(t.Context(), good, []string{"vault"}); got != nil || err != nil {
		t.Errorf("for others than the API: %v, %v", got, err)
	}
}

func TestOIDCIssuerMisbehaves(t *testing.T) {
	const configuration = "/realm/.well-known/openid-configuration"
	for name, test := range map[string]struct{ path, answer, want string }{
		"another issuer":    {configuration, `{"issuer":"https://x","jwks_uri":"https://issuer.test/keys"}`, "calls itself"},
		"keys in the clear": {configuration, `{"issuer":"` + issuer + `","jwks_uri":"http://issuer.test/keys"}`, "no https URL"},
		"no JSON":           {configuration, `<html>`, "read "},
		"no keys":           {"/keys", `{"keys":[]}`, "has 0 keys"},
		"shared keys":       {"/keys", `{"keys":[{"kty":"oct","k":"AAAA"}]}`, "has 0 keys"},
		"endless":           {"/keys", strings.Repeat(" ", 2<<20), "larger than"},
	} {
		p := newProvider()
		p.answer[test.path] = test.answer
		got, _, err := newOIDC(t, p, nil).AuthenticateToken(t.Context(), idToken(t, rsaKeys[0], "one", jose.RS256, claims(nil)), nil)
		if got != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestOIDCKeysAreFetchedWhenNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		o := newOIDC(t, p, nil)
		try := func(key int, kid string, ok bool, asked int) {
			t.Helper()
			got, _, err := o.AuthenticateToken(t.Context(), idToken(t, rsaKeys[key], kid, jose.RS256, claims(nil)), nil)
			if (got != nil) != ok || p.asked != asked {
				t.Errorf("%v, %v; the issuer was asked %d times, not %d", got, err, p.asked, asked)
			}
		}
		try(0, "one", true, 2)
		try(0, "one", true, 2)
		p.keys["two"] = rsaKeys[1]
		try(1, "two", false, 2) // asked just now
		time.Sleep(11 * time.Second)
		try(1, "two", true, 4)
		for range 100 { // made-up ids do not flood the issuer
			try(2, "three", false, 4)
		}
		time.Sleep(11 * time.Second)
		try(2, "three", false, 6)
		p.down = true
		time.Sleep(2 * time.Hour)
		try(1, "two", true, 7) // old keys do while the issuer is away
		p.down = false
		delete(p.keys, "two")
		time.Sleep(11 * time.Second)
		try(1, "two", false, 9)
	})
}

func TestOIDCConfigurations(t *testing.T) {
	for _, c := range []auth.OIDCConfig{
		{}, {IssuerURL: issuer}, {ClientID: clientID}, {IssuerURL: "http://x", ClientID: clientID}, {IssuerURL: "https://x?y", ClientID: clientID},
		{IssuerURL: issuer, ClientID: clientID, SigningAlgs: []string{"none"}}, {IssuerURL: issuer, ClientID: clientID, SigningAlgs: []string{"HS256"}},
		{IssuerURL: issuer, ClientID: clientID, CA: []byte("x")},
	} {
		if _, err := auth.NewOIDC(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
