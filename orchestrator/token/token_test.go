package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
	"wherry/orchestrator/token"
)

const (
	issuer = "https://wherry.test"
	ns     = "default"
)

// cluster is a state with the account bot, its pod p on the node n, and the Secret s.
type cluster struct {
	*testing.T
	state  *state.State
	keys   []crypto.Signer
	tokens *token.Tokens
}

func bubble(t *testing.T, test func(c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New()})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		defer func() {
			cancel()
			<-done
		}()
		c := &cluster{T: t, state: s, keys: []crypto.Signer{newKey(t)}}
		c.tokens = token.New(token.Config{
			State: s, Issuers: []string{issuer, "https://old.test"}, Audiences: []string{issuer, "api"}, Keys: func() []crypto.Signer { return c.keys },
		})
		meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: ns, Name: name} }
		create(c, &corev1.ServiceAccount{ObjectMeta: meta("bot")})
		create(c, &corev1.ServiceAccount{ObjectMeta: meta("other")})
		create(c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
		create(c, &corev1.Secret{ObjectMeta: meta("s")})
		create(c, &corev1.Pod{ObjectMeta: meta("p"), Spec: corev1.PodSpec{
			ServiceAccountName: "bot", NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}},
		}})
		test(c)
	})
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func create[T state.Object](c *cluster, obj T) {
	c.Helper()
	if _, err := state.Create(c.Context(), c.state, obj); err != nil {
		c.Fatal(err)
	}
}

func remove[T state.Object](c *cluster, namespace, name string) {
	c.Helper()
	zero := int64(0)
	if err := state.Delete[T](c.Context(), c.state, namespace, name, state.DeleteOptions{Grace: &zero}); err != nil {
		c.Fatal(err)
	}
}

func get[T state.Object](c *cluster, namespace, name string) T {
	c.Helper()
	obj, ok := state.Get[T](c.state, namespace, name)
	if !ok {
		c.Fatalf("no %s", name)
	}
	return obj
}

func (c *cluster) request(r *authenticationv1.TokenRequest) string {
	c.Helper()
	if err := c.tokens.Request(ns, "bot", r); err != nil {
		c.Fatal(err)
	}
	return r.Status.Token
}

func boundTo(kind, name string) *authenticationv1.TokenRequest {
	r := &authenticationv1.TokenRequest{}
	if kind != "" {
		r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}
	}
	return r
}

// good and bad check a token for the API.
func (c *cluster) good(tok string) *token.Identity {
	c.Helper()
	id, err := c.tokens.Verify(tok, nil)
	if err != nil {
		c.Fatal(err)
	}
	return id
}

func (c *cluster) bad(tok, want string) {
	c.Helper()
	if _, err := c.tokens.Verify(tok, nil); err == nil || !strings.Contains(err.Error(), want) {
		c.Errorf("%v, want %q", err, want)
	}
}

func payload(c *cluster, tok string) map[string]any {
	c.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(tok, ".")[1])
	if err != nil {
		c.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		c.Fatal(err)
	}
	return all
}

