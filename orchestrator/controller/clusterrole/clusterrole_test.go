package clusterrole_test

import (
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wherry/orchestrator/controller"
	"wherry/orchestrator/controller/clusterrole"
	"wherry/orchestrator/controller/controllertest"
	"wherry/orchestrator/state"
)

func role(name, label, aggregates string, resources ...string) *rbacv1.ClusterRole {
	r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if label != "" {
		r.Labels = map[string]string{label: "true"}
	}
	if aggregates != "" {
		r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{aggregates: "true"}}}}
	}
	for _, plural := range resources {
		r.Rules = append(r.Rules, rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{plural}})
	}
	return r
}

// TestRulesAreGathered: admin gathers edit, which gathers view, each with a part of its own.
func TestRulesAreGathered(t *testing.T) {
	start := func(s *state.State, _ controller.Events) []controller.Controller {
		return []controller.Controller{clusterrole.New(s)}
	}
	controllertest.Run(t, start, func(c *controllertest.Cluster) {
		rules := func(name string) string {
			c.Settle(0)
			r, _ := state.Get[*rbacv1.ClusterRole](c.State, "", name)
			var all []string
			for _, rule := range r.Rules {
				all = append(all, rule.Resources[0])
			}
			return strings.Join(all, " ")
		}
		want := func(step, edit, admin string) {
			t.Helper()
			if gotEdit, gotAdmin := rules("edit"), rules("admin"); gotEdit != edit || gotAdmin != admin {
				t.Errorf("%s: edit has %q, admin %q; want %q, %q", step, gotEdit, gotAdmin, edit, admin)
			}
		}
		controllertest.Create(c, role("admin", "", "to-admin"))
		controllertest.Create(c, role("edit", "to-admin", "to-edit", "written-by-hand"))
		want("empty", "", "")
		controllertest.Create(c, role("a", "to-edit", "", "pods", "secrets"))
		want("one", "pods secrets", "pods secrets")
		controllertest.Create(c, role("b", "to-edit", "", "pods", "nodes"))
		want("two", "pods secrets nodes", "pods secrets nodes")
		if err := state.Delete[*rbacv1.ClusterRole](c.T.Context(), c.State, "", "a", state.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		want("one gone", "pods nodes", "pods nodes")
		_, err := state.Update(c.T.Context(), c.State, "", "edit", func(r *rbacv1.ClusterRole) error {
			r.Rules = role("", "", "", "anything").Rules
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want("edited", "pods nodes", "pods nodes")
		before := c.State.Revision()
		controllertest.Create(c, role("c", "", "", "x"))
		c.Settle(0)
		if writes := c.State.Revision() - before; writes != 1 {
			t.Error(fmt.Sprint("what is settled was written: ", writes))
		}
	})
}
