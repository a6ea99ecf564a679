// Package accounttoken fills Secrets of type kubernetes.io/service-account-token with a token of the account that they
// name, and removes them when the account has gone.
package accounttoken

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// Config is what the controller needs; all of it is required.
type Config struct {
	State *state.State
	CA    []byte // the cluster's, PEM
	// Make makes the token that a Secret is to hold.
	Make func(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error)
}

// New returns the controller. Its keys are Secrets.
func New(c Config) controller.Controller {
	return controller.Controller{
		Name: "serviceaccount-token",
		Sources: []controller.Source{
			controller.On(func(s *corev1.Secret) []controller.Key {
				if s.Type != corev1.SecretTypeServiceAccountToken {
					return nil
				}
				return controller.Self(s)
			}),
			controller.On(c.secretsOf),
		},
		Reconcile: c.reconcile,
	}
}

// secretsOf are the Secrets that name an account.
func (c Config) secretsOf(account *corev1.ServiceAccount) (keys []controller.Key) {
	for _, s := range state.List[*corev1.Secret](c.State, state.Selector{Namespace: account.Namespace}) {
		if s.Type == corev1.SecretTypeServiceAccountToken && s.Annotations[corev1.ServiceAccountNameKey] == account.Name {
			keys = append(keys, controller.Self(s)...)
		}
	}
	return keys
}

func (c Config) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	secret, ok := state.Get[*corev1.Secret](c.State, key.Namespace, key.Name)
	if !ok || secret.Type != corev1.SecretTypeServiceAccountToken || secret.DeletionTimestamp != nil {
		return 0, nil
	}
	account, ok := state.Get[*corev1.ServiceAccount](c.State, key.Namespace, secret.Annotations[corev1.ServiceAccountNameKey])
	if uid := secret.Annotations[corev1.ServiceAccountUIDKey]; !ok || uid != "" && uid != string(account.UID) {
		o := state.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}}
		return 0, settled(state.Delete[*corev1.Secret](ctx, c.State, key.Namespace, key.Name, o))
	}
	if account.DeletionTimestamp != nil || c.complete(secret) {
		return 0, nil
	}
	token, err := c.Make(account, secret)
	if err != nil {
		return 0, err
	}
	_, err = state.Update(ctx, c.State, key.Namespace, key.Name, func(s *corev1.Secret) error {
		c.fill(s, account, token)
		return nil
	})
	return 0, settled(err)
}

func (c Config) complete(s *corev1.Secret) bool {
	return len(s.Data[corev1.ServiceAccountTokenKey]) > 0 && string(s.Data[corev1.ServiceAccountRootCAKey]) == string(c.CA) &&
		string(s.Data[corev1.ServiceAccountNamespaceKey]) == s.Namespace && s.Annotations[corev1.ServiceAccountUIDKey] != ""
}

// fill keeps the token that is there: somebody uses it.
func (c Config) fill(s *corev1.Secret, account *corev1.ServiceAccount, token string) {
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	if len(s.Data[corev1.ServiceAccountTokenKey]) == 0 {
		s.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	s.Data[corev1.ServiceAccountRootCAKey] = c.CA
	s.Data[corev1.ServiceAccountNamespaceKey] = []byte(s.Namespace)
	s.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
}

// settled forgives what another event will wake us for.
func settled(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