func TestClaimsAreKubernetes(t *testing.T) {
	bubble(t, func(c *cluster) {
		life := int64(token.LifeInPods)
		r := boundTo("Pod", "p")
		r.Spec.ExpirationSeconds = &life
		tok := c.request(r)
		account, pod, node := get[*corev1.ServiceAccount](c, ns, "bot"), get[*corev1.Pod](c, ns, "p"), get[*corev1.Node](c, "", "n")
		now := float64(time.Now().Unix())
		got := payload(c, tok)
		id := got["jti"].(string)
		delete(got, "jti")
		want := map[string]any{
			"iss": issuer, "sub": "system:serviceaccount:default:bot", "aud": []any{issuer, "api"},
			"iat": now, "nbf": now, "exp": now + 365*24*3600,
			"kubernetes.io": map[string]any{
				"namespace": ns, "warnafter": now + 3607,
				"serviceaccount": map[string]any{"name": "bot", "uid": string(account.UID)},
				"pod":            map[string]any{"name": "p", "uid": string(pod.UID)},
				"node":           map[string]any{"name": "n", "uid": string(node.UID)},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			c.Error(diff)
		}
		if at := r.Status.ExpirationTimestamp.Unix(); float64(at) != now+3607 {
			c.Errorf("expires at %d", at)
		}
		wantID := &token.Identity{
			Namespace: ns, Name: "bot", UID: string(account.UID), PodName: "p", PodUID: string(pod.UID),
			NodeName: "n", NodeUID: string(node.UID), ID: id, Audiences: []string{issuer, "api"},
		}
		if diff := cmp.Diff(wantID, c.good(tok)); diff != "" {
			c.Error(diff)
		}
	})
}

func TestRequestsAreJudged(t *testing.T) {
	seconds := func(n int64) func(*authenticationv1.TokenRequest) {
		return func(r *authenticationv1.TokenRequest) { r.Spec.ExpirationSeconds = &n }
	}
	bound := func(apiVersion, kind, name string) func(*authenticationv1.TokenRequest) {
		return func(r *authenticationv1.TokenRequest) {
			r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: apiVersion, Kind: kind, Name: name}
		}
	}
	bubble(t, func(c *cluster) {
		for _, test := range []struct {
			account string
			change  func(*authenticationv1.TokenRequest)
			want    string
		}{
			{"none", func(*authenticationv1.TokenRequest) {}, `serviceaccounts "none" not found`},
			{"bot", seconds(599), "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"},
			{"bot", seconds(1<<32 + 1), "may not specify a duration larger than 2^32 seconds"},
			{"bot", func(r *authenticationv1.TokenRequest) { r.Name = "x" }, "metadata.name: Invalid value: \"x\": must match the service account name if specified"},
			{"bot", func(r *authenticationv1.TokenRequest) { r.Namespace = "x" }, "metadata.namespace: Invalid value: \"x\": must match"},
			{"bot", func(r *authenticationv1.TokenRequest) { r.UID = "x" }, "the UID in the token request (x) does not match the UID of the service account"},
			{"bot", bound("v1", "Pod", "none"), `pods "none" not found`},
			{"bot", bound("v1", "Secret", "none"), `secrets "none" not found`},
			{"bot", bound("v1", "Node", "none"), `nodes "none" not found`},
			{"bot", bound("v1", "ConfigMap", "x"), "cannot bind token to object of type /v1, Kind=ConfigMap"},
			{"other", bound("v1", "Pod", "p"), `cannot bind token for serviceaccount "other" to pod running with different serviceaccount name.`},
			{"bot", func(r *authenticationv1.TokenRequest) {
				bound("v1", "Pod", "p")(r)
				r.Spec.BoundObjectRef.UID = "x"
			}, "the UID in the bound object reference (x) does not match the UID in record"},
		} {
			r := &authenticationv1.TokenRequest{}
			test.change(r)
			err := c.tokens.Request(ns, test.account, r)
			if err == nil || !strings.Contains(err.Error(), test.want) || r.Status.Token != "" {
				c.Errorf("%v\nwant %s", err, test.want)
			}
			if apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
				c.Errorf("%v has no status", err)
			}
		}
	})
}

func TestTokensEndWithWhatTheyAreBoundTo(t *testing.T) {
	for _, test := range []struct {
		kind, name string
		end        func(c *cluster)
		want       string
	}{
		{"", "", func(c *cluster) { remove[*corev1.ServiceAccount](c, ns, "bot") }, `serviceaccounts "bot" not found`},
		{"Pod", "p", func(c *cluster) { remove[*corev1.Pod](c, ns, "p") }, "invalidated"},
		{"Secret", "s", func(c *cluster) { remove[*corev1.Secret](c, ns, "s") }, "invalidated"},
		{"Node", "n", func(c *cluster) { remove[*corev1.Node](c, "", "n") }, "invalidated"},
		{"Secret", "s", func(c *cluster) {
			remove[*corev1.Secret](c, ns, "s")
			create(c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "s"}})
		}, "does not match service account secret ref claim"},
		{"", "", func(c *cluster) {
			remove[*corev1.ServiceAccount](c, ns, "bot")
			create(c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bot"}})
		}, "service account UID"},
	} {
		bubble(t, func(c *cluster) {
			tok := c.request(boundTo(test.kind, test.name))
			c.good(tok)
			test.end(c)
			c.bad(tok, test.want)
		})
	}
}

func TestAPodThatEndsKeepsItsTokenForAMinute(t *testing.T) {
	bubble(t, func(c *cluster) {
		tok := c.request(boundTo("Pod", "p"))
		grace := int64(600)
		if err := state.Delete[*corev1.Pod](c.Context(), c.state, ns, "p", state.DeleteOptions{Grace: &grace}); err != nil {
			c.Fatal(err)
		}
		at := get[*corev1.Pod](c, ns, "p").DeletionTimestamp.Time
		time.Sleep(time.Until(at))
		c.good(tok)
		time.Sleep(time.Minute + time.Second)
		c.bad(tok, "invalidated")
	})
}

