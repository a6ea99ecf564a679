// Package serviceaccount gives every namespace what its pods may count on: the ServiceAccount
// default and the ConfigMap kube-root-ca.crt with the cluster's CA.
package serviceaccount

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/state"
)

// Names that Kubernetes gives these objects.
const (
	accountName = "default"
	caName      = "kube-root-ca.crt"
	caKey       = "ca.crt"
)

// New returns the controller. ca is the cluster's CA in PEM.
func New(s *state.State, ca []byte) controller.Controller {
	c := &accounts{s, string(ca)}
	return controller.Controller{
		Name: "serviceaccount",
		Sources: []controller.Source{
			controller.On(func(ns *corev1.Namespace) []controller.Key { return []controller.Key{{Name: ns.Name}} }),
			controller.On(func(sa *corev1.ServiceAccount) []controller.Key { return keyOf(sa, accountName) }),
			controller.On(func(cm *corev1.ConfigMap) []controller.Key { return keyOf(cm, caName) }),
		},
		Reconcile: c.reconcile,
	}
}

func keyOf(obj state.Object, name string) []controller.Key {
	if obj.GetName() != name {
		return nil
	}
	return []controller.Key{{Name: obj.GetNamespace()}}
}

type accounts struct {
	state *state.State
	ca    string
}

func (c *accounts) reconcile(ctx context.Context, key controller.Key) (time.Duration, error) {
	ns, ok := state.Get[*corev1.Namespace](c.state, "", key.Name)
	if !ok || ns.DeletionTimestamp != nil {
		return 0, nil
	}
	return 0, errors.Join(c.account(ctx, ns.Name), c.rootCA(ctx, ns.Name))
}

func (c *accounts) account(ctx context.Context, namespace string) error {
	if _, ok := state.Get[*corev1.ServiceAccount](c.state, namespace, accountName); ok {
		return nil
	}
	_, err := state.Create(ctx, c.state, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: accountName}})
	return settled(err)
}

func (c *accounts) rootCA(ctx context.Context, namespace string) error {
	want := map[string]string{caKey: c.ca}
	have, ok := state.Get[*corev1.ConfigMap](c.state, namespace, caName)
	switch {
	case !ok:
		_, err := state.Create(ctx, c.state, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: caName}, Data: want,
		})
		return settled(err)
	case len(have.Data) == 1 && have.Data[caKey] == c.ca:
		return nil
	}
	_, err := state.Update(ctx, c.state, namespace, caName, func(cm *corev1.ConfigMap) error {
		cm.Data, cm.BinaryData = want, nil
		return nil
	})
	return settled(err)
}

// settled forgives what another event will wake us for, or what no longer matters.
func settled(err error) error {
	if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
