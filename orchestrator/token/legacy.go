package token

import (
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/state"
)

const legacyIssuer = "kubernetes/serviceaccount"

// invalidSince is the label by which somebody takes a Secret's token back without deleting it.
const invalidSince = "kubernetes.io/legacy-token-invalid-since"

// legacy are the claims of tokens in Secrets.
type legacy struct {
	Namespace   string `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	SecretName  string `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	AccountName string `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	AccountUID  string `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

// ForSecret makes the token that a Secret of type kubernetes.io/service-account-token holds.
func (t *Tokens) ForSecret(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error) {
	return t.sign(&claims{
		Claims: jwt.Claims{Issuer: legacyIssuer, Subject: username(account.Namespace, account.Name)},
		legacy: legacy{Namespace: account.Namespace, SecretName: secret.Name, AccountName: account.Name, AccountUID: string(account.UID)},
	})
}

// alive looks whether account and Secret still are what the claims say.
func (l *legacy) alive(s *state.State, subject, token string) (*Identity, error) {
	if l.Namespace == "" || l.SecretName == "" || l.AccountName == "" || l.AccountUID == "" {
		return nil, errors.New("a claim is missing")
	}
	if subject != username(l.Namespace, l.AccountName) {
		return nil, errors.New("sub claim is invalid")
	}
	secret, ok := state.Get[*corev1.Secret](s, l.Namespace, l.SecretName)
	if !ok || secret.DeletionTimestamp != nil {
		//lint:ignore ST1005 the words are Kubernetes'
		return nil, errors.New("Token has been invalidated")
	}
	if subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) != 1 {
		//lint:ignore ST1005 the words are Kubernetes'
		return nil, errors.New("Token does not match server's copy")
	}
	if secret.Labels[invalidSince] != "" {
		return nil, fmt.Errorf("the token in secret %s/%s for service account %s/%s has been marked invalid. Use tokens from the TokenRequest API "+
			"or manually created secret-based tokens, or remove the '%s' label from the secret to temporarily allow use of this token",
			l.Namespace, l.SecretName, l.Namespace, l.AccountName, invalidSince)
	}
	account, ok := state.Get[*corev1.ServiceAccount](s, l.Namespace, l.AccountName)
	switch {
	case !ok:
		return nil, fmt.Errorf("serviceaccounts %q not found", l.AccountName)
	case account.DeletionTimestamp != nil:
		return nil, fmt.Errorf("ServiceAccount %s/%s has been deleted", l.Namespace, l.AccountName)
	case string(account.UID) != l.AccountUID:
		return nil, fmt.Errorf("ServiceAccount UID (%s) does not match claim (%s)", account.UID, l.AccountUID)
	}
	return &Identity{Namespace: l.Namespace, Name: l.AccountName, UID: l.AccountUID}, nil
}