func TestTime(t *testing.T) {
	bubble(t, func(c *cluster) {
		tok := c.request(boundTo("", ""))
		time.Sleep(time.Hour + 59*time.Second) // clocks may differ by a minute
		c.good(tok)
		time.Sleep(2 * time.Second)
		c.bad(tok, "service account token has expired")
	})
}

func TestAudiences(t *testing.T) {
	bubble(t, func(c *cluster) {
		r := &authenticationv1.TokenRequest{}
		r.Spec.Audiences = []string{"vault", "other"}
		tok := c.request(r)
		c.bad(tok, `token audiences ["vault" "other"] is invalid for the target audiences`)
		id, err := c.tokens.Verify(tok, []string{"x", "vault"})
		if err != nil || !cmp.Equal(id.Audiences, []string{"vault"}) {
			c.Errorf("%v, %v", id, err)
		}
		// A long life is for the API only.
		life := int64(token.LifeInPods)
		r = boundTo("Pod", "p")
		r.Spec.Audiences, r.Spec.ExpirationSeconds = []string{"vault"}, &life
		claims := payload(c, c.request(r))
		if claims["exp"].(float64)-claims["iat"].(float64) != token.LifeInPods {
			c.Errorf("%v", claims)
		}
	})
}

func TestKeysRotate(t *testing.T) {
	bubble(t, func(c *cluster) {
		first := c.request(boundTo("", ""))
		old := c.keys
		c.keys = append([]crypto.Signer{newKey(t)}, old...)
		second := c.request(boundTo("", ""))
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		c.keys = append([]crypto.Signer{rsaKey}, c.keys...)
		third := c.request(boundTo("", ""))
		fresh := token.New(c.tokens.Config) // one that has verified nothing yet
		for _, tok := range []string{first, second, third} {
			if _, err := fresh.Verify(tok, nil); err != nil {
				t.Error(err)
			}
		}
		set, err := c.tokens.KeySet()
		if err != nil || len(set.Keys) != 3 || set.Keys[0].Algorithm != "RS256" || set.Keys[1].Algorithm != "ES256" || !set.Keys[2].IsPublic() {
			t.Errorf("%v, %v", set, err)
		}
		c.keys = c.keys[:2]
		if _, err := token.New(c.tokens.Config).Verify(first, nil); err == nil {
			t.Error("a token of a key that was removed is believed")
		}
	})
}

// signed makes a token with whatever is asked.
func signed(c *cluster, key any, alg jose.SignatureAlgorithm, kid string, claims any) string {
	c.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		c.Fatal(err)
	}
	tok, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		c.Fatal(err)
	}
	return tok
}

