// Package frontproxy keeps the ConfigMap kube-system/extension-apiserver-authentication, from which aggregated servers
// learn whose certificates are clients' and by which headers and certificate the API server tells who has asked it.
package frontproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// Name is the ConfigMap's.
const Name = "extension-apiserver-authentication"

// Config is what is told. CAs are PEM.
type Config struct {
	State *state.State
	// ClientCA makes clients' certificates, ProxyCA that of the proxy, whose name is ProxyName.
	ClientCA, ProxyCA []byte
	ProxyName         string
}

// New returns the controller.
func New(c Config) controller.Controller {
	key := controller.Key{Namespace: metav1.NamespaceSystem, Name: Name}
	data := c.data()
	return controller.Controller{
		Name:  "cluster-authentication-trust",
		Start: []controller.Key{key},
		Sources: []controller.Source{controller.On(func(m *corev1.ConfigMap) []controller.Key {
			if m.Namespace != key.Namespace || m.Name != key.Name {
				return nil
			}
			return []controller.Key{key}
		})},
		Reconcile: func(ctx context.Context, key controller.Key) (time.Duration, error) {
			return 0, keep(ctx, c.State, key, data)
		},
	}
}

func (c Config) data() map[string]string {
	list := func(one string) string {
		b, _ := json.Marshal([]string{one}) // a string can always be encoded
		return string(b)
	}
	return map[string]string{
		"client-ca-file":                     string(c.ClientCA),
		"requestheader-client-ca-file":       string(c.ProxyCA),
		"requestheader-allowed-names":        list(c.ProxyName),
		"requestheader-username-headers":     list("X-Remote-User"),
		"requestheader-uid-headers":          list("X-Remote-Uid"),
		"requestheader-group-headers":        list("X-Remote-Group"),
		"requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
	}
}

func keep(ctx context.Context, s *state.State, key controller.Key, data map[string]string) error {
	have, ok := state.Get[*corev1.ConfigMap](s, key.Namespace, key.Name)
	var err error
	switch {
	case !ok:
		_, err = state.Create(ctx, s, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: data})
	case !maps.Equal(have.Data, data):
		_, err = state.Update(ctx, s, key.Namespace, key.Name, func(live *corev1.ConfigMap) error {
			live.Data = data
			return nil
		})
	}
	if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return nil // the change wakes us
	}
	if err != nil {
		return fmt.Errorf("publishing how aggregated servers authenticate: %w", err)
	}
	return nil
}
