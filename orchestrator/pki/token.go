package pki

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/proto/nodelink"
)

// Join tokens are kept as Kubernetes keeps bootstrap tokens: a Secret in kube-system, of
// this type, with these keys.
const (
	TokenNamespace  = metav1.NamespaceSystem
	TokenSecretType = corev1.SecretTypeBootstrapToken

	tokenNamePrefix  = "bootstrap-token-"
	tokenID          = "token-id"
	tokenSecret      = "token-secret"
	tokenExpiration  = "expiration"
	tokenDescription = "description"
	tokenUsage       = "usage-bootstrap-authentication"
)

// Errors of CheckToken.
var (
	ErrTokenUnknown = errors.New("the join token is not known; make a new one with `wherry token create`")
	ErrTokenExpired = errors.New("the join token has expired; make a new one with `wherry token create`")
)

// NewToken makes a random token for the CA with that hash.
func NewToken(caHash string) nodelink.Token {
	return nodelink.Token{ID: random(6), Secret: random(16), CAHash: caHash}
}

// random makes n characters of [a-z0-9], each as likely as the others.
func random(n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	const fair = 256 / len(alphabet) * len(alphabet)
	out := make([]byte, 0, n)
	for b := [1]byte{}; len(out) < n; {
		rand.Read(b[:])
		if int(b[0]) < fair {
			out = append(out, alphabet[int(b[0])%len(alphabet)])
		}
	}
	return string(out)
}

// TokenSecretName is the name of the Secret that keeps the token with that id.
func TokenSecretName(id string) string { return tokenNamePrefix + id }

// TokenSecret is the Secret that makes the control plane know the token. It does not hold
// the CA's hash. A life of 0 means for ever.
func TokenSecret(t nodelink.Token, life time.Duration, description string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: TokenNamespace, Name: TokenSecretName(t.ID)},
		Type:       TokenSecretType,
		StringData: map[string]string{tokenID: t.ID, tokenSecret: t.Secret, tokenUsage: "true"},
	}
	if life > 0 {
		s.StringData[tokenExpiration] = time.Now().Add(life).UTC().Format(time.RFC3339)
	}
	if description != "" {
		s.StringData[tokenDescription] = description
	}
	return s
}

// CheckToken says whether id and secret are the token that the Secret keeps, and that it is
// still good. A nil Secret is an unknown token. Errors: ErrTokenUnknown, ErrTokenExpired.
func CheckToken(s *corev1.Secret, id, secret string) error {
	if s == nil || s.Type != TokenSecretType || s.DeletionTimestamp != nil || string(s.Data[tokenUsage]) != "true" {
		return ErrTokenUnknown
	}
	want := s.Data[tokenSecret]
	same := subtle.ConstantTimeCompare(s.Data[tokenID], []byte(id)) & subtle.ConstantTimeCompare(want, []byte(secret))
	if same != 1 || len(want) != 16 {
		return ErrTokenUnknown
	}
	at := string(s.Data[tokenExpiration])
	if at == "" {
		return nil
	}
	until, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return fmt.Errorf("%w (its expiration %q is not a time)", ErrTokenExpired, at)
	}
	if !time.Now().Before(until) {
		return ErrTokenExpired
	}
	return nil
}