func TestHostileTokens(t *testing.T) {
	bubble(t, func(c *cluster) {
		real := c.request(boundTo("Pod", "p"))
		claims := payload(c, real)
		with := func(changes map[string]any) map[string]any {
			all := map[string]any{}
			for k, v := range claims {
				all[k] = v
			}
			for k, v := range changes {
				if v == nil {
					delete(all, k)
				} else {
					all[k] = v
				}
			}
			return all
		}
		b64 := base64.RawURLEncoding.EncodeToString
		body, err := json.Marshal(claims)
		if err != nil {
			c.Fatal(err)
		}
		parts := strings.Split(real, ".")
		der, err := json.Marshal(c.keys[0].Public())
		if err != nil {
			c.Fatal(err)
		}
		own := c.keys[0]
		now := float64(time.Now().Unix())
		for _, test := range []struct{ name, token, want string }{
			{"no algorithm", b64([]byte(`{"alg":"none"}`)) + "." + b64(body) + ".", "malformed"},
			{"shared secret", signed(c, append(der, make([]byte, 64)...), jose.HS256, "", claims), "malformed"},
			{"another's key", signed(c, newKey(t), jose.ES256, "", claims), "invalid signature"},
			{"an unknown key id", signed(c, own, jose.ES256, "x", claims), "no keys found"},
			{"another's issuer", signed(c, own, jose.ES256, "", with(map[string]any{"iss": "https://evil.test"})), token.ErrNotOurs.Error()},
			{"no issuer", signed(c, own, jose.ES256, "", with(map[string]any{"iss": nil})), token.ErrNotOurs.Error()},
			{"another audience", signed(c, own, jose.ES256, "", with(map[string]any{"aud": []string{"x"}})), "invalid for the target audiences"},
			{"expired", signed(c, own, jose.ES256, "", with(map[string]any{"exp": now - 100})), "has expired"},
			{"never expires", signed(c, own, jose.ES256, "", with(map[string]any{"exp": nil})), "a claim of the service account token is missing"},
			{"not yet valid", signed(c, own, jose.ES256, "", with(map[string]any{"nbf": now + 100})), "is not valid yet"},
			{"from the future", signed(c, own, jose.ES256, "", with(map[string]any{"iat": now + 100})), "is issued in the future"},
			{"another subject", signed(c, own, jose.ES256, "", with(map[string]any{"sub": "system:serviceaccount:kube-system:bot"})), "a claim of"},
			{"a person", signed(c, own, jose.ES256, "", map[string]any{"iss": issuer, "sub": "admin", "exp": now + 100}), "a claim of"},
			{"changed", parts[0] + "." + b64([]byte(strings.Replace(string(body), "bot", "bob", 1))) + "." + parts[2], "invalid signature"},
			{"without signature", parts[0] + "." + parts[1] + ".", "invalid signature"},
			{"four parts", real + ".x", token.ErrNotOurs.Error()},
			{"no JWT", "abcdef.0123456789abcdef", token.ErrNotOurs.Error()},
			{"empty", "", token.ErrNotOurs.Error()},
			{"large", real + strings.Repeat("A", 1<<20), token.ErrNotOurs.Error()},
		} {
			t.Log(test.name)
			c.bad(test.token, test.want)
		}
		c.good(real)
	})
}

func TestTokensInSecrets(t *testing.T) {
	bubble(t, func(c *cluster) {
		account := get[*corev1.ServiceAccount](c, ns, "bot")
		tok, err := c.tokens.ForSecret(account, get[*corev1.Secret](c, ns, "s"))
		if err != nil {
			t.Fatal(err)
		}
		c.bad(tok, "Token does not match server's copy")
		change := func(with func(*corev1.Secret)) {
			if _, err := state.Update(c.Context(), c.state, ns, "s", func(s *corev1.Secret) error {
				with(s)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		change(func(s *corev1.Secret) { s.Data = map[string][]byte{"token": []byte(tok)} })
		if got := c.good(tok); got.Name != "bot" || got.UID != string(account.UID) || got.ID != "" {
			t.Errorf("%+v", got)
		}
		time.Sleep(10 * 365 * 24 * time.Hour)
		c.good(tok)
		change(func(s *corev1.Secret) {
			s.Labels = map[string]string{"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}
		})
		c.bad(tok, "has been marked invalid")
		change(func(s *corev1.Secret) { s.Labels = nil })
		c.good(tok)
		remove[*corev1.Secret](c, ns, "s")
		c.bad(tok, "Token has been invalidated")
	})
}

func FuzzVerify(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	s, err := state.Open(f.Context(), memstore.New(), state.Options{Kinds: resource.New()})
	if err != nil {
		f.Fatal(err)
	}
	tokens := token.New(token.Config{State: s, Issuers: []string{issuer}, Audiences: []string{issuer}, Keys: func() []crypto.Signer { return []crypto.Signer{key} }})
	body := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"` + issuer + `"}`))
	for _, header := range []string{`{"alg":"none"}`, `{"alg":"ES256"}`, `{"alg":"ES256","kid":"x","jwk":{}}`} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + body + ".AAAA")
	}
	f.Fuzz(func(t *testing.T, tok string) {
		if _, err := tokens.Verify(tok, nil); err == nil {
			t.Errorf("%q is believed", tok)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for name, keep := range map[string]bool{"cached": true, "first": false} {
		b.Run(name, func(b *testing.B) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New()})
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			defer func() {
				cancel()
				<-done
			}()
			config := token.Config{State: s, Issuers: []string{issuer}, Audiences: []string{issuer}, Keys: func() []crypto.Signer { return []crypto.Signer{key} }}
			tokens := token.New(config)
			if _, err := state.Create(ctx, s, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bot"}}); err != nil {
				b.Fatal(err)
			}
			r := &authenticationv1.TokenRequest{}
			if err := tokens.Request(ns, "bot", r); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if !keep {
					tokens = token.New(config)
				}
				if _, err := tokens.Verify(r.Status.Token, nil); errors.Is(err, token.ErrNotOurs) || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
