package auth_test

import (
	"context"
	"encoding/base64"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/apiserver/auth"
	"wherry/orchestrator/pki"
	"wherry/orchestrator/resource"
	"wherry/orchestrator/state"
	"wherry/orchestrator/store/memstore"
)

// janes knows one token.
type janes string

func (k janes) AuthenticateToken(_ context.Context, token string, _ []string) (*auth.User, []string, error) {
	if token == string(k) {
		return jane, nil, nil
	}
	return nil, nil, nil
}

func TestBearer(t *testing.T) {
	encoded := "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte("secret"))
	for _, test := range []struct {
		header, protocol string
		want             *auth.User
		err, left        string
	}{
		{"", "", nil, "", ""},
		{"Basic abc", "", nil, "", ""},
		{"Bearer", "", nil, "", ""},
		{"Bearer secret", "", jane, "", ""},
		{"bearer secret", "", jane, "", ""},
		{"Bearer other", "", nil, "invalid bearer token", ""},
		{"Bearer secret more", "", nil, "invalid bearer token", ""},
		{"Bearer " + strings.Repeat("x", 1<<20), "", nil, "too long", ""},
		{"", "v5.channel.k8s.io, " + encoded, jane, "", "v5.channel.k8s.io"},
		{"", encoded, nil, "missing additional subprotocol", encoded},
		{"", encoded + ",a," + encoded, nil, "multiple", encoded + ",a," + encoded},
		{"", "a,base64url.bearer.authorization.k8s.io.!", nil, "encoding", "a,base64url.bearer.authorization.k8s.io.!"},
		{"", "a,b", nil, "", "a,b"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", test.header)
		if test.protocol != "" {
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Sec-WebSocket-Protocol", test.protocol)
		}
		got, err := auth.Bearer{janes("secret")}.Authenticate(r)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%.50q %q: %v, %v", test.header, test.protocol, got, err)
		}
		if left := r.Header.Get("Sec-WebSocket-Protocol"); left != test.left || got != nil && r.Header.Get("Authorization") != "" {
			t.Errorf("%.50q %q: the request goes on with %q %q", test.header, test.protocol, left, r.Header.Get("Authorization"))
		}
	}
}

func TestBootstrapTokens(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := state.Open(ctx, memstore.New(), state.Options{Kinds: resource.New()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	keep := func(id string, change func(*corev1.Secret)) {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken,
			Data: map[string][]byte{
				"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
			},
		}
		change(secret)
		if _, err := state.Create(ctx, s, secret); err != nil {
			t.Fatal(err)
		}
	}
	set := func(key, value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[key] = []byte(value) }
	}
	keep("aaaaaa", func(*corev1.Secret) {})
	keep("groups", set("auth-extra-groups", "system:bootstrappers:x,system:bootstrappers:a:b"))
	keep("forged", set("auth-extra-groups", "system:masters"))
	keep("ended0", set("expiration", time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)))
	keep("usage0", set("usage-bootstrap-authentication", "false"))
	keep("opaque", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque })
	b := auth.Bootstrap{State: s, Audiences: []string{"api"}, Check: pki.CheckToken}
	for _, test := range []struct {
		token string
		want  []string // groups
		none  bool     // not of this kind
	}{
		{"aaaaaa.0123456789abcdef", []string{"system:bootstrappers", "system:authenticated"}, false},
		{"groups.0123456789abcdef", []string{"system:bootstrappers", "system:bootstrappers:a:b", "system:bootstrappers:x", "system:authenticated"}, false},
		{"forged.0123456789abcdef", nil, false},
		{"ended0.0123456789abcdef", nil, false},
		{"usage0.0123456789abcdef", nil, false},
		{"opaque.0123456789abcdef", nil, false},
		{"aaaaaa.0123456789abcdeg", nil, false},
		{"nobody.0123456789abcdef", nil, false},
		{"aaaaaa.0123456789abcde", nil, true},
		{"aaaaaa.0123456789abcdef\n", nil, true},
		{"AAAAAA.0123456789abcdef", nil, true},
	} {
		got, audiences, err := b.AuthenticateToken(ctx, test.token, nil)
		switch {
		case test.want == nil:
			if got != nil || (err == nil) != test.none {
				t.Errorf("%q: %v, %v", test.token, got, err)
			}
		case err != nil:
			t.Errorf("%q: %v", test.token, err)
		default:
			want := &auth.User{Name: "system:bootstrap:" + test.token[:6], Groups: test.want}
			if diff := cmp.Diff(want, got) + cmp.Diff([]string{"api"}, audiences); diff != "" {
				t.Error(diff)
			}
		}
	}
	if got, _, err := b.AuthenticateToken(ctx, "aaaaaa.0123456789abcdef", []string{"vault"}); got != nil || err != nil {
		t.Errorf("for others than the API: %v, %v", got, err)
	}
}
