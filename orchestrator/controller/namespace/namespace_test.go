package namespace_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/namespace"
	"wherry/orchestrator/state"
)

func cluster(s *state.State, _ controller.Events) []controller.Controller {
	return []controller.Controller{namespace.New(s)}
}

func TestDeletionEmptiesANamespaceFirst(t *testing.T) {
	controllertest.Run(t, cluster, func(c *controllertest.Cluster) {
		controllertest.Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "doomed"}})
		held := controllertest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "doomed", Name: "held", Finalizers: []string{"example.org/hold"}}})
		controllertest.Create(c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "doomed", Name: "free"}})
		controllertest.Create(c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "elsewhere"}})
		if err := state.Delete[*corev1.Namespace](c.T.Context(), c.State, "", "doomed", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		c.Settle(0)
		ns, ok := state.Get[*corev1.Namespace](c.State, "", "doomed")
		if !ok || ns.Status.Phase != corev1.NamespaceTerminating || len(ns.Status.Conditions) != 2 ||
			ns.Status.Conditions[0].Message != "Some resources are remaining: configmaps has 1 resource instances" ||
			ns.Status.Conditions[1].Message != "Some content in the namespace has finalizers remaining: example.org/hold in 1 resource instances" {
			c.T.Fatalf("%v %+v", ok, ns)
		}
		if _, ok := state.Get[*corev1.Secret](c.State, "doomed", "free"); ok {
			c.T.Error("a secret without finalizers is still there")
		}
		if _, err := state.Update(c.T.Context(), c.State, "doomed", held.Name, func(cm *corev1.ConfigMap) error {
			cm.Finalizers = nil
			return nil
		}); err != nil {
			c.T.Fatal(err)
		}
		c.Settle(2 * time.Second)
		if _, ok := state.Get[*corev1.Namespace](c.State, "", "doomed"); ok {
			c.T.Error("the namespace is still there")
		}
		if _, ok := state.Get[*corev1.ConfigMap](c.State, "default", "elsewhere"); !ok {
			c.T.Error("another namespace's object is gone")
		}
	})
}
