package serviceaccount_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/serviceaccount"
	"wherry/orchestrator/state"
)

func TestEveryNamespaceHasItsOwn(t *testing.T) {
	start := func(s *state.State, _ controller.Events) []controller.Controller {
		return []controller.Controller{serviceaccount.New(s, []byte("PEM"))}
	}
	controllertest.Run(t, start, func(c *controllertest.Cluster) {
		check := func(when string) {
			c.T.Helper()
			c.Settle(0)
			cm, _ := state.Get[*corev1.ConfigMap](c.State, "default", "kube-root-ca.crt")
			if _, ok := state.Get[*corev1.ServiceAccount](c.State, "default", "default"); !ok || cm == nil || cm.Data["ca.crt"] != "PEM" {
				c.T.Errorf("%s: account %v, CA %v", when, ok, cm)
			}
		}
		check("at the beginning")
		if err := state.Delete[*corev1.ServiceAccount](c.T.Context(), c.State, "default", "default", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		controllertest.Change(c, "kube-root-ca.crt", func(cm *corev1.ConfigMap) { cm.Data = map[string]string{"ca.crt": "forged"} })
		check("after both were tampered with")
	})
}
