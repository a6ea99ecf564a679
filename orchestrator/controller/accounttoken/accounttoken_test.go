package accounttoken_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/accounttoken"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/state"
)

func TestSecretsHoldTokensAsLongAsTheirAccountLives(t *testing.T) {
	start := func(s *state.State, _ controller.Events) []controller.Controller {
		return []controller.Controller{accounttoken.New(accounttoken.Config{State: s, CA: []byte("PEM"), Make: func(a *corev1.ServiceAccount, s *corev1.Secret) (string, error) {
			return "token of " + a.Name + " in " + s.Name, nil
		}})}
	}
	controllertest.Run(t, start, func(c *controllertest.Cluster) {
		make := func(obj state.Object) {
			c.T.Helper()
			kind, _ := c.State.Kinds().For(obj)
			if _, err := c.State.Create(c.T.Context(), kind, obj, state.CreateOptions{}); err != nil {
				c.T.Fatal(err)
			}
		}
		account := func() *corev1.ServiceAccount {
			return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bot"}}
		}
		secret := func(name, account string) *corev1.Secret {
			return &corev1.Secret{Type: corev1.SecretTypeServiceAccountToken, ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: name, Annotations: map[string]string{"kubernetes.io/service-account.name": account}}}
		}
		find := func(name string) *corev1.Secret {
			c.Settle(0)
			s, _ := state.Get[*corev1.Secret](c.State, "default", name)
			return s
		}
		make(account())
		make(secret("a", "bot"))
		make(secret("b", "nobody"))
		live, _ := state.Get[*corev1.ServiceAccount](c.State, "default", "bot")
		s := find("a")
		if s == nil || string(s.Data["token"]) != "token of bot in a" || string(s.Data["ca.crt"]) != "PEM" || string(s.Data["namespace"]) != "default" ||
			s.Annotations["kubernetes.io/service-account.uid"] != string(live.UID) {
			c.T.Errorf("the Secret holds %v, %v", s.Data, s.Annotations)
		}
		if find("b") != nil {
			c.T.Error("a Secret of nobody is still there")
		}
		controllertest.Change(c, "a", func(s *corev1.Secret) { s.Data["token"], s.Data["ca.crt"] = []byte("mine"), nil })
		if s := find("a"); string(s.Data["token"]) != "mine" || string(s.Data["ca.crt"]) != "PEM" {
			c.T.Errorf("after a change it holds %v", s.Data)
		}
		if err := state.Delete[*corev1.ServiceAccount](c.T.Context(), c.State, "default", "bot", state.DeleteOptions{}); err != nil {
			c.T.Fatal(err)
		}
		if find("a") != nil {
			c.T.Error("the account is gone, its Secret is not")
		}
	})
}
