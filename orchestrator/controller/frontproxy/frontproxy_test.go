package frontproxy_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/controller/frontproxy"
	"wherry/orchestrator/state"
)

func TestConfigMapIsKept(t *testing.T) {
	controllertest.Run(t, func(s *state.State, _ controller.Events) []controller.Controller {
		return []controller.Controller{frontproxy.New(frontproxy.Config{State: s, ClientCA: []byte("clients"), ProxyCA: []byte("proxy"), ProxyName: "front-proxy-client"})}
	}, func(c *controllertest.Cluster) {
		controllertest.Create(c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
		const namespace, name = "kube-system", "extension-apiserver-authentication"
		check := func(when string) {
			t.Helper()
			c.Settle(time.Minute)
			m, ok := state.Get[*corev1.ConfigMap](c.State, namespace, name)
			if !ok || len(m.Data) != 7 || m.Data["client-ca-file"] != "clients" || m.Data["requestheader-client-ca-file"] != "proxy" ||
				m.Data["requestheader-allowed-names"] != `["front-proxy-client"]` || m.Data["requestheader-extra-headers-prefix"] != `["X-Remote-Extra-"]` {
				t.Errorf("%s: %v %v", when, ok, m)
			}
		}
		check("at first")
		if _, err := state.Update(c.T.Context(), c.State, namespace, name, func(m *corev1.ConfigMap) error {
			m.Data = map[string]string{"client-ca-file": "somebody else"}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		check("changed")
		if err := state.Delete[*corev1.ConfigMap](c.T.Context(), c.State, namespace, name, state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		check("deleted")
	})
}
